#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace mla::cli {

/// One subcommand: its options are declared on `app`; `run` does the work after they are parsed.
struct Command {
  CLI::App* app = nullptr;
  std::function<Status()> run;
};

/// Declares a subcommand whose help begins with examples (docs/cli.md: examples first, common flags first).
CLI::App* add_subcommand(CLI::App& root, const std::string& name, const std::string& summary,
                         const std::vector<std::string>& examples);

/// Takes a decimal whole number from `low` to `high` and nothing that merely looks like one (010 is ten). For transform().
CLI::Validator whole_number(int64_t low, int64_t high);
/// Refuses an empty value, such as that of an unset shell variable. For check().
CLI::Validator not_empty();

Command add_run(CLI::App& root);
Command add_serve(CLI::App& root);
Command add_tokenize(CLI::App& root);
Command add_logits(CLI::App& root);
Command add_perplexity(CLI::App& root);
Command add_inspect(CLI::App& root);
Command add_kv(CLI::App& root);
Command add_synth(CLI::App& root);
Command add_bench(CLI::App& root);
Command add_doctor(CLI::App& root);
Command add_cache(CLI::App& root);
Command add_version(CLI::App& root);

/// Exit code of an error's kind: 1 failure, 2 usage, 3 invalid file, 4 resource, 130 interrupted.
int exit_code(ErrorKind kind);
std::string_view kind_name(ErrorKind kind);

}  // namespace mla::cli
