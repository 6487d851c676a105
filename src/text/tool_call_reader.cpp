#include "text/tool_call_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace mla {
namespace {

using nlohmann::json;

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kFenceBegin = "```json", kFenceEnd = "```";

bool is_space(char c) {
  return kSpace.find(c) != std::string_view::npos;
}

std::string_view strip(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

/// Bytes of the JSON object that `text` begins with; 0 when there is none.
size_t object_length(std::string_view text) {
  JsonObjectEnd end;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto progress = end.push(text[i]);
    if (progress == JsonObjectEnd::Progress::kMalformed) return 0;
    if (progress == JsonObjectEnd::Progress::kEnd) return i + 1;
  }
  return 0;
}

bool is_json_object(std::string_view text) {
  return !text.empty() && object_length(text) == text.size() && json::accept(text.begin(), text.end());
}

/// Bytes of the string in quotes that valid JSON begins with.
size_t string_length(std::string_view text) {
  size_t i = 1;
  while (text[i] != '"') i += text[i] == '\\' ? 2 : 1;
  return i + 1;
}

/// Bytes of the value that valid JSON begins with; something follows it.
size_t value_length(std::string_view text) {
  if (text.front() == '"') return string_length(text);
  if (text.front() != '{' && text.front() != '[') return text.find_first_of(",}] \t\r\n");
  int depth = 0;
  size_t i = 0;
  do {
    if (text[i] == '"') {
      i += string_length(text.substr(i));
      continue;
    }
    if (text[i] == '{' || text[i] == '[') ++depth;
    if (text[i] == '}' || text[i] == ']') --depth;
    ++i;
  } while (depth > 0);
  return i;
}

std::string unquoted(std::string_view text) {
  return json::parse(text.begin(), text.end()).get<std::string>();
}

/// The members of a call as Hermes writes it, as they are spelled.
struct CallMembers {
  std::optional<std::string_view> name, arguments;
};

/// `object` is valid JSON. None where a member that matters occurs twice.
std::optional<CallMembers> call_members(std::string_view object) {
  CallMembers members;
  for (size_t at = 1;;) {
    at = object.find_first_not_of(" \t\r\n,", at);
    if (object[at] == '}') return members;
    const std::string_view quoted = object.substr(at, string_length(object.substr(at)));
    at = object.find_first_not_of(" \t\r\n:", at + quoted.size());
    const std::string_view value = object.substr(at, value_length(object.substr(at)));
    at += value.size();
    const std::string key = unquoted(quoted);
    if (key != "name" && key != "arguments") continue;
    auto& member = key == "name" ? members.name : members.arguments;
    if (member) return std::nullopt;
    member = value;
  }
}

std::optional<ToolCall> hermes_call(std::string_view object) {
  const auto members = call_members(object);
  if (!members || !members->name || members->name->front() != '"') return std::nullopt;
  ToolCall call{{}, unquoted(*members->name), "{}"};
  const std::string_view arguments = members->arguments.value_or("null");
  if (arguments == "null") return call;
  call.arguments =
      arguments.front() == '"' ? std::string(strip(unquoted(arguments))) : std::string(arguments);
  if (!is_json_object(call.arguments)) return std::nullopt;
  return call;
}

/// "functions.name:index"
std::optional<std::string> name_of_kimi_id(std::string_view id) {
  constexpr std::string_view kKind = "functions.";
  const size_t colon = id.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view index = id.substr(colon + 1);
  if (index.empty() || index.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  id = id.substr(0, colon);
  if (id.starts_with(kKind)) id.remove_prefix(kKind.size());
  return std::string(id);
}

bool is_name(std::string_view name) {
  return !name.empty() && strip(name) == name &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20; });
}

}  // namespace

const ToolCallMarkers& tool_call_markers(ToolCallFormat format) {
  static const ToolCallMarkers none;
  static const ToolCallMarkers deepseek{
      "<\uFF5Ctool\u2581calls\u2581begin\uFF5C>", "<\uFF5Ctool\u2581calls\u2581end\uFF5C>",
      "<\uFF5Ctool\u2581call\u2581begin\uFF5C>", "<\uFF5Ctool\u2581call\u2581end\uFF5C>",
      "<\uFF5Ctool\u2581sep\uFF5C>"};
  static const ToolCallMarkers hermes{.begin = "<tool_call>", .end = "</tool_call>"};
  static const ToolCallMarkers kimi{"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
                                    "<|tool_call_begin|>", "<|tool_call_end|>",
                                    "<|tool_call_argument_begin|>"};
  switch (format) {
    case ToolCallFormat::kNone:
      return none;
    case ToolCallFormat::kDeepSeekV3:
    case ToolCallFormat::kDeepSeekV31:
      return deepseek;
    case ToolCallFormat::kHermes:
      return hermes;
    case ToolCallFormat::kKimi:
      return kimi;
  }
  return none;
}

JsonObjectEnd::Progress JsonObjectEnd::push(char c) {
  if (in_string_) {
    if (static_cast<uint8_t>(c) < 0x20) return Progress::kMalformed;
    if (c == '"' && !escaped_) in_string_ = false;
    escaped_ = c == '\\' && !escaped_;
    return Progress::kMore;
  }
  if (depth_ == 0 && c != '{') return Progress::kMalformed;
  switch (c) {
    case '"':
      in_string_ = true;
      return Progress::kMore;
    case '{':
    case '[':
      return ++depth_ > kMaxDepth ? Progress::kMalformed : Progress::kMore;
    case '}':
    case ']':
      return --depth_ == 0 ? Progress::kEnd : Progress::kMore;
    default:
      break;
  }
  // Besides brackets and strings there are numbers, true, false, null and what stands between values.
  constexpr std::string_view kOthers = " \t\r\n,:+-.0123456789eEtrufalsn";
  return kOthers.find(c) == std::string_view::npos ? Progress::kMalformed : Progress::kMore;
}

void ToolCallReader::reset() {
  phase_ = tool_call_markers(format_).separator.empty() ? Phase::kIntro : Phase::kHead;
  head_.clear();
  intro_.clear();
  json_.clear();
  tail_.clear();
  json_end_ = {};
  call_ = {};
}

size_t ToolCallReader::text(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const bool fits = phase_ == Phase::kTail   ? tail(text[i])
                      : phase_ == Phase::kJson ? json(text[i])
                                               : head(text[i]);
    if (!fits) return i;
  }
  return text.size();
}

bool ToolCallReader::separator() {
  if (phase_ != Phase::kHead) return false;
  phase_ = Phase::kIntro;
  return true;
}

bool ToolCallReader::head(char c) {
  if (phase_ == Phase::kIntro && c == '{') {
    phase_ = Phase::kJson;
    return read_head() && json(c);
  }
  if (format_ == ToolCallFormat::kHermes && !is_space(c)) return false;
  std::string& text = phase_ == Phase::kHead ? head_ : intro_;
  if (text.size() == kMaxHead) return false;
  text.push_back(c);
  return true;
}

bool ToolCallReader::json(char c) {
  const auto progress = json_end_.push(c);
  if (progress == JsonObjectEnd::Progress::kMalformed) return false;
  json_.push_back(c);
  if (progress == JsonObjectEnd::Progress::kMore) return true;
  phase_ = Phase::kTail;
  return read_json();
}

bool ToolCallReader::tail(char c) {
  if (is_space(c)) return true;
  tail_.push_back(c);
  return format_ == ToolCallFormat::kDeepSeekV3 && kFenceEnd.starts_with(tail_);
}

bool ToolCallReader::read_head() {
  std::string_view intro = strip(intro_);
  switch (format_) {
    case ToolCallFormat::kDeepSeekV3:  // type | name \n ```json
      if (!intro.ends_with(kFenceBegin)) return false;
      intro.remove_suffix(kFenceBegin.size());
      if (!intro.ends_with('\n')) return false;
      call_.name = strip(intro);
      return is_name(call_.name);
    case ToolCallFormat::kDeepSeekV31:
      call_.name = strip(head_);
      return intro.empty() && is_name(call_.name);
    case ToolCallFormat::kKimi:
      call_.id = strip(head_);
      call_.name = name_of_kimi_id(call_.id).value_or("");
      return intro.empty() && is_name(call_.name);
    case ToolCallFormat::kHermes:
    case ToolCallFormat::kNone:
      break;
  }
  return true;
}

bool ToolCallReader::read_json() {
  if (!json::accept(json_)) return false;
  if (format_ != ToolCallFormat::kHermes) {
    call_.arguments = std::move(json_);
    return true;
  }
  auto call = hermes_call(json_);
  if (!call || !is_name(call->name)) return false;
  call_ = std::move(*call);
  return true;
}

}  // namespace mla
