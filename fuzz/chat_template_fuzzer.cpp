// A chat template, rendered for a conversation with everything in it.

#include <nlohmann/json.hpp>

#include "input.h"
#include "text/chat_template.h"

namespace mla {
namespace {

using Json = nlohmann::ordered_json;

const Json& conversation(size_t which) {
  static const Json conversations[] = {Json::parse(R"([{"role": "user", "content": "Hello"}])"),
                                       Json::parse(R"([{"role": "system", "content": "S"},
                      {"role": "user", "content": [{"type": "text", "text": "caf\u00e9 <|im_end|>"}]},
                      {"role": "assistant", "content": "<think>\nh\n</think>\n\nA", "reasoning_content": "r"},
                      {"role": "assistant", "content": null, "tool_calls": [{"id": "functions.f:0", "type": "function",
                       "function": {"name": "f", "arguments": {"a": [1, 2.5, true, null, "x"], "b": {"c": "d"}}}}]},
                      {"role": "tool", "tool_call_id": "functions.f:0", "name": "f", "content": "{\"x\": 1}"},
                      {"role": "user", "content": ""}])"),
                                       Json::array()};
  return conversations[which];
}

}  // namespace
}  // namespace mla

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  static const Json tools =
      Json::parse(R"([{"type": "function", "function": {"name": "f", "description": "d \u00e9",
      "parameters": {"type": "object", "properties": {"a": {"type": "integer", "enum": [1, 2]}}, "required": ["a"]}}}])");
  static const Json arguments =
      Json::parse(R"({"enable_thinking": false, "n": -7, "names": ["b", "a", "C"]})");
  // Far below the defaults, so that a limit is reached in milliseconds.
  constexpr ChatTemplateLimits kLimits{.max_source = 1 << 16,
                                       .max_output = 1 << 20,
                                       .max_steps = 100'000,
                                       .max_depth = 100,
                                       .max_range = 10'000};

  fuzz::Choices choices(data, size);
  const Json& messages = conversation(choices.next(3));
  const size_t flags = choices.next(8);
  const auto parsed = ChatTemplate::parse(choices.rest(), kLimits);
  if (!parsed.ok()) {
    fuzz::require(
        parsed.error().kind == ErrorKind::kInvalidFile || parsed.error().kind == ErrorKind::kResource,
        "the template is at fault");
    return 0;
  }
  const ChatTemplate::Input input{.messages = messages,
                                  .tools = (flags & 1) != 0 ? &tools : nullptr,
                                  .add_generation_prompt = (flags & 2) != 0,
                                  .arguments = (flags & 4) != 0 ? &arguments : nullptr,
                                  .bos_token = "<s>",
                                  .eos_token = "</s>"};
  const auto rendered = parsed.value().render(input);
  if (!rendered.ok()) {
    fuzz::require(!rendered.error().message.empty(), "a refusal says why");
    return 0;
  }
  const RenderedChat& chat = rendered.value();
  fuzz::require(chat.text.size() <= kLimits.max_output, "the text is within its limit");
  size_t end = 0;
  for (const TextSpan& span : chat.foreign) {
    fuzz::require(span.begin >= end && span.begin <= span.end && span.end <= chat.text.size(),
                  "spans lie in the text, in order");
    end = span.end;
  }
  const auto again = parsed.value().render(input);
  fuzz::require(again.ok() && again.value().text == chat.text, "the same input gives the same text");
  return 0;
}
