#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/limits.h"

namespace mla::http {

/// Why a request is not answered by a handler.
struct Refusal {
  int status = 400;
  std::string code;     ///< for programs: "header_too_large"
  std::string message;  ///< for people
};

/// Collects the bytes of a request's head and refuses, at the first byte that shows it, what parsers are
/// known to read in different ways: bare CR or LF, control characters, folded lines, blanks around names, two
/// Content-Lengths, Content-Length beside Transfer-Encoding, codings other than one `chunked`, two Hosts, and
/// heads over the limits. What passes is plain enough for every parser to read alike (request smuggling lives
/// from proxies and servers that do not).
class HeadScreen {
 public:
  explicit HeadScreen(const Limits& limits) : limits_(limits) {}

  /// Takes the bytes that belong to this head and returns their number; takes none once complete() or
  /// refusal().
  size_t feed(std::string_view bytes);

  bool complete() const { return complete_; }
  const std::optional<Refusal>& refusal() const { return refusal_; }
  const std::string& head() const {
    return head_;
  }  ///< all bytes so far; ends in an empty line once complete
  bool empty() const { return head_.empty(); }

  // Known once complete.
  bool has_host() const { return hosts_ == 1; }
  bool http_1_1() const { return http_1_1_; }
  bool chunked() const { return chunked_; }
  std::optional<uint64_t> content_length() const { return content_length_; }

 private:
  void refuse(int status, std::string_view code, std::string_view message);
  void take(char c);
  void end_line(std::string_view line);  // without its CRLF
  void check_request_line(std::string_view line);
  void check_field(std::string_view line);
  void check_content_length(std::string_view value);
  void check_transfer_encoding(std::string_view value);
  void check_whole();

  const Limits limits_;
  std::string head_;
  size_t line_begin_ = 0;
  bool after_cr_ = false;
  bool first_line_ = true;
  bool complete_ = false;
  std::optional<Refusal> refusal_;

  bool http_1_1_ = true;
  size_t fields_ = 0;
  size_t hosts_ = 0;
  size_t transfer_encodings_ = 0;
  bool chunked_ = false;
  std::optional<uint64_t> content_length_;
};

/// A character of a field's name or of a method (RFC 9110, section 5.6.2).
bool is_token_character(char c);

/// Whether two ASCII texts differ in case only.
bool equal_without_case(std::string_view a, std::string_view b);

/// Without the blanks (space, tab) at both ends.
std::string_view without_blanks(std::string_view text);

}  // namespace mla::http
