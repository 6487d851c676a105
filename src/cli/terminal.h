#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mla::cli {

/// Keys in the order in which they are written.
using Json = nlohmann::ordered_json;

/// What the user said about output, once for the whole process (flags of every subcommand).
struct TerminalOptions {
  bool quiet = false;     ///< errors only
  bool plain = false;     ///< no colour, no animation
  bool no_color = false;
  bool json = false;      ///< standard output is one JSON document
  std::string config;     ///< settings file
};

TerminalOptions& terminal_options();

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
/// Colour on that stream: a terminal that is not TERM=dumb, and neither --plain, --no-color nor NO_COLOR.
bool color_on_stderr();
/// Lines redrawn in place on standard error: a terminal that is not TERM=dumb, without --plain.
bool animate_stderr();

/// Dimmed on a terminal with colour, else as it is.
std::string dim(std::string_view text);

/// Control characters but tab and line end as \xNN: what a file or a model says must not steer the terminal.
std::string printable(std::string_view text);

/// As it is, unbuffered. A standard error that is closed or full loses the text and nothing else.
void write_stderr(std::string_view text);
/// One line for the person at the terminal, on standard error; nothing with --quiet.
void note(std::string_view line);
/// `mla: error: ...` (or the JSON error document with --json).
void report_error(const Error& error);

/// Writes to standard output and flushes. Errors: kFailure when the reader is gone (broken pipe), kResource when
/// the disk is full.
Status write_stdout(std::string_view text);
/// The same for one JSON document; bytes that are no UTF-8 become U+FFFD.
Status write_json(const Json& document);

/// Ctrl-C ends the process with 130 at once (with --json: after an error document), except inside a GracefulInterrupt.
/// Also gives streams that the caller closed a place to go to.
void install_signal_handlers();

/// While one lives, the first Ctrl-C only makes interrupted() true, so that the work can stop and report what it has; the
/// second one ends the process.
class GracefulInterrupt {
 public:
  GracefulInterrupt();
  ~GracefulInterrupt();
  GracefulInterrupt(const GracefulInterrupt&) = delete;
  GracefulInterrupt& operator=(const GracefulInterrupt&) = delete;
};
bool interrupted();
void clear_interrupt();

/// Progress of something that takes longer than a moment: shown after 100 ms, redrawn in place on a terminal, one line
/// every 10 s elsewhere, silent with --quiet. Never wider than the terminal.
class Progress {
 public:
  Progress(std::string label, std::string unit);
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void update(double done, double total);
  /// Removes the bar.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_, unit_;
  Clock::time_point begin_, last_;
  bool drawn_ = false, finished_ = false;
};

/// "68.6 KiB", "1.35 GiB"; exact below 1 KiB.
std::string human_bytes(double bytes);
/// "3,997,696".
std::string grouped(int64_t n);
/// Three significant digits: "143", "11.9", "0.042".
std::string short_number(double x);

}  // namespace mla::cli
