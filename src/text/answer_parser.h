#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mla {

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

struct AnswerOptions {
  bool split_reasoning = false;   ///< text between <think> and </think> is reasoning
  bool starts_reasoning = false;  ///< the prompt has opened the thought already
  ToolCallFormat tools = ToolCallFormat::kNone;
};

/// A piece of an answer, in order.
struct AnswerPart {
  enum class Kind {
    kContent,        ///< text
    kReasoning,      ///< text
    kCallBegins,     ///< call, id, name
    kCallArguments,  ///< call, text: a piece of the JSON of the arguments
  };
  Kind kind = Kind::kContent;
  std::string text;
  int64_t call = -1;     ///< index of the call
  std::string id, name;  ///< of kCallBegins; the id is the model's own, or empty
};

/// Takes an answer apart as it grows: thoughts, text and calls of tools. Joined, the parts of a streamed answer are those
/// of the whole one, wherever it is cut. Text that may still become a marker is held back. A call that is malformed or
/// unfinished is given as content, so that nothing the model said is lost.
class AnswerParser {
 public:
  explicit AnswerParser(AnswerOptions options);
  std::vector<AnswerPart> push(std::string_view text);
  std::vector<AnswerPart> finish();
  /// Calls that were begun.
  int64_t n_calls() const;
};

}  // namespace mla
