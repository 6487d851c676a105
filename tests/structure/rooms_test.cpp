#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/paths.h"

namespace mla {
namespace {

namespace fs = std::filesystem;

/// What each room may include besides itself: the arrows of the design, written out. `mla` is the public
/// headers.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {}},
    {"tensor", {"base"}},
    {"io", {"base", "tensor"}},
    {"text", {"base"}},
    {"ops", {"base", "tensor"}},
    {"reference", {"base", "tensor", "ops"}},
    {"cpu", {"base", "tensor", "ops"}},
    {"cache", {"base", "tensor", "ops"}},
    {"grammar", {"base"}},
    {"sampling", {"base", "grammar"}},
    {"model", {"base", "tensor", "io", "text", "ops", "cache"}},
    {"engine", {"base", "tensor", "ops", "cache", "model", "sampling"}},
    {"api",
     {"base", "tensor", "io", "text", "ops", "reference", "cpu", "cache", "model", "sampling", "engine"}},
    {"server", {"base", "tensor", "text", "ops", "cache", "model", "grammar", "sampling", "engine"}},
    {"cli",
     {"base", "tensor", "io", "text", "ops", "reference", "cpu", "cache", "model", "sampling", "engine",
      "server"}},
    {"mla", {"base"}},
};
/// Who may include the public headers: those that implement them and those that use the library as anyone
/// would.
const std::set<std::string> kMayIncludePublic = {"api", "cli"};

constexpr size_t kMaxLines = 800;

bool is_source(const fs::path& path) {
  return path.extension() == ".cpp" || path.extension() == ".h" || path.extension() == ".inc";
}

std::vector<fs::path> sources_below(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && is_source(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream in(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
  return lines;
}

/// The room that a line includes a header of, however the path is written; "?" for a header in quotes that is
/// no room's; nothing for other lines and for the system's headers.
std::string included_room(const std::string& line) {
  static const std::regex include(R"(^\s*#\s*include\s*(["<])(?:\.\.?/)*(?:src/|include/)?([A-Za-z0-9_]+)?)");
  std::smatch match;
  if (!std::regex_search(line, match, include)) return {};
  const bool names_folder = match.suffix().str().starts_with('/');
  if (names_folder && kMayInclude.contains(match[2])) return match[2];
  return match[1] == "\"" ? "?" : "";
}

bool may_include(const std::string& room, const std::string& other) {
  if (room == other) return true;
  if (other == "?") return false;
  if (other == "mla") return kMayIncludePublic.contains(room);
  return kMayInclude.at(room).contains(other);
}

TEST(Rooms, DependOneWay) {
  std::vector<std::string> violations;
  size_t n_files = 0;
  for (const char* root : {"src", "include"}) {
    const fs::path folder = test::source_dir() / root;
    for (const fs::path& file : sources_below(folder)) {
      ++n_files;
      const std::string room = fs::relative(file, folder).begin()->string();
      if (!kMayInclude.contains(room)) {
        violations.push_back(
            fmt::format("{}: room '{}' is not in the list of this test", file.string(), room));
        continue;
      }
      const std::vector<std::string> lines = lines_of(file);
      for (size_t i = 0; i < lines.size(); ++i) {
        const std::string other = included_room(lines[i]);
        if (other.empty() || may_include(room, other)) continue;
        violations.push_back(
            fmt::format("{}:{}: room '{}' may not include '{}'", file.string(), i + 1, room, other));
      }
    }
  }
  EXPECT_GT(n_files, 20U) << "the scan found too few files to mean anything";
  EXPECT_TRUE(violations.empty()) << fmt::format("{}", fmt::join(violations, "\n"));
}

TEST(Rooms, ScanRecognisesIncludes) {
  EXPECT_EQ(included_room("#include \"ops/backend.h\""), "ops");
  EXPECT_EQ(included_room("  # include <mla/engine.h>  // public"), "mla");
  EXPECT_EQ(included_room("#include \"../../src/base/result.h\""), "base");
  EXPECT_EQ(included_room("#include \"../ops/backend.h\""), "ops");
  EXPECT_EQ(included_room("#include \"ops.h\""), "?");
  EXPECT_EQ(included_room("#include \"./neighbour.h\""), "?");
  EXPECT_EQ(included_room("#include \"elsewhere/ops/backend.h\""), "?");
  EXPECT_EQ(included_room("#include <nlohmann/json.hpp>"), "");
  EXPECT_EQ(included_room("#include <vector>"), "");
  EXPECT_EQ(included_room("// see ops/backend.h"), "");
  EXPECT_FALSE(may_include("text", "tensor"));
  EXPECT_FALSE(may_include("cpu", "model"));
  EXPECT_FALSE(may_include("base", "mla"));
  EXPECT_FALSE(may_include("base", "?"));
  EXPECT_TRUE(may_include("cpu", "cpu"));
}

TEST(Rooms, NoTwoRoomsMayIncludeEachOther) {
  for (const auto& [room, others] : kMayInclude) {
    for (const std::string& other : others)
      EXPECT_FALSE(kMayInclude.at(other).contains(room)) << room << " and " << other;
  }
}

TEST(Rooms, FilesAreReadInOneSitting) {
  std::vector<std::string> too_long;
  for (const char* root : {"src", "include", "tests", "bench", "examples"}) {
    for (const fs::path& file : sources_below(test::source_dir() / root)) {
      const size_t n = lines_of(file).size();
      if (n > kMaxLines)
        too_long.push_back(fmt::format("{}: {} lines, at most {}", file.string(), n, kMaxLines));
    }
  }
  EXPECT_TRUE(too_long.empty()) << fmt::format("{}", fmt::join(too_long, "\n"));
}

}  // namespace
}  // namespace mla
