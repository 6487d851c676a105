#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <regex>
#include <set>
#include <string>

#include "support/command.h"
#include "support/paths.h"

// What is written about running the server must be true of the server.

namespace mla {
namespace {

using ::testing::Contains;
using Names = std::set<std::string>;

/// The first group of every match.
Names all_matches(const std::string& text, const std::string& form) {
  const std::regex regex(form, std::regex::multiline);
  Names names;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) names.insert((*it)[1]);
  return names;
}

/// The flags that `mla serve` has.
Names serve_flags() {
  const test::CommandResult help = test::run_command(MLA_COMMAND, {"serve", "--help"}, {});
  EXPECT_EQ(help.exit_code, 0) << help.err;
  return all_matches(help.out, R"(^ +(?:-\w,)?(--[a-z][a-z-]*))");
}

TEST(Operations, NamesEveryFlagOfTheServerAndNoOther) {
  const Names flags = serve_flags();
  ASSERT_GT(flags.size(), 10U);
  const Names named = all_matches(test::read_file(test::source_dir() / "docs/operations.md"), R"(`(--[a-z][a-z-]*))");
  for (const std::string& flag : named) EXPECT_THAT(flags, Contains(flag)) << "the guide names a flag that `mla serve` does not have";
  for (const std::string& flag : flags) {
    if (Names{"--help", "--quiet", "--plain", "--no-color", "--config", "--print-config"}.contains(flag)) continue;  // every subcommand's: docs/cli.md
    EXPECT_THAT(named, Contains(flag)) << "a flag of `mla serve` that the guide does not name";
  }
}

TEST(Operations, UnitsAndImagesSetOnlyWhatTheServerReads) {
  Names variables;
  for (const std::string& flag : serve_flags()) {
    std::string name = "MLA_" + flag.substr(2);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
    variables.insert(name);
  }
  for (const char* path : {"deploy/systemd/mla.service", "deploy/docker/Dockerfile", "docs/operations.md"}) {
    const Names used = all_matches(test::read_file(test::source_dir() / path), R"(\b(MLA_[A-Z_]+)=)");
    EXPECT_FALSE(used.empty()) << path;
    for (const std::string& name : used) {
      if (name.starts_with("MLA_BUILD_")) continue;  // CMake's
      EXPECT_THAT(variables, Contains(name)) << path;
    }
  }
}

}  // namespace
}  // namespace mla
