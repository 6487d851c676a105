#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "sampling/sampler.h"
#include "text/answer_parser.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"

namespace mla::server {

/// A token of an answer or a prompt as the API's log-probabilities tell it.
struct TokenRecord {
  int32_t id = -1;
  std::string bytes;  ///< its text; a special token's is its name. Need not be whole characters
  std::optional<float> logprob;  ///< none for the first token of a prompt
  std::vector<TokenLogprob> top;
  bool silent = false;  ///< a special token, whose name is not part of the text
  size_t begin = 0;     ///< bytes of the answer's text in front of it
};

/// A token with its log-probability.
TokenRecord token_record(const Tokenizer& tokenizer, const SampledToken& token);

/// What has become certain of an answer, in order.
struct ChoiceDelta {
  std::vector<AnswerPart> parts;
  std::vector<TokenRecord> tokens;  ///< none unless log-probabilities were asked for
  bool empty() const { return parts.empty() && tokens.empty(); }
};

struct ChoiceOptions {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<std::string> stops;
  std::vector<int32_t> stop_tokens;     ///< end the answer and stand for no text
  std::optional<AnswerOptions> answer;  ///< none: plain text, nothing is taken apart
  bool begins_text = true;              ///< the text does not continue the prompt's (StreamDecoder: at_start)
  bool logprobs = false;
  bool parallel_calls = true;           ///< false: the answer ends with its first call
};

/// One answer as it grows: tokens to text that is safe to show, taken apart into thoughts, content and calls. Streamed and
/// whole answers are made of the same deltas, so that they cannot differ.
class Choice {
 public:
  explicit Choice(ChoiceOptions options);

  ChoiceDelta accept(const SampledToken& token);
  /// What was held back when the answer ends.
  ChoiceDelta finish();
  /// Whether the answer has ended by itself: a stop string appeared, or its only call is complete.
  bool ended() const { return decoder_.stopped() || only_call_over_; }
  /// "stop", "length" or "tool_calls", after the engine's reason.
  std::string finish_reason(FinishReason reason) const;
  int64_t n_tokens() const { return n_tokens_; }
  /// Tokens up to the end of the thought, its markers included; 0 when there was none.
  int64_t n_reasoning_tokens() const { return reasoned_ ? n_thought_tokens_ : 0; }

 private:
  void hold(const SampledToken& token, size_t begin);
  ChoiceDelta take(std::string text, bool last);
  void add_parts(std::vector<AnswerPart> parts, ChoiceDelta& delta);

  ChoiceOptions options_;
  StreamDecoder decoder_;
  std::optional<AnswerParser> parser_;
  std::vector<TokenRecord> held_;  ///< tokens whose text has not been released
  int64_t n_tokens_ = 0, n_thought_tokens_ = 0, n_calls_ = 0;
  bool reasoned_ = false, thought_over_ = false;
  bool only_call_over_ = false;
};

}  // namespace mla::server
