#include "engine/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "cache/page_pool.h"

namespace mla {
namespace {

/// Share of the available memory that a cache sized by itself takes; the rest is for activations and
/// everybody else.
constexpr double kMemoryShare = 0.8;

constexpr double kMiB = 1024.0 * 1024.0;

std::optional<int64_t> leading_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + first, text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  return value;
}

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The number behind `key` at the beginning of a line.
std::optional<int64_t> field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    if (text.starts_with(key)) return leading_number(text.substr(key.size()));
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return std::nullopt;
}

/// What this process's control group and those around it have left: the least of them.
std::optional<int64_t> control_group_memory() {
  namespace fs = std::filesystem;
  constexpr std::string_view kUnified = "0::/";
  const fs::path root = "/sys/fs/cgroup";
  const auto membership = read_file("/proc/self/cgroup");
  if (!membership) return std::nullopt;
  const size_t line = membership->find(kUnified);
  if (line == std::string::npos) return std::nullopt;
  const size_t begin = line + kUnified.size();
  const std::string group = membership->substr(begin, membership->find('\n', begin) - begin);

  std::optional<int64_t> least;
  const auto consider = [&](const fs::path& folder) {
    const auto limit = read_file(folder / "memory.max"), current = read_file(folder / "memory.current"),
               stat = read_file(folder / "memory.stat");
    if (!limit || !current || !stat) return;
    const auto left = parse_control_group(*limit, *current, *stat);
    if (left) least = std::min(*left, least.value_or(*left));
  };
  fs::path folder = root;
  consider(folder);
  for (const fs::path& name : fs::path(group)) consider(folder /= name);
  return least;
}

}  // namespace

std::optional<int64_t> parse_mem_available(std::string_view meminfo) {
  const auto kib = field(meminfo, "MemAvailable:");
  if (!kib || *kib > std::numeric_limits<int64_t>::max() / 1024) return std::nullopt;
  return *kib * 1024;
}

std::optional<int64_t> parse_control_group(std::string_view limit, std::string_view current,
                                           std::string_view stat) {
  const auto most = leading_number(limit), used = leading_number(current);  // no number: "max"
  if (!most || !used) return std::nullopt;
  int64_t held = *used;
  for (const char* droppable : {"active_file ", "inactive_file ", "slab_reclaimable "})
    held -= std::min(held, field(stat, droppable).value_or(0));
  return std::max<int64_t>(*most - held, 0);
}

std::optional<int64_t> available_memory() {
  const auto meminfo = read_file("/proc/meminfo");
  const auto system = meminfo ? parse_mem_available(*meminfo) : std::nullopt;
  const auto group = control_group_memory();
  if (system && group) return std::min(*system, *group);
  return system ? system : group;
}

Result<int64_t> choose_cache_pages(int64_t max_tokens, int64_t n_context, int64_t page_bytes,
                                   std::optional<int64_t> available) {
  if (max_tokens < 0)
    return Error::usage(fmt::format("cache of {} tokens: expected 0 (automatic) or more", max_tokens));
  const int64_t free_bytes = available.value_or(std::numeric_limits<int64_t>::max());
  if (max_tokens > 0) {
    const int64_t pages = pages_for(std::min(max_tokens, std::numeric_limits<int64_t>::max() - kPageRows));
    if (pages <= free_bytes / page_bytes) return pages;
    return Error::resource(fmt::format(
        "a cache of {} tokens takes {:.0f} MiB ({} bytes per token), but only {:.0f} MiB of memory are "
        "available: at most {} tokens "
        "fit; use a smaller cache or the int8 row format",
        max_tokens, static_cast<double>(pages) * static_cast<double>(page_bytes) / kMiB,
        page_bytes / kPageRows, static_cast<double>(free_bytes) / kMiB, free_bytes / page_bytes * kPageRows));
  }
  const int64_t share = static_cast<int64_t>(static_cast<double>(free_bytes) * kMemoryShare);
  const int64_t pages = std::min(pages_for(n_context), share / page_bytes);
  if (pages >= 1) return pages;
  return Error::resource(fmt::format(
      "one page of the cache ({} tokens) takes {:.1f} MiB, but only {:.1f} MiB of memory are available",
      kPageRows, static_cast<double>(page_bytes) / kMiB, static_cast<double>(free_bytes) / kMiB));
}

int64_t largest_batch(int64_t memory, int64_t weight_bytes, int64_t page_bytes, int64_t n_tokens) {
  return memory > weight_bytes ? (memory - weight_bytes) / page_bytes / pages_for(n_tokens) : 0;
}

}  // namespace mla
