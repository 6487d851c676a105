#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mla {

class Tokenizer;

/// How models of one kind write the calls of tools in their answers.
enum class ToolCallFormat {
  kNone,
  kDeepSeekV3,   ///< V3, R1: markers around type, name and a fenced JSON object
  kDeepSeekV31,  ///< V3.1: markers around name and JSON
  kHermes,       ///< <tool_call>{"name": ..., "arguments": ...}</tool_call>: Hermes, Qwen2.5, Qwen3
  kKimi,         ///< Kimi-K2: sections of calls with ids "functions.name:index"
};
/// By the markers of the checkpoint's chat template; kNone when it has none that are known.
ToolCallFormat detect_tool_call_format(std::string_view chat_template);

/// What a thought stands between.
inline constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";

struct AnswerOptions {
  bool split_reasoning = false;   ///< text between <think> and </think> is reasoning
  bool starts_reasoning = false;  ///< the prompt has opened the thought already: the answer's <think> may be missing
  ToolCallFormat tools = ToolCallFormat::kNone;
};

/// The special tokens of a vocabulary that the parser must see as text: StreamDecoder shows them and drops the
/// others. Ascending; empty when the format's markers are ordinary text in this vocabulary.
std::vector<int32_t> answer_marker_tokens(const Tokenizer& tokenizer, const AnswerOptions& options);

/// A piece of an answer, in order.
struct AnswerPart {
  enum class Kind {
    kContent,        ///< text
    kReasoning,      ///< text
    kCallBegins,     ///< call, id, name
    kCallArguments,  ///< call, text: a piece of the arguments
  };
  Kind kind = Kind::kContent;
  std::string text;
  int64_t call = -1;     ///< index of the call
  std::string id, name;  ///< of kCallBegins; the id is the model's own, or empty
};

/// Takes an answer apart as it grows: thoughts, text and calls of tools. Joined, the parts of a streamed answer are those
/// of the whole one, wherever it is cut, inside a marker or a character too (pieces that hold whole characters give parts
/// that do). Time is linear in the answer; what is held back is text that may still become a marker, white space that
/// may belong to one, and the beginning of a call.
///
/// Calls. What a call's marker begins is held back until the call's name is known and the brace is there that opens its
/// arguments; what has gone wrong before is content, marker by marker as the model wrote it, and what follows the place where
/// it went wrong is read afresh. Then comes kCallBegins, and the arguments follow as they are written, to the byte: a client
/// that asked for a long file sees it grow. Nobody can take them back, so that they need not be valid JSON: they end with the
/// brace that closes them, and where they stop being an object (by its brackets, strings and bytes, at most 64 levels deep),
/// with the next marker or the answer, less the white space and the fence in front of it. A call needs no marker at its end;
/// what stands behind arguments that are complete and does not close the call is content. Markers inside the strings of a call
/// are text. Inside a thought there are no calls.
///
/// Hermes' calls are an object with members of any order: where the arguments stand in front of the name, are JSON in a string
/// (which is given without its quotes and escapes), null or missing (which give "{}"), the call is held back to its end, and
/// is content unless it and its arguments are valid by RFC 8259.
///
/// Thoughts. The answer's first text, white space aside, may be <think>; the first </think> behind it ends the thought. Any
/// other <think> or </think> is text. With `starts_reasoning` the answer begins inside the thought, which a <think> at its
/// start does not change; without a </think> all of it is reasoning.
///
/// White space. What stands at both ends of a thought and behind it is dropped, as is what stands in front of a call, and
/// what stands behind the last call when no text follows. All other text is kept to the byte.
class AnswerParser {
 public:
  explicit AnswerParser(AnswerOptions options);
  AnswerParser(AnswerParser&&) noexcept;
  AnswerParser& operator=(AnswerParser&&) noexcept;
  ~AnswerParser();

  /// What is certain after more of the answer.
  std::vector<AnswerPart> push(std::string_view text);
  /// What is left when the answer ends. Nothing may be pushed behind it.
  std::vector<AnswerPart> finish();
  /// Calls that have begun.
  int64_t n_calls() const;
  /// Whether the last of them may go on.
  bool in_call() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
