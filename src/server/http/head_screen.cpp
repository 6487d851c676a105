#include "server/http/head_screen.h"

#include <algorithm>
#include <charconv>

namespace mla::http {
namespace {

constexpr size_t kMaxMethodLength = 32;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

bool is_token_character(char c) {
  return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool equal_without_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view without_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

void HeadScreen::refuse(int status, std::string_view code, std::string_view message) {
  if (!refusal_) refusal_ = Refusal{status, std::string(code), std::string(message)};
}

size_t HeadScreen::feed(std::string_view bytes) {
  size_t taken = 0;
  while (taken < bytes.size() && !complete_ && !refusal_) take(bytes[taken++]);
  return taken;
}

void HeadScreen::take(char c) {
  if (first_line_ && head_.size() - line_begin_ >= limits_.request_line) {
    return refuse(414, "uri_too_long",
                  "the request line is longer than " + std::to_string(limits_.request_line) + " bytes");
  }
  if (head_.size() >= limits_.head) {
    return refuse(431, "header_too_large",
                  "the request's head is longer than " + std::to_string(limits_.head) + " bytes");
  }
  head_ += c;
  if (after_cr_ != (c == '\n'))
    return refuse(400, "bad_line_ending", "lines of a request's head end in CR LF, and neither stands alone");
  after_cr_ = c == '\r';
  if (c == '\n') {
    const std::string_view line = std::string_view(head_).substr(line_begin_, head_.size() - line_begin_ - 2);
    line_begin_ = head_.size();
    return end_line(line);
  }
  const auto byte = static_cast<unsigned char>(c);
  if ((byte < ' ' && c != '\t' && c != '\r') || byte == 0x7f) {
    refuse(400, "control_character", "the request's head has a control character");
  }
}

void HeadScreen::end_line(std::string_view line) {
  if (first_line_) {
    if (line.empty() &&
        head_.size() == 2) {  // RFC 9112, section 2.2: an empty line before the request is ignored, once
      line_begin_ = 0;
      after_cr_ = false;
      head_.clear();
      return;
    }
    first_line_ = false;
    return check_request_line(line);
  }
  if (!line.empty()) return check_field(line);
  complete_ = true;
  check_whole();
}

void HeadScreen::check_request_line(std::string_view line) {
  const auto malformed = [&] { refuse(400, "bad_request_line", "expected METHOD SP target SP HTTP/1.1"); };
  const size_t first = line.find(' '), second = line.rfind(' ');
  if (first == std::string_view::npos || second == first) return malformed();
  const std::string_view method = line.substr(0, first), target = line.substr(first + 1, second - first - 1),
                         version = line.substr(second + 1);
  if (method.empty() || method.size() > kMaxMethodLength ||
      !std::all_of(method.begin(), method.end(), is_token_character))
    return malformed();
  if (target.empty() ||
      !std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7f; }))
    return malformed();
  if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) || version[6] != '.' ||
      !is_digit(version[7])) {
    return malformed();
  }
  if (version[5] != '1') return refuse(505, "http_version", "this server speaks HTTP/1.1");
  http_1_1_ = version[7] != '0';
  if (version[7] > '1') return refuse(505, "http_version", "this server speaks HTTP/1.1");
}

void HeadScreen::check_field(std::string_view line) {
  if (++fields_ > limits_.fields) {
    return refuse(431, "too_many_headers",
                  "the request has more than " + std::to_string(limits_.fields) + " header fields");
  }
  if (line.front() == ' ' || line.front() == '\t')
    return refuse(400, "folded_header", "header fields are not continued on the next line");
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || name.empty() ||
      !std::all_of(name.begin(), name.end(), is_token_character)) {
    return refuse(400, "bad_header_name", "expected name: value");
  }
  const std::string_view value = without_blanks(line.substr(colon + 1));
  if (equal_without_case(name, "host")) {
    if (++hosts_ > 1) refuse(400, "two_hosts", "the request has two Host headers");
  } else if (equal_without_case(name, "content-length")) {
    check_content_length(value);
  } else if (equal_without_case(name, "transfer-encoding")) {
    check_transfer_encoding(value);
  }
}

void HeadScreen::check_content_length(std::string_view value) {
  if (content_length_)
    return refuse(400, "two_content_lengths", "the request has two Content-Length headers");
  uint64_t length = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
  if (value.empty() || !is_digit(value.front()) || end != value.data() + value.size() ||
      (error != std::errc() && error != std::errc::result_out_of_range)) {
    return refuse(400, "bad_content_length", "Content-Length is not a number");
  }
  if (error == std::errc::result_out_of_range || length > limits_.body) {
    return refuse(413, "body_too_large",
                  "the body is longer than " + std::to_string(limits_.body) + " bytes");
  }
  content_length_ = length;
}

void HeadScreen::check_transfer_encoding(std::string_view value) {
  if (++transfer_encodings_ > 1)
    return refuse(400, "two_transfer_encodings", "the request has two Transfer-Encoding headers");
  if (!equal_without_case(value, "chunked")) {
    // `chunked, chunked` and `chunked` before another coding leave the body's end open to interpretation.
    std::string lowered(value);
    std::transform(lowered.begin(), lowered.end(), lowered.begin(), lower);
    const bool ambiguous = value.empty() || lowered.find("chunked") != std::string::npos;
    return refuse(ambiguous ? 400 : 501, "transfer_encoding",
                  "the only transfer coding understood is one 'chunked'");
  }
  chunked_ = true;
}

void HeadScreen::check_whole() {
  if (chunked_ && content_length_)
    return refuse(400, "two_lengths", "the request has both Content-Length and Transfer-Encoding");
  if (chunked_ && !http_1_1_) return refuse(400, "chunked_http_1_0", "HTTP/1.0 has no Transfer-Encoding");
  if (http_1_1_ && hosts_ == 0) return refuse(400, "no_host", "the request has no Host header");
}

}  // namespace mla::http
