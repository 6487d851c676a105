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

/// None where the object is no JSON, or a member that matters occurs twice.
std::optional<CallMembers> call_members(std::string_view object) {
  if (!json::accept(object.begin(), object.end())) return std::nullopt;
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

bool is_name(std::string_view name) {
  return !name.empty() && strip(name) == name &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) < 0x20; });
}

std::optional<std::string> name_of(const CallMembers& call) {
  if (!call.name || call.name->front() != '"') return std::nullopt;
  std::string name = unquoted(*call.name);
  return is_name(name) ? std::optional(std::move(name)) : std::nullopt;
}

std::optional<std::string> arguments_of(const CallMembers& call) {
  const std::string_view spelled = call.arguments.value_or("null");
  if (spelled == "null") return "{}";
  std::string arguments(spelled.front() == '"' ? strip(unquoted(spelled)) : spelled);
  return is_json_object(arguments) ? std::optional(std::move(arguments)) : std::nullopt;
}

/// Whether the last member of the object that `text` begins lacks only its value, and is spelled "arguments".
bool awaits_arguments(std::string_view text) {
  text = strip(text);
  if (!text.ends_with(':')) return false;
  text.remove_suffix(1);
  return strip(text).ends_with("\"arguments\"");
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

ToolCallFrame tool_call_frame(ToolCallFormat format, const std::string& name) {
  const ToolCallMarkers& m = tool_call_markers(format);
  std::string before = std::string(m.section_begin) + std::string(m.begin);
  const std::string separator(m.separator);
  switch (format) {
    case ToolCallFormat::kNone:
      return {};
    case ToolCallFormat::kDeepSeekV3:
      return {before + "function" + separator + name + "\n```json\n", {}};
    case ToolCallFormat::kDeepSeekV31:
      return {before + name + separator, {}};
    case ToolCallFormat::kHermes:
      return {before + "\n{\"name\": \"" + name + "\", \"arguments\":", "}"};
    case ToolCallFormat::kKimi:
      return {before + "functions." + name + ":0" + separator, {}};
  }
  return {};
}

JsonObjectEnd::Progress JsonObjectEnd::push(char c) {
  if (in_string_) {
    if (static_cast<uint8_t>(c) < 0x20) return Progress::kMalformed;
    if (c == '"' && !escaped_) in_string_ = false;
    escaped_ = c == '\\' && !escaped_;
    return Progress::kMore;
  }
  if (depth_ == 0 && c != '{') return Progress::kMalformed;
  const bool brace = c == '{' || c == '}';
  switch (c) {
    case '"':
      in_string_ = true;
      return Progress::kMore;
    case '{':
    case '[':
      if (depth_ == kMaxDepth) return Progress::kMalformed;
      braces_ = (braces_ & ~(uint64_t{1} << depth_)) | (uint64_t{brace} << depth_);
      ++depth_;
      return Progress::kMore;
    case '}':
    case ']':
      if (((braces_ >> (depth_ - 1)) & 1) != uint64_t{brace}) return Progress::kMalformed;
      return --depth_ == 0 ? Progress::kEnd : Progress::kMore;
    default:
      break;
  }
  // Besides brackets and strings there are numbers, true, false, null and what stands between values.
  constexpr std::string_view kOthers = " \t\r\n,:+-.0123456789eEtrufalsn";
  return kOthers.find(c) == std::string_view::npos ? Progress::kMalformed : Progress::kMore;
}

ToolCallReader::ToolCallReader(ToolCallFormat format)
    : format_(format), phase_(tool_call_markers(format).separator.empty() ? Phase::kIntro : Phase::kHead) {}

size_t ToolCallReader::text(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (!push(text[i])) return i;
  }
  return text.size();
}

bool ToolCallReader::separator() {
  if (phase_ != Phase::kHead) return false;
  phase_ = Phase::kIntro;
  return true;
}

bool ToolCallReader::push(char c) {
  switch (phase_) {
    case Phase::kHead:
    case Phase::kIntro:
      return head(c);
    case Phase::kObject:
      return object(c);
    case Phase::kArguments:
      arguments(c);
      return true;
    case Phase::kBroken:
      broken(c);
      return true;
    case Phase::kTail:
      return tail(c);
  }
  return false;
}

bool ToolCallReader::head(char c) {
  const bool hermes = format_ == ToolCallFormat::kHermes;
  if (phase_ == Phase::kIntro && c == '{') {
    if (hermes) {
      phase_ = Phase::kObject;
      return object(c);
    }
    if (!read_head()) return false;
    phase_ = Phase::kArguments;
    arguments(c);
    return true;
  }
  if (hermes && !is_space(c)) return false;
  std::string& text = phase_ == Phase::kHead ? head_ : intro_;
  if (text.size() == kMaxHead) return false;
  text.push_back(c);
  return true;
}

bool ToolCallReader::object(char c) {
  // Looked at once only, so that time stays linear: a second member of this name makes the call malformed.
  const bool opens_arguments = c == '{' && json_end_.depth() == 1 && !json_end_.in_string() && !tried_arguments_ &&
                               awaits_arguments(object_);
  const auto progress = json_end_.push(c);
  if (progress == JsonObjectEnd::Progress::kMalformed) return false;
  if (opens_arguments) {
    tried_arguments_ = true;
    const std::string so_far = object_ + "null}";
    const auto call = call_members(so_far);
    if (auto name = call && call->arguments ? name_of(*call) : std::nullopt) {
      name_ = std::move(*name);
      arguments_.push_back(c);
      phase_ = Phase::kArguments;
      return true;
    }
  }
  object_.push_back(c);
  return progress == JsonObjectEnd::Progress::kMore || read_object();
}

void ToolCallReader::arguments(char c) {
  const int depth_around = format_ == ToolCallFormat::kHermes ? 1 : 0;
  if (json_end_.push(c) == JsonObjectEnd::Progress::kMalformed) {
    phase_ = Phase::kBroken;
    broken(c);
    return;
  }
  arguments_.push_back(c);
  if (json_end_.depth() == depth_around) phase_ = Phase::kTail;
}

void ToolCallReader::broken(char c) {
  if (closes(c)) return;
  // What seemed to close the call is of the arguments. White space behind it may still be in front of what does.
  const size_t end = tail_.find_last_not_of(kSpace) + 1;
  arguments_.append(tail_, 0, end);
  tail_.erase(0, end);
  n_closing_ = 0;
  if (closes(c)) return;
  arguments_ += std::exchange(tail_, {});
  arguments_.push_back(c);
}

bool ToolCallReader::tail(char c) {
  if (json_end_.depth() > 0) {  // Hermes: members behind the arguments
    const auto progress = json_end_.push(c);
    if (progress == JsonObjectEnd::Progress::kMalformed) return false;
    tail_.push_back(c);
    if (progress == JsonObjectEnd::Progress::kMore) return true;
    n_closing_ = closing().size();
    tail_.clear();
    return true;
  }
  const bool was_open = n_closing_ < closing().size();
  if (!closes(c)) return false;
  if (was_open && n_closing_ == closing().size()) tail_.clear();
  return true;
}

/// Whether this may stand between the arguments and the marker at the end.
bool ToolCallReader::closes(char c) {
  const bool next = n_closing_ < closing().size() && c == closing()[n_closing_];
  if (!next && !is_space(c)) return false;
  if (next) ++n_closing_;
  tail_.push_back(c);
  return true;
}

std::string_view ToolCallReader::closing() const {
  if (format_ == ToolCallFormat::kDeepSeekV3) return kFenceEnd;
  return format_ == ToolCallFormat::kHermes ? "}" : "";
}

bool ToolCallReader::read_head() {
  std::string_view intro = strip(intro_);
  switch (format_) {
    case ToolCallFormat::kDeepSeekV3:  // type | name \n ```json
      if (!intro.ends_with(kFenceBegin)) return false;
      intro.remove_suffix(kFenceBegin.size());
      if (!intro.ends_with('\n')) return false;
      name_ = strip(intro);
      return is_name(name_);
    case ToolCallFormat::kDeepSeekV31:
      name_ = strip(head_);
      return intro.empty() && is_name(name_);
    case ToolCallFormat::kKimi:
      id_ = strip(head_);
      name_ = name_of_kimi_id(id_).value_or("");
      return intro.empty() && is_name(name_);
    case ToolCallFormat::kHermes:
    case ToolCallFormat::kNone:
      break;
  }
  return false;
}

/// The object of a call whose arguments could not be given as they were written.
bool ToolCallReader::read_object() {
  const auto call = call_members(object_);
  auto name = call ? name_of(*call) : std::nullopt;
  auto arguments = name ? arguments_of(*call) : std::nullopt;
  if (!arguments) return false;
  name_ = std::move(*name);
  arguments_ = std::move(*arguments);
  n_closing_ = closing().size();
  phase_ = Phase::kTail;
  return true;
}

}  // namespace mla
