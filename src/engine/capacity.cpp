#include "engine/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
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

std::optional<std::string> read_file(const char* path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// What a control group (version 2) has left; nothing when it has no limit ("max").
std::optional<int64_t> control_group_memory() {
  const auto limit_text = read_file("/sys/fs/cgroup/memory.max"),
             used_text = read_file("/sys/fs/cgroup/memory.current");
  if (!limit_text || !used_text) return std::nullopt;
  const auto limit = leading_number(*limit_text), used = leading_number(*used_text);
  if (!limit || !used) return std::nullopt;
  return std::max<int64_t>(*limit - *used, 0);
}

}  // namespace

std::optional<int64_t> parse_mem_available(std::string_view meminfo) {
  constexpr std::string_view kKey = "MemAvailable:";
  const size_t at = meminfo.find(kKey);
  if (at == std::string_view::npos) return std::nullopt;
  const auto kib = leading_number(meminfo.substr(at + kKey.size()));
  if (!kib || *kib > std::numeric_limits<int64_t>::max() / 1024) return std::nullopt;
  return *kib * 1024;
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

}  // namespace mla
