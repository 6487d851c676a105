#pragma once

#include <map>
#include <string>
#include <vector>

namespace mla::test {

struct CommandResult {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

struct CommandOptions {
  std::string input;                           ///< standard input
  std::map<std::string, std::string> environment;  ///< set on top of the test's own
  std::string folder;                          ///< working folder; empty = the test's
  int interrupt_after_ms = -1;                 ///< send SIGINT once, this long after the start
};

/// Runs a program with its arguments (no shell), waits for it, and returns what it wrote. HOME and the XDG folders point to
/// an empty temporary folder, so that a person's own settings do not matter.
CommandResult run_command(const std::string& program, const std::vector<std::string>& arguments, const CommandOptions& options = {});

/// Runs a program on a terminal of its own (a pty), types `typed`, and returns everything that appeared on the screen.
std::string run_on_terminal(const std::string& program, const std::vector<std::string>& arguments, const std::string& typed);

}  // namespace mla::test
