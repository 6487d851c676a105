#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <nlohmann/json.hpp>

#include "text/jinja/failure.h"
#include "text/jinja/heap.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace mla {

using Json = nlohmann::ordered_json;

struct ChatTemplate::Impl {
  jinja::Program program;
  ChatTemplateLimits limits;
};

namespace {

using jinja::Failure;
using jinja::Heap;
using jinja::Position;
using jinja::Text;
using jinja::Value;

/// Messages may quote what people wrote.
std::string shortened(std::string_view message) {
  constexpr size_t kMost = 1000;
  return replace_invalid_utf8(message.substr(0, kMost)) + (message.size() > kMost ? "..." : "");
}

std::string located(Position at, std::string_view message) {
  return fmt::format("chat template, line {}, column {}: {}", at.line, at.column, shortened(message));
}

/// JSON as values of a template, all of whose strings people wrote.
class Converter {
 public:
  explicit Converter(Heap& heap) : heap_(heap) {}

  Value value(const Json& json, size_t depth = 0) {
    check_depth(depth);
    switch (json.type()) {
      case Json::value_t::boolean:
        return Value::of(json.get<bool>());
      case Json::value_t::number_integer:
        return Value::of(json.get<int64_t>());
      case Json::value_t::number_unsigned: {
        const auto n = json.get<uint64_t>();
        return n > INT64_MAX ? Value::of(static_cast<double>(n)) : Value::of(static_cast<int64_t>(n));
      }
      case Json::value_t::number_float:
        return Value::of(json.get<double>());
      case Json::value_t::string:
        return text(json.get_ref<const std::string&>(), true);
      case Json::value_t::array:
        return list(json, depth);
      case Json::value_t::object:
        return object(json, depth);
      default:
        return Value::none();
    }
  }

  Value messages(const Json& json) {
    std::vector<Value> all;
    for (const Json& message : json) all.push_back(this->message(message));
    return heap_.list(std::move(all));
  }

  Value text(const std::string& bytes, bool foreign) {
    Text text{.bytes = bytes};
    if (foreign && !bytes.empty()) text.foreign.push_back({0, bytes.size()});
    return heap_.text(std::move(text));
  }

 private:
  void check_depth(size_t depth) const {
    if (depth >= heap_.limits().max_depth)
      throw Failure(fmt::format("the conversation's JSON is nested more than {} levels deep",
                                heap_.limits().max_depth));
  }

  Value list(const Json& json, size_t depth) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(value(item, depth + 1));
    return heap_.list(std::move(items));
  }

  Value object(const Json& json, size_t depth) {
    const Value dict = heap_.dict();
    for (const auto& [key, item] : json.items())
      heap_.insert(*dict.dict, text(key, true), value(item, depth + 1));
    return dict;
  }

  /// As transformers hands a message over: its thoughts have several names.
  Value message(const Json& json) {
    static constexpr std::array<const char*, 3> kThoughts = {"reasoning_content", "thinking", "reasoning"};
    if (!json.is_object()) throw Failure("every message must be an object");
    const Json* thoughts = nullptr;
    for (const char* name : kThoughts) {
      const auto at = json.find(name);
      if (thoughts == nullptr && at != json.end() && !at->is_null()) thoughts = &*at;
    }
    const Value dict = heap_.dict();
    if (thoughts != nullptr) heap_.insert(*dict.dict, text("thinking", false), value(*thoughts, 2));
    for (const auto& [key, item] : json.items())
      heap_.insert(*dict.dict, text(key, true), key == "role" ? role(item) : value(item, 2));
    if (thoughts != nullptr) heap_.insert(*dict.dict, text("reasoning_content", false), value(*thoughts, 2));
    return dict;
  }

  Value role(const Json& json) {
    static constexpr std::array<std::string_view, 7> kRoles = {"system", "developer", "user",   "assistant",
                                                               "tool",   "function",  "ipython"};
    if (!json.is_string()) return value(json, 2);
    const auto& name = json.get_ref<const std::string&>();
    return text(name, std::find(kRoles.begin(), kRoles.end(), name) == kRoles.end());
  }

  Heap& heap_;
};

void set_variables(jinja::Interpreter& interpreter, Converter& convert, const ChatTemplate::Input& input) {
  if (!input.messages.is_array()) throw Failure("the messages must be an array");
  interpreter.set("messages", convert.messages(input.messages));
  interpreter.set("tools", input.tools != nullptr ? convert.value(*input.tools) : Value::none());
  interpreter.set("documents", Value::none());
  interpreter.set("add_generation_prompt", Value::of(input.add_generation_prompt));
  if (!input.bos_token.empty()) interpreter.set("bos_token", convert.text(input.bos_token, false));
  if (!input.eos_token.empty()) interpreter.set("eos_token", convert.text(input.eos_token, false));
  if (input.arguments == nullptr) return;
  if (!input.arguments->is_object()) throw Failure("the template's arguments must be an object");
  for (const auto& [name, value] : input.arguments->items()) {
    if (name == "messages" || name == "tools" || name == "add_generation_prompt")
      throw Failure(fmt::format("the template's arguments may not name \"{}\" again", name));
    interpreter.set(name, convert.value(value));
  }
}

}  // namespace

Result<ChatTemplate> ChatTemplate::parse(std::string_view source, const ChatTemplateLimits& limits) try {
  if (source.size() > limits.max_source) {
    return Error::invalid_file(
        fmt::format("chat template: {} bytes, expected at most {}", source.size(), limits.max_source));
  }
  return ChatTemplate(std::make_shared<const Impl>(Impl{jinja::parse(source, limits.max_depth), limits}));
} catch (const jinja::SyntaxFailure& failure) {
  return Error::invalid_file(located(failure.at(), failure.what()));
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the chat template");
}

Result<RenderedChat> ChatTemplate::render(const Input& input) const try {
  Heap heap(impl_->limits);
  jinja::Interpreter interpreter(impl_->program, heap);
  try {
    Converter convert(heap);
    set_variables(interpreter, convert, input);
  } catch (const Failure& failure) {
    return Error::usage(fmt::format("chat: {}", shortened(failure.what())));
  }
  try {
    Text text = interpreter.run();
    return RenderedChat{std::move(text.bytes), std::move(text.foreign)};
  } catch (const jinja::Refusal& refusal) {
    return Error::usage(
        fmt::format("the model's chat template refuses this conversation: {}", shortened(refusal.what())));
  } catch (const Failure& failure) {
    return Error::usage(located(interpreter.position(), failure.what()));
  }
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory to render the conversation");
}

bool ChatTemplate::uses(std::string_view variable) const {
  const jinja::Program& program = impl_->program;
  const auto at = std::find(program.names.begin(), program.names.end(), variable);
  return at != program.names.end() && program.is_read[static_cast<size_t>(at - program.names.begin())];
}

void set_special_tokens(ChatTemplate::Input& input, const Tokenizer& tokenizer) {
  const auto text = [&](int32_t id) {
    const Result<std::string> bytes = id >= 0 ? tokenizer.token_bytes(id, /*special=*/true) : std::string();
    return bytes.ok() ? *bytes : std::string();
  };
  input.bos_token = text(tokenizer.bos());
  input.eos_token = text(tokenizer.eos());
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat) {
  return tokenizer.encode(chat.text, {.parse_special = true, .foreign = chat.foreign});
}

}  // namespace mla
