#include "support/command.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/paths.h"

namespace mla::test {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void execute(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  _exit(127);
}

void isolate(const fs::path& home) {
  setenv("HOME", home.c_str(), 1);
  unsetenv("XDG_CONFIG_HOME");
  unsetenv("XDG_CACHE_HOME");
}

int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

void redirect(const fs::path& path, int flags, int to) {
  const int fd = open(path.c_str(), flags, 0600);
  if (fd < 0) _exit(126);
  dup2(fd, to);
  close(fd);
}

}  // namespace

CommandResult run_command(const std::string& program, const std::vector<std::string>& arguments, const CommandOptions& options) {
  const fs::path folder = temp_dir("command");
  std::ofstream(folder / "in", std::ios::binary) << options.input;
  const pid_t child = fork();
  if (child == 0) {
    redirect(folder / "in", O_RDONLY, STDIN_FILENO);
    redirect(folder / "out", O_WRONLY | O_CREAT, STDOUT_FILENO);
    redirect(folder / "err", O_WRONLY | O_CREAT, STDERR_FILENO);
    isolate(folder / "home");
    for (const auto& [name, value] : options.environment) setenv(name.c_str(), value.c_str(), 1);
    if (!options.folder.empty() && chdir(options.folder.c_str()) != 0) _exit(126);
    execute(program, arguments);
  }
  if (options.interrupt_after_ms >= 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(options.interrupt_after_ms));
    kill(child, SIGINT);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return {exit_code_of(status), read_file(folder / "out"), read_file(folder / "err")};
}

std::string run_on_terminal(const std::string& program, const std::vector<std::string>& arguments, const std::string& typed) {
  const fs::path home = temp_dir("terminal");
  int terminal = -1;
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    isolate(home);
    execute(program, arguments);
  }
  // The terminal holds what is typed ahead until the program asks for it.
  if (write(terminal, typed.data(), typed.size()) < 0) kill(child, SIGKILL);
  std::string screen;
  char buffer[4096];
  pollfd ready{terminal, POLLIN, 0};
  while (poll(&ready, 1, 60000) > 0) {
    const ssize_t n = read(terminal, buffer, sizeof(buffer));
    if (n <= 0) break;  // EIO: the program is gone
    screen.append(buffer, static_cast<size_t>(n));
  }
  int status = 0;
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  close(terminal);
  return screen;
}

}  // namespace mla::test
