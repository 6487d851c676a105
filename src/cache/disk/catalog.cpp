#include "cache/disk/catalog.h"

#include <cassert>
#include <utility>

namespace mla::disk {

void Catalog::add(uint64_t number, RunEntry entry) {
  assert(!runs_.contains(number));
  const uint64_t newest = by_use_.empty() ? 0 : by_use_.rbegin()->first;
  // Two runs never share a count, whatever an index says.
  if (entry.last_use == 0 || by_use_.contains(entry.last_use)) entry.last_use = newest + 1;
  for (uint32_t page = 0; page < entry.keys.size(); ++page) pages_.try_emplace(entry.keys[page], Place{number, page});
  by_use_.emplace(entry.last_use, number);
  total_bytes_ += entry.file_bytes;
  runs_.emplace(number, std::move(entry));
}

uint64_t Catalog::remove(uint64_t number) {
  const auto found = runs_.find(number);
  if (found == runs_.end()) return 0;
  const uint64_t bytes = found->second.file_bytes;
  for (const Hash& key : found->second.keys) {
    const auto page = pages_.find(key);
    if (page != pages_.end() && page->second.run == number) pages_.erase(page);
  }
  by_use_.erase(found->second.last_use);
  runs_.erase(found);
  total_bytes_ -= bytes;
  return bytes;
}

void Catalog::touch(uint64_t number) {
  const auto found = runs_.find(number);
  if (found == runs_.end() || by_use_.rbegin()->second == number) return;
  auto use = by_use_.extract(found->second.last_use);
  found->second.last_use = by_use_.rbegin()->first + 1;
  use.key() = found->second.last_use;
  by_use_.insert(std::move(use));
}

std::optional<Catalog::Place> Catalog::find(const Hash& key) const {
  const auto found = pages_.find(key);
  return found == pages_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<uint64_t> Catalog::least_recently_used() const {
  return by_use_.empty() ? std::nullopt : std::optional(by_use_.begin()->second);
}

}  // namespace mla::disk
