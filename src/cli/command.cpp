#include "cli/command.h"

#include <fmt/format.h>

#include <charconv>

namespace mla::cli {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailure: return 1;
    case ErrorKind::kUsage: return 2;
    case ErrorKind::kInvalidFile: return 3;
    case ErrorKind::kResource: return 4;
    case ErrorKind::kCancelled: return 130;
    case ErrorKind::kBusy: return 4;
  }
  return 1;
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailure: return "failure";
    case ErrorKind::kUsage: return "usage";
    case ErrorKind::kInvalidFile: return "invalid_file";
    case ErrorKind::kResource: return "resource";
    case ErrorKind::kCancelled: return "cancelled";
    case ErrorKind::kBusy: return "busy";
  }
  return "failure";
}

CLI::Validator whole_number(int64_t low, int64_t high) {
  return CLI::Validator(
      [low, high](std::string& text) {
        int64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
          return fmt::format("expected a whole number from {} to {}, got '{}'", low, high, text);
        }
        text = std::to_string(value);  // CLI11 would read 010 as eight
        return std::string();
      },
      "");
}

CLI::Validator not_empty() {
  return CLI::Validator([](std::string& text) { return text.empty() ? std::string("is empty") : std::string(); }, "");
}

CLI::App* add_subcommand(CLI::App& root, const std::string& name, const std::string& summary,
                         const std::vector<std::string>& examples) {
  CLI::App* app = root.add_subcommand(name, summary);
  app->footer(fmt::format("Examples:\n  {}", fmt::join(examples, "\n  ")));
  app->fallthrough(false);
  return app;
}

}  // namespace mla::cli
