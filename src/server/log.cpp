#include "server/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <iterator>

#include "base/utf8.h"

namespace mla {
namespace {

constexpr std::string_view kLevels[] = {"debug", "info", "warning", "error"};

/// A JSON string, which text lines use for quoting too. Bytes that are no UTF-8 become U+FFFD.
void append_quoted(std::string& line, std::string_view text) {
  line += '"';
  while (!text.empty()) {
    const Utf8Char next = next_utf8(text);
    const std::string_view bytes = text.substr(0, next.length);
    text.remove_prefix(next.length);
    if (!next.valid) {
      line += "\\ufffd";
    } else if (next.code == '"' || next.code == '\\') {
      line += '\\';
      line += bytes;
    } else if (next.code < 0x20 || (next.code >= 0x7f && next.code < 0xa0) || next.code == 0x2028 ||
               next.code == 0x2029) {
      fmt::format_to(std::back_inserter(line), "\\u{:04x}", static_cast<uint32_t>(next.code));
    } else {
      line += bytes;
    }
  }
  line += '"';
}

bool is_bare(std::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return !text.empty();
}

void append_value(std::string& line, const LogField::Value& value, LogFormat format) {
  const auto out = std::back_inserter(line);
  if (const auto text = std::get_if<std::string_view>(&value)) {
    if (format == LogFormat::kText && is_bare(*text)) {
      line += *text;
    } else {
      append_quoted(line, *text);
    }
  } else if (const auto number = std::get_if<int64_t>(&value)) {
    fmt::format_to(out, "{}", *number);
  } else if (const auto real = std::get_if<double>(&value)) {
    if (std::isfinite(*real)) {
      fmt::format_to(out, "{:.6g}", *real);
    } else {
      line += "null";
    }
  } else {
    line += std::get<bool>(value) ? "true" : "false";
  }
}

std::string make_line(LogFormat format, LogLevel level, std::string_view event,
                      std::initializer_list<LogField> fields) {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(now);
  const std::string time =
      fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)),
                  (now - seconds).count());
  const std::string_view name = kLevels[static_cast<size_t>(level)];
  std::string line = format == LogFormat::kJson
                         ? fmt::format(R"({{"time":"{}","level":"{}","event":)", time, name)
                         : fmt::format("{} {} ", time, name);
  append_value(line, event, format);
  for (const LogField& field : fields) {
    if (format == LogFormat::kJson) {
      fmt::format_to(std::back_inserter(line), ",\"{}\":", field.name);
    } else {
      fmt::format_to(std::back_inserter(line), " {}=", field.name);
    }
    append_value(line, field.value, format);
  }
  line += format == LogFormat::kJson ? "}\n" : "\n";
  return line;
}

}  // namespace

void Log::write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) noexcept {
  if (!writes(level)) return;
  try {
    const std::string line = make_line(format_, level, event, fields);
    const std::lock_guard lock(mutex_);
    std::string_view left = line;
    while (!left.empty()) {
      const ssize_t written = ::write(descriptor_, left.data(), left.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;
      left.remove_prefix(static_cast<size_t>(written));
    }
  } catch (...) {  // out of memory: the line is lost, the server is not
  }
}

}  // namespace mla
