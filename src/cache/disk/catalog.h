#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/disk/hash.h"

namespace mla::disk {

/// A run as the catalog knows it.
struct RunEntry {
  uint64_t last_use = 0;  ///< of the catalog's counter
  uint64_t file_bytes = 0;
  uint32_t first_page = 0;
  std::vector<Hash> keys;  ///< of its pages
};

/// Which runs there are, which pages they hold, and which was used least recently: what the index keeps between two
/// starts, in memory. Use is counted, never timed. Not thread-safe.
class Catalog {
 public:
  struct Place {
    uint64_t run = 0;
    uint32_t page = 0;  ///< of the run
  };

  /// Adds a run under a number that is not there yet. last_use 0: now is its last use; else as given. A page that another
  /// run holds already stays with that one.
  void add(uint64_t number, RunEntry entry);
  /// Forgets a run. Returns its file's bytes, 0 when it is not there.
  uint64_t remove(uint64_t number);
  /// Makes a run the most recently used.
  void touch(uint64_t number);

  std::optional<Place> find(const Hash& key) const;
  std::optional<uint64_t> least_recently_used() const;
  const std::map<uint64_t, RunEntry>& runs() const { return runs_; }
  /// Bytes of all runs' files, and how many different pages they hold.
  uint64_t total_bytes() const { return total_bytes_; }
  int64_t n_pages() const { return static_cast<int64_t>(pages_.size()); }

 private:
  std::map<uint64_t, RunEntry> runs_;
  std::map<uint64_t, uint64_t> by_use_;  ///< last use -> run
  std::unordered_map<Hash, Place, HashOfHash> pages_;
  uint64_t total_bytes_ = 0;
};

}  // namespace mla::disk
