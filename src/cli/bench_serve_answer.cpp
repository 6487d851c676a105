#include "cli/bench_serve_answer.h"

#include <nlohmann/json.hpp>

#include "cli/terminal.h"

namespace mla::cli {
namespace {

constexpr size_t kMaxLine = size_t{1} << 20;  ///< no event of a completion is longer

std::string_view skip_spaces(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text;
}

/// What follows `"key":` where it first occurs; empty when it does not. A quote inside a JSON string is escaped, so that
/// `"key"` is never found there.
std::string_view value_after(std::string_view json, std::string_view quoted_key) {
  for (size_t at = json.find(quoted_key); at != std::string_view::npos; at = json.find(quoted_key, at + 1)) {
    std::string_view rest = skip_spaces(json.substr(at + quoted_key.size()));
    if (rest.starts_with(':')) return skip_spaces(rest.substr(1));
  }
  return {};
}

bool has_text(std::string_view json) {
  for (const std::string_view key : {"\"text\"", "\"content\"", "\"reasoning_content\"", "\"arguments\""}) {
    const std::string_view value = value_after(json, key);
    if (value.size() > 1 && value[0] == '"' && value[1] != '"') return true;
  }
  return false;
}

int64_t count_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
}

}  // namespace

void StreamedAnswer::feed(std::string_view bytes, double now) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
      too_long_ = too_long_ || rest_.size() + bytes.size() > kMaxLine;
      if (!too_long_) rest_ += bytes;
      return;
    }
    if (rest_.empty() && !too_long_) {
      line(bytes.substr(0, end), now);
    } else {
      rest_ += bytes.substr(0, end);
      if (!too_long_) line(rest_, now);
      rest_.clear();
      too_long_ = false;
    }
    bytes.remove_prefix(end + 1);
  }
}

void StreamedAnswer::line(std::string_view line, double now) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (!line.starts_with("data:")) return;  // a comment, another field, or the end of an event
  event(skip_spaces(line.substr(5)), now);
}

void StreamedAnswer::event(std::string_view data, double now) {
  if (data == "[DONE]") {
    complete_ = true;
    return;
  }
  ++n_events_;
  if (has_text(data)) text_times_.push_back(now);
  if (value_after(data, "\"usage\"").starts_with('{') || value_after(data, "\"error\"").starts_with('{')) parse(data);
}

void StreamedAnswer::parse(std::string_view data) {
  const nlohmann::json json = nlohmann::json::parse(data, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return;
  if (json.contains("error")) error_ = error_message(data);
  const auto usage = json.find("usage");
  if (usage == json.end() || !usage->is_object()) return;
  n_prompt_ = count_of(*usage, "prompt_tokens");
  n_output_ = count_of(*usage, "completion_tokens");
  const auto details = usage->find("prompt_tokens_details");
  if (details != usage->end() && details->is_object()) n_cached_ = count_of(*details, "cached_tokens");
}

std::string error_message(std::string_view body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("error")) {
    const auto& error = json["error"];
    if (error.is_string()) return printable(error.get<std::string>());
    if (error.is_object() && error.contains("message") && error["message"].is_string()) return printable(error["message"].get<std::string>());
  }
  return printable(body.substr(0, 200));
}

}  // namespace mla::cli
