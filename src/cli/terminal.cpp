#include "cli/terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/command.h"

namespace mla::cli {
namespace {

std::atomic<int> interrupts{0};

void on_interrupt(int) {
  if (interrupts.fetch_add(1) >= 1) _exit(130);
}

}  // namespace

TerminalOptions& terminal_options() {
  static TerminalOptions options;
  return options;
}

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

bool color_on_stderr() {
  const char* no_color = std::getenv("NO_COLOR");
  const TerminalOptions& o = terminal_options();
  return stderr_is_terminal() && !o.plain && !o.no_color && (no_color == nullptr || *no_color == '\0');
}

std::string dim(std::string_view text) {
  return color_on_stderr() ? fmt::format("\033[2m{}\033[0m", text) : std::string(text);
}

void note(std::string_view line) {
  if (!terminal_options().quiet) fmt::print(stderr, "{}\n", dim(line));
}

void report_error(const Error& error) {
  if (terminal_options().json) {
    const nlohmann::json document = {
        {"error", {{"kind", kind_name(error.kind)}, {"message", error.message}, {"exit_code", exit_code(error.kind)}}}};
    const std::string text = document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  const char* red = color_on_stderr() ? "\033[31m" : "";
  const char* reset = color_on_stderr() ? "\033[0m" : "";
  fmt::print(stderr, "mla: {}error:{} {}\n", red, reset, error.message);
}

Status write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return {};
  return Error::failure(fmt::format("cannot write to standard output: {}", std::strerror(errno)));
}

void install_interrupt_handler() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);  // without SA_RESTART: a blocked read returns, so that a prompt can end
  signal(SIGPIPE, SIG_IGN);             // a closed reader is an error of write_stdout(), not a silent death
}

bool interrupted() { return interrupts.load(std::memory_order_relaxed) > 0; }
void clear_interrupt() { interrupts.store(0); }

Progress::Progress(std::string label, std::string unit)
    : label_(std::move(label)), unit_(std::move(unit)), begin_(Clock::now()), last_(begin_) {}

void Progress::update(double done, double total) {
  if (terminal_options().quiet || finished_) return;
  const Clock::time_point now = Clock::now();
  const double elapsed = std::chrono::duration<double>(now - begin_).count();
  const double since = std::chrono::duration<double>(now - last_).count();
  const bool animate = stderr_is_terminal() && !terminal_options().plain;
  if (elapsed < 0.1 || since < (animate ? 0.1 : 10.0)) return;
  last_ = now;

  const double rate = done / elapsed;
  const bool bytes = unit_ == "B";
  const auto amount = [&](double x) { return bytes ? human_bytes(x) : fmt::format("{:.0f} {}", x, unit_); };
  std::string line = fmt::format("{} {} / {} ({:.0f} %), {}/s", label_, amount(done), amount(total),
                                 total > 0 ? 100.0 * done / total : 0.0,
                                 bytes ? human_bytes(rate) : short_number(rate) + " " + unit_);
  if (rate > 0 && total > done) line += fmt::format(", {} s left", short_number((total - done) / rate));
  if (animate) {
    fmt::print(stderr, "\r\033[K{}", dim(line));
    std::fflush(stderr);
    drawn_ = true;
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

void Progress::finish() {
  if (drawn_) {
    fmt::print(stderr, "\r\033[K");
    std::fflush(stderr);
    drawn_ = false;
  }
  finished_ = true;
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (std::abs(bytes) >= 1024.0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{} {}", short_number(bytes), kUnits[unit]);
}

std::string grouped(int64_t n) {
  std::string digits = std::to_string(n < 0 ? -n : n);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<size_t>(i), ",");
  return (n < 0 ? "-" : "") + digits;
}

std::string short_number(double x) {
  const double magnitude = std::abs(x);
  if (!std::isfinite(x)) return "-";
  if (magnitude >= 99.95 || magnitude == 0.0) return fmt::format("{:.0f}", x);
  if (magnitude >= 9.995) return fmt::format("{:.1f}", x);
  if (magnitude >= 0.9995) return fmt::format("{:.2f}", x);
  return fmt::format("{:.3g}", x);
}

}  // namespace mla::cli
