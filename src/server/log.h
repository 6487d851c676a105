#pragma once

#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace mla {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

/// One value of a line, by name. Names are ours: letters and '_'.
struct LogField {
  using Value = std::variant<std::string_view, int64_t, double, bool>;

  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, const char* v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, const std::string& v) : name(n), value(std::string_view(v)) {}
  LogField(std::string_view n, double v) : name(n), value(v) {}
  LogField(std::string_view n, bool v) : name(n), value(v) {}
  template <typename T>
  requires std::is_integral_v<T> LogField(std::string_view n, T v)
      : name(n), value(static_cast<int64_t>(v)) {}

  std::string_view name;
  Value value;
};

/// Lines of the form `time level event name=value ...`, or the same as one JSON object. A line is one write;
/// control characters and what is no UTF-8 are escaped, so that no client can forge a line. Any thread may
/// write. Nothing throws, and a line that cannot be written is lost.
class Log {
 public:
  /// Writes to `descriptor`, which stays open as long as the log and is not closed by it.
  explicit Log(int descriptor, LogFormat format = LogFormat::kText, LogLevel lowest = LogLevel::kInfo)
      : descriptor_(descriptor), format_(format), lowest_(lowest) {}

  bool writes(LogLevel level) const { return level >= lowest_; }
  void write(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) noexcept;

  void debug(std::string_view event, std::initializer_list<LogField> f = {}) noexcept {
    write(LogLevel::kDebug, event, f);
  }
  void info(std::string_view event, std::initializer_list<LogField> f = {}) noexcept {
    write(LogLevel::kInfo, event, f);
  }
  void warning(std::string_view event, std::initializer_list<LogField> f = {}) noexcept {
    write(LogLevel::kWarning, event, f);
  }
  void error(std::string_view event, std::initializer_list<LogField> f = {}) noexcept {
    write(LogLevel::kError, event, f);
  }

 private:
  const int descriptor_;
  const LogFormat format_;
  const LogLevel lowest_;
  std::mutex mutex_;  // a line longer than a pipe's atomic write stays in one piece
};

}  // namespace mla
