#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace mla {

/// What kind of failure an Error is. The command's exit code follows from it (docs/cli.md).
enum class ErrorKind {
  kUsage,       ///< A flag or argument is wrong (exit code 2).
  kInvalidFile, ///< A model, tokenizer or data file is wrong (exit code 3).
  kResource,    ///< Out of memory, no permission, disk full, port taken (exit code 4).
  kCancelled,   ///< Interrupted by the user (exit code 130).
  kBusy,        ///< Too much is waiting already: the same request may succeed later (exit code 4).
  kFailure,     ///< Anything else (exit code 1).
};

/// A failure that input, a file or the machine caused. The message says what went wrong, where (file, tensor,
/// byte), what was found, what was expected, and the likely fix; it is written for the person at the terminal.
struct Error {
  ErrorKind kind = ErrorKind::kFailure;
  std::string message;

  static Error usage(std::string m) { return {ErrorKind::kUsage, std::move(m)}; }
  static Error invalid_file(std::string m) { return {ErrorKind::kInvalidFile, std::move(m)}; }
  static Error resource(std::string m) { return {ErrorKind::kResource, std::move(m)}; }
  static Error cancelled(std::string m) { return {ErrorKind::kCancelled, std::move(m)}; }
  static Error busy(std::string m) { return {ErrorKind::kBusy, std::move(m)}; }
  static Error failure(std::string m) { return {ErrorKind::kFailure, std::move(m)}; }

  /// The same error with `prefix: ` in front of its message: callers add where they were.
  [[nodiscard]] Error in(const std::string& prefix) const { return {kind, prefix + ": " + message}; }
};

/// Either a value or an Error. Everything that bad input can reach returns one; nothing throws across a room's border.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Error error) : state_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(state_); }  ///< ask before value() or error()
  explicit operator bool() const { return ok(); }

  T& value() & { assert(ok()); return *std::get_if<T>(&state_); }
  const T& value() const& { assert(ok()); return *std::get_if<T>(&state_); }
  T&& value() && { assert(ok()); return std::move(*std::get_if<T>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { assert(!ok()); return *std::get_if<Error>(&state_); }
  Error&& error() && { assert(!ok()); return std::move(*std::get_if<Error>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : failed_(true), error_(std::move(error)) {}

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { assert(failed_); return error_; }
  Error&& error() && { assert(failed_); return std::move(error_); }

 private:
  bool failed_ = false;
  Error error_;
};

using Status = Result<void>;

#define MLA_CONCAT_INNER(a, b) a##b
#define MLA_CONCAT(a, b) MLA_CONCAT_INNER(a, b)

/// Evaluates a Result; on failure returns its Error from the enclosing function.
#define MLA_TRY(expr)                                                                     \
  do {                                                                                    \
    if (auto mla_try_result = (expr); !mla_try_result.ok()) return std::move(mla_try_result).error(); \
  } while (false)

/// `MLA_ASSIGN(auto x, f())`: binds the value of a Result, or returns its Error from the enclosing function.
#define MLA_ASSIGN(decl, expr) MLA_ASSIGN_IMPL(MLA_CONCAT(mla_result_, __LINE__), decl, expr)
#define MLA_ASSIGN_IMPL(tmp, decl, expr)            \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return std::move(tmp).error();     \
  decl = std::move(tmp).value()

}  // namespace mla
