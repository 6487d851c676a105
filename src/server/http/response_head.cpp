#include "server/http/response_head.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <iterator>

#include "server/http/head_screen.h"

namespace mla::http {
namespace {

/// Against type sniffing, framing, foreign content, referrers and caches. The page's scripts and styles come
/// from here.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kEveryAnswer = {{
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
}};

/// RFC 9110, section 5.6.7; in English whatever the locale.
std::string http_date(std::time_t now) {
  constexpr std::string_view kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::string_view kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::tm t = fmt::gmtime(now);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[t.tm_wday], t.tm_mday, kMonths[t.tm_mon],
                     t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  for (const char c : value) out += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? ' ' : c;
  out += "\r\n";
}

}  // namespace

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Unknown";
  }
}

std::string response_head(const ResponseHead& head, const Headers& own, const Headers& added) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", head.status, reason_phrase(head.status));
  append_field(out, "Date", http_date(std::time(nullptr)));
  if (head.status != 204) {
    append_field(out, "Content-Type", head.content_type);
    if (head.content_length) {
      append_field(out, "Content-Length", std::to_string(*head.content_length));
    } else if (head.http_1_1) {
      append_field(out, "Transfer-Encoding", "chunked");
    }
  }
  append_field(out, "Connection", head.keep_alive ? "keep-alive" : "close");
  if (!head.request_id.empty()) append_field(out, "X-Request-Id", head.request_id);
  for (const auto& [name, value] : kEveryAnswer) {
    const bool replaced = std::any_of(own.begin(), own.end(), [&, n = name](const auto& field) {
      return equal_without_case(field.first, n);
    });
    if (!replaced) append_field(out, name, value);
  }
  for (const Headers* fields : {&own, &added}) {
    for (const auto& [name, value] : *fields) append_field(out, name, value);
  }
  out += "\r\n";
  return out;
}

}  // namespace mla::http
