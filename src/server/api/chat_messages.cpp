#include "server/api/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "server/api/request.h"

namespace mla::server {
namespace {

constexpr size_t kMaxFunctionName = 64;

/// The text of an array of content parts. Everything but text is for models that see or hear.
std::string join_parts(FieldReader& message, const Json& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string place = fmt::format("content[{}]", i);
    if (!parts[i].is_object()) {
      message.fail(place, fmt::format("expected an object such as {{\"type\": \"text\", \"text\": ...}}, got {}", shown(parts[i])));
      return {};
    }
    FieldReader part(parts[i], message.path_of(place));
    const std::string type = part.text("type");
    if (!part.failed() && type != "text") {
      part.fail("type", type.empty() ? "is missing; expected \"text\""
                                     : fmt::format("content of type {} is not served: the model reads text only", shown(type)));
    }
    if (!part.failed() && part.find("text") == nullptr) part.fail("text", "is missing");
    text += part.text("text");
    if (part.failed()) {
      message.fail(*part.error());
      return {};
    }
  }
  return text;
}

std::string read_content(FieldReader& message, bool may_lack) {
  const Json* const content = message.find("content");
  if (content == nullptr) {
    if (!may_lack) message.fail("content", "is missing or null");
    return {};
  }
  if (content->is_array()) return join_parts(message, *content);
  return message.text("content");
}

/// One call that an assistant made in an earlier turn.
Json read_tool_call(FieldReader& call) {
  const Json* const function = call.find("function");
  if (const std::string type = call.text("type"); !type.empty() && type != "function") {
    call.fail("type", "only calls of type \"function\" are known");
  } else if (function == nullptr || !function->is_object()) {
    call.fail("function", "expected an object with \"name\" and \"arguments\"");
  }
  if (call.failed()) return {};
  FieldReader inner(*function, call.path_of("function"));
  const std::string name = inner.text("name");
  const std::string arguments = inner.text("arguments");
  if (name.empty()) inner.fail("name", "is missing or empty");
  if (inner.failed()) call.fail(*inner.error());
  return {{"id", call.text("id")}, {"type", "function"},
          {"function", {{"name", name}, {"arguments", arguments.empty() ? "{}" : arguments}}}};
}

Json read_tool_calls(FieldReader& message) {
  const Json* const calls = message.find("tool_calls");
  if (calls == nullptr) return {};
  if (!calls->is_array()) {
    message.fail("tool_calls", fmt::format("expected an array, got {}", shown(*calls)));
    return {};
  }
  Json list = Json::array();
  for (size_t i = 0; i < calls->size() && !message.failed(); ++i) {
    const std::string place = fmt::format("tool_calls[{}]", i);
    if (!(*calls)[i].is_object()) {
      message.fail(place, fmt::format("expected an object, got {}", shown((*calls)[i])));
      return {};
    }
    FieldReader call((*calls)[i], message.path_of(place));
    list.push_back(read_tool_call(call));
    if (call.failed()) message.fail(*call.error());
  }
  return list.empty() ? Json() : list;
}

Json read_message(FieldReader& message) {
  std::string role = message.text("role");
  if (role == "developer") role = "system";
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    message.fail("role", role.empty() ? "is missing; expected system, developer, user, assistant or tool"
                                      : fmt::format("expected system, developer, user, assistant or tool, got {}", shown(role)));
    return {};
  }
  Json calls = role == "assistant" ? read_tool_calls(message) : Json();
  const bool has_content = message.find("content") != nullptr;
  std::string content = read_content(message, role == "assistant" && !calls.is_null());
  // Templates tell an answer that only calls tools by its content being none.
  Json read = {{"role", role}, {"content", has_content ? Json(std::move(content)) : Json()}};
  if (!calls.is_null()) read["tool_calls"] = std::move(calls);
  for (const char* name : {"name", "tool_call_id", "reasoning_content"}) {
    if (std::string text = message.text(name); !text.empty()) read[name] = std::move(text);
  }
  return read;
}

/// What a tool's function may be called: templates and parsers put it between their markers.
bool is_function_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxFunctionName && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
}

}  // namespace

Json read_messages(FieldReader& body) {
  const Json* const messages = body.find("messages");
  if (messages == nullptr || !messages->is_array()) {
    body.fail("messages", messages == nullptr ? "is missing; expected an array of messages" : fmt::format("expected an array, got {}", shown(*messages)));
    return {};
  }
  if (messages->empty()) body.fail("messages", "is empty: a conversation has at least one message");
  if (messages->size() > kMaxMessages) body.fail("messages", fmt::format("{} messages are more than the {} that are taken", messages->size(), kMaxMessages));
  Json list = Json::array();
  for (size_t i = 0; i < messages->size() && !body.failed(); ++i) {
    const std::string place = fmt::format("messages[{}]", i);
    if (!(*messages)[i].is_object()) {
      body.fail(place, fmt::format("expected an object with \"role\" and \"content\", got {}", shown((*messages)[i])));
      break;
    }
    FieldReader message((*messages)[i], place);
    list.push_back(read_message(message));
    if (message.failed()) body.fail(*message.error());
  }
  return list;
}

Json read_tools(FieldReader& body) {
  const Json* const tools = body.find("tools");
  if (tools == nullptr || body.failed()) return {};
  if (!tools->is_array()) {
    body.fail("tools", fmt::format("expected an array, got {}", shown(*tools)));
    return {};
  }
  if (tools->size() > kMaxTools) body.fail("tools", fmt::format("{} tools are more than the {} that are taken", tools->size(), kMaxTools));
  for (size_t i = 0; i < tools->size() && !body.failed(); ++i) {
    const std::string place = fmt::format("tools[{}]", i);
    const Json& tool = (*tools)[i];
    const Json* const type = tool.is_object() && tool.contains("type") ? &tool["type"] : nullptr;
    if (type == nullptr || *type != "function" || !tool.contains("function") || !tool["function"].is_object()) {
      body.fail(place, "expected {\"type\": \"function\", \"function\": {\"name\": ..., \"parameters\": ...}}");
      break;
    }
    FieldReader function(tool["function"], place + ".function");
    if (const std::string name = function.text("name"); !function.failed() && !is_function_name(name)) {
      function.fail("name", fmt::format("expected up to {} letters, digits, '_', '-' and '.', got {}", kMaxFunctionName, shown(name)));
    }
    function.text("description");
    if (const Json* p = function.find("parameters"); p != nullptr && !p->is_object()) function.fail("parameters", "expected a JSON schema, an object");
    if (function.failed()) body.fail(*function.error());
  }
  return tools->empty() || body.failed() ? Json() : *tools;
}

}  // namespace mla::server
