#include "server/http/target.h"

#include <algorithm>
#include <array>

#include "base/utf8.h"

namespace mla::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// pchar of RFC 3986 without the percent sign.
bool is_path_character(char c) {
  return is_alphanumeric(c) || std::string_view("-._~!$&'()*+,;=:@").find(c) != std::string_view::npos;
}

bool is_query_character(char c) {
  return is_path_character(c) || c == '/' || c == '?' || c == '%' || c == '[' || c == ']';
}

bool is_harmless_segment(std::string_view segment) {
  if (segment.empty() || segment == "." || segment == ".." || !is_utf8(segment)) return false;
  // A decoded '/' stays inside its segment, but must not form a way up.
  for (size_t at = 0; at <= segment.size();) {
    const size_t end = std::min(segment.find('/', at), segment.size());
    const std::string_view part = segment.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return std::none_of(segment.begin(), segment.end(),
                      [](unsigned char c) { return c < ' ' || c == 0x7f || c == '\\'; });
}

}  // namespace

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<Target> parse_target(std::string_view text) {
  if (!text.starts_with('/')) return std::nullopt;
  const size_t question = text.find('?');
  Target target;
  if (question != std::string_view::npos) {
    target.query = text.substr(question + 1);
    if (!std::all_of(target.query.begin(), target.query.end(), is_query_character)) return std::nullopt;
    if (!percent_decoded(target.query)) return std::nullopt;
  }
  const std::string_view path = text.substr(0, question);
  if (path == "/") {
    target.path = "/";
    return target;
  }
  for (size_t at = 1; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view raw = path.substr(at, end - at);
    at = end + 1;
    if (!std::all_of(raw.begin(), raw.end(), [](char c) { return is_path_character(c) || c == '%'; }))
      return std::nullopt;
    std::optional<std::string> segment = percent_decoded(raw);
    if (!segment || !is_harmless_segment(*segment)) return std::nullopt;
    target.path += '/' + *segment;
    target.segments.push_back(std::move(*segment));
  }
  return target;
}

bool query_has_key(std::string_view query) {
  constexpr std::array<std::string_view, 7> kNames = {"apikey",        "key",    "accesstoken", "token",
                                                      "authorization", "bearer", "xapikey"};
  for (size_t at = 0; at <= query.size();) {
    const size_t end = std::min(query.find_first_of("&;", at), query.size());
    const std::string_view pair = query.substr(at, end - at);
    at = end + 1;
    std::string name;  // without case, '-' and '_'
    for (const char c : percent_decoded(pair.substr(0, pair.find('='))).value_or("")) {
      if (c >= 'A' && c <= 'Z') {
        name += static_cast<char>(c - 'A' + 'a');
      } else if (c != '-' && c != '_') {
        name += c;
      }
    }
    if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  }
  return false;
}

}  // namespace mla::http
