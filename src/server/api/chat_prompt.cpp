#include "server/api/chat_prompt.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace mla::server {
namespace {

/// Whether a text ends with an opened thought: some templates of models that always think write the tag themselves.
bool opens_thought(std::string_view text) {
  const size_t end = text.find_last_not_of(" \n");
  return end != std::string_view::npos && text.substr(0, end + 1).ends_with(kThinkBegin);
}

/// The arguments of earlier calls as objects. What is no JSON stays the text it is.
void parse_arguments(Json& messages) {
  for (Json& message : messages) {
    if (!message.contains("tool_calls")) continue;
    for (Json& call : message["tool_calls"]) {
      Json& arguments = call["function"]["arguments"];
      const auto parsed = parse_json_body(arguments.get_ref<const std::string&>());
      if (parsed.ok()) arguments = *parsed;
    }
  }
}

Json conversation_with_call(const Json& arguments) {
  const Json call = {{"id", "call_1"}, {"type", "function"}, {"function", {{"name", "probe"}, {"arguments", arguments}}}};
  return Json::array({{{"role", "user"}, {"content", "x"}}, {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({call})}}});
}

}  // namespace

ChatPrompter::ChatPrompter(std::shared_ptr<const Tokenizer> tokenizer, bool split_reasoning)
    : tokenizer_(std::move(tokenizer)), split_reasoning_(split_reasoning) {
  if (tokenizer_ == nullptr) {
    problem_ = "this model has no tokenizer";
    return;
  }
  const std::string& source = tokenizer_->chat_template();
  if (source.empty()) {
    problem_ = "this model has no chat template: it continues text; use /v1/completions";
    return;
  }
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) {
    problem_ = "this model's chat template cannot be read: " + parsed.error().message;
    return;
  }
  template_ = std::move(*parsed);
  tool_format_ = detect_tool_call_format(source);
  argument_objects_ = wants_argument_objects();
}

Result<RenderedChat> ChatPrompter::render_text(const Json& messages, const Json& tools, const Json* arguments, bool ask) const {
  ChatTemplate::Input input{.messages = messages, .tools = tools.is_null() ? nullptr : &tools, .add_generation_prompt = ask, .arguments = arguments};
  set_special_tokens(input, *tokenizer_);
  return template_->render(input);
}

/// Templates disagree: DeepSeek's join the arguments to the text as they are, Qwen2.5's and Hermes' write them out with
/// tojson, which would put a text into quotes once more. So the template is asked.
bool ChatPrompter::wants_argument_objects() const {
  const auto shows = [&](const Json& arguments) {
    const auto rendered = render_text(conversation_with_call(arguments), Json(), nullptr, false);
    return rendered.ok() && rendered->text.find("\"needle\":") != std::string::npos;
  };
  return !shows("{\"needle\": 1}") && shows(Json{{"needle", 1}});
}

ApiResult<ChatPrompt> ChatPrompter::render(const ChatRequest& request) const {
  if (!template_) return ApiError::bad("messages", problem_);
  const bool with_tools = !request.tools.is_null();
  if (with_tools && !template_->uses("tools")) return ApiError::bad("tools", "'tools': this model's chat template does not show tools to the model");
  const Json* messages = &request.messages;
  Json changed;
  if (argument_objects_) {
    changed = request.messages;
    parse_arguments(changed);
    messages = &changed;
  }
  const auto rendered = render_text(*messages, request.tools, &request.template_arguments, request.add_generation_prompt);
  if (!rendered.ok()) return ApiError::bad("messages", "the model's chat template refuses this conversation: " + rendered.error().message);
  ChatPrompt prompt;
  prompt.ids = encode_chat(*tokenizer_, *rendered);
  prompt.answer.split_reasoning = request.split_reasoning.value_or(split_reasoning_);
  prompt.opens_thought = request.add_generation_prompt && opens_thought(rendered->text);
  prompt.answer.starts_reasoning = prompt.answer.split_reasoning && prompt.opens_thought;
  if (with_tools) prompt.answer.tools = tool_format_;
  return prompt;
}

}  // namespace mla::server
