#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla::cli {

struct Setting {
  std::string name;   ///< "threads" for --threads
  std::string value;
  std::string origin; ///< "flag", "MLA_THREADS", "./mla.toml", "~/.config/mla/config.toml", "default"
};

/// Fills the options that no flag set: from the environment (MLA_<NAME>), then the file that --config names, ./mla.toml, then
/// $XDG_CONFIG_HOME/mla/config.toml (or ~/.config/mla/config.toml). In the files, keys at the top hold for every
/// subcommand that has the option, keys in [run], [logits], ... for that subcommand alone and come first.
/// Errors: kUsage naming the file or variable for a value that the option refuses, an unreadable file, a key that no
/// subcommand has (in a section: that its subcommand does not have), or a section that no subcommand has.
Status apply_settings(CLI::App& subcommand);

/// Value and origin of every option after apply_settings(), for --print-config.
std::vector<Setting> list_settings(const CLI::App& subcommand);

/// "; did you mean '--temperature'?", or nothing when no known word is near (more than a third of the letters differ).
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

}  // namespace mla::cli
