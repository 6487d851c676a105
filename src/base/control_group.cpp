#include "base/control_group.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

namespace mla {
namespace {
namespace fs = std::filesystem;

std::optional<std::string> read_file(const fs::path& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The number that `text` begins with; nothing for words ("max") and for negative numbers (no limit in version 1).
std::optional<int64_t> leading_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  return value;
}

std::optional<int64_t> number_in(const fs::path& file) {
  const auto text = read_file(file);
  return text ? leading_number(*text) : std::nullopt;
}

bool names(std::string_view list, std::string_view controller) {
  return ("," + std::string(list) + ",").find("," + std::string(controller) + ",") != std::string::npos;
}

struct Folders {
  std::vector<fs::path> unified;     ///< version 2, outermost first
  std::vector<fs::path> controller;  ///< version 1's tree of the controller
};

/// The groups around this process, from /proc/self/cgroup's lines "id:controllers:path". In a container the path may be
/// the host's, while only the container's own group is to be seen, as the tree's root: folders that are not there do not
/// count.
Folders find_groups(const fs::path& root, std::string_view controller) {
  Folders found;
  std::istringstream lines(read_file(root / "proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string list = line.substr(first + 1, second - first - 1);
    const bool unified = list.empty();
    if (!unified && !names(list, controller)) continue;
    fs::path folder = root / "sys/fs/cgroup";
    if (!unified) folder /= controller;
    std::vector<fs::path>& folders = unified ? found.unified : found.controller;
    folders.push_back(folder);
    for (const fs::path& name : fs::path(line.substr(second + 1)).relative_path()) folders.push_back(folder /= name);
  }
  return found;
}

/// Bytes that a group has left. stat: its memory.stat; `prefix`: of the fields there that sum up the groups below.
std::optional<int64_t> memory_left(const fs::path& limit, const fs::path& usage, const fs::path& stat, const std::string& prefix) {
  const auto most = number_in(limit), used = number_in(usage);
  const auto fields = read_file(stat);
  if (!most || !used || !fields) return std::nullopt;
  int64_t held = *used;
  for (const char* droppable : {"active_file ", "inactive_file ", "slab_reclaimable "})
    held -= std::min(held, number_after(*fields, prefix + droppable).value_or(0));
  return std::max<int64_t>(*most - held, 0);
}

std::optional<double> share(std::optional<int64_t> quota, std::optional<int64_t> period) {
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

/// cpu.max: "50000 100000", microseconds of each period, or "max 100000".
std::optional<double> processors_of(const fs::path& cpu_max) {
  const auto text = read_file(cpu_max);
  if (!text) return std::nullopt;
  const size_t space = std::min(text->find(' '), text->size());
  return share(leading_number(*text), leading_number(std::string_view(*text).substr(space)));
}

template <class T>
std::optional<T> least(const std::vector<fs::path>& folders, const std::function<std::optional<T>(const fs::path&)>& limit_of,
                       std::optional<T> found) {
  for (const fs::path& folder : folders) {
    const std::optional<T> limit = limit_of(folder);
    if (limit) found = std::min(*limit, found.value_or(*limit));
  }
  return found;
}

}  // namespace

std::optional<int64_t> number_after(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    if (text.starts_with(key)) return leading_number(text.substr(key.size()));
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return std::nullopt;
}

std::optional<int64_t> control_group_memory(const fs::path& root) {
  const Folders groups = find_groups(root, "memory");
  const auto left = least<int64_t>(
      groups.unified, [](const fs::path& g) { return memory_left(g / "memory.max", g / "memory.current", g / "memory.stat", ""); }, {});
  return least<int64_t>(
      groups.controller,
      [](const fs::path& g) {
        return memory_left(g / "memory.limit_in_bytes", g / "memory.usage_in_bytes", g / "memory.stat", "total_");
      },
      left);
}

std::optional<double> control_group_processors(const fs::path& root) {
  const Folders groups = find_groups(root, "cpu");
  const auto processors = least<double>(groups.unified, [](const fs::path& g) { return processors_of(g / "cpu.max"); }, {});
  return least<double>(
      groups.controller,
      [](const fs::path& g) { return share(number_in(g / "cpu.cfs_quota_us"), number_in(g / "cpu.cfs_period_us")); }, processors);
}

}  // namespace mla
