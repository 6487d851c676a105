#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/choice.h"
#include "server/api/json_body.h"

namespace mla::server {

/// What every part of one answer repeats.
struct ResponseHead {
  std::string id;  ///< "chatcmpl-..." or "cmpl-..."
  int64_t created = 0;
  std::string model;
  bool include_usage = false;  ///< chunks carry "usage": null until the last
  bool logprobs = false;       ///< log-probabilities were asked for
};

struct Usage {
  int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
};

/// How fast an answer came; seconds from the request's arrival.
struct Timings {
  double first_token_seconds = 0.0, total_seconds = 0.0;
  int64_t n_prompt = 0, n_cached = 0, n_generated = 0;
};
Json timings_json(const Timings& timings);

/// The two APIs' shapes of the same answers. Chunks of one choice are asked for in order.
class ResponseFormat {
 public:
  virtual ~ResponseFormat() = default;

  /// The events that a choice begins with (chat: its role).
  virtual std::vector<Json> begin(size_t index) = 0;
  /// The events for what has become certain, as JSON text: there is one for nearly every token, on the loop's thread.
  virtual std::vector<std::string> chunks(size_t index, ChoiceDelta delta) = 0;
  /// The last event of a choice.
  virtual Json finish(size_t index, const std::string& reason) = 0;
  /// The event after all choices.
  virtual Json usage_chunk(const Usage& usage) const = 0;
  /// The whole answer: everything that became certain of each choice, and why it ended.
  virtual Json whole(std::vector<ChoiceDelta> answers, const std::vector<std::string>& reasons, const Usage& usage) = 0;
};

std::unique_ptr<ResponseFormat> chat_format(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices);
std::unique_ptr<ResponseFormat> completion_format(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices);

/// A document as a response or an event carries it: on one line, what is no UTF-8 as U+FFFD.
std::string written(const Json& json);

/// A random name such as "chatcmpl-4f0c...".
std::string random_id(std::string_view prefix);

}  // namespace mla::server
