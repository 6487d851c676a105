#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/disk/hash.h"

namespace mla::disk {

// What `mla cache` does with a folder: no model and no engine are needed.

/// A run as its file describes it.
struct RunSummary {
  std::string name;          ///< of the file
  uint64_t file_bytes = 0;
  std::string label, space;  ///< the model's name and row format; the namespace
  Hash identity{};
  int64_t first_token = 0, n_tokens = 0;  ///< whose rows it holds, counted from the beginning of its chain
  std::string fault;         ///< what is wrong with it; empty: sound as far as it was read
};

/// $XDG_CACHE_HOME/mla/prefixes or ~/.cache/mla/prefixes. Errors: kUsage when neither variable is set.
Result<std::filesystem::path> default_cache_folder();

/// All runs, oldest first, by their headers; with `pages` everything is read and every checksum compared. Takes no lock and
/// changes nothing: a server may be running. `progress(done, total)` counts bytes. Errors: kUsage when there is no disk cache
/// in the folder; kResource.
Result<std::vector<RunSummary>> examine_runs(const std::filesystem::path& folder, bool pages,
                                             const std::function<void(uint64_t done, uint64_t total)>& progress = {});

struct Collected {
  int64_t n_damaged = 0, n_evicted = 0, n_leftover = 0;  ///< runs; leftover: files that a killed process began
  uint64_t bytes_before = 0, bytes_after = 0;            ///< of all runs
};
/// Deletes damaged runs and leftovers, then runs that were least recently used until the rest are within the budget. Errors:
/// as above, and kResource when a server uses the folder.
Result<Collected> collect_garbage(const std::filesystem::path& folder, uint64_t budget_bytes);

struct Wiped {
  int64_t n_files = 0;
  uint64_t bytes = 0;
};
/// Deletes everything that is ours in the folder, and the folder if nothing else is in it. Errors: as above.
Result<Wiped> wipe(const std::filesystem::path& folder);

}  // namespace mla::disk
