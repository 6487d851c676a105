#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cache/disk/file_system.h"
#include "cache/disk/run_format.h"
#include "cache/prefix_store.h"

namespace mla {

/// When what was written is made to survive a power cut. A killed process loses nothing of it in any case.
enum class CacheSync {
  kNone,      ///< when the system likes
  kEntry,     ///< every run before it can be found
  kInterval,  ///< all of the last sync_seconds together
};
Result<CacheSync> cache_sync_from_name(std::string_view name);  ///< "none", "entry", "interval"

struct DiskCacheOptions {
  std::filesystem::path folder;                     ///< made if missing; empty or a disk cache otherwise
  uint64_t budget_bytes = uint64_t{16} << 30;       ///< of all runs together
  CacheSync sync = CacheSync::kInterval;
  uint64_t max_queued_bytes = uint64_t{256} << 20;  ///< copies of pages that wait to be written
  uint64_t max_run_bytes = uint64_t{64} << 20;      ///< a run has at least one page
  double sync_seconds = 30.0;
  double retry_seconds = 10.0;     ///< nothing is written for so long after a failure
  double shutdown_seconds = 10.0;  ///< for what is queued when the cache is closed
  disk::FileSystem* files = nullptr;            ///< null: the system's
  disk::KeyHash key_hash = disk::hash_of;       ///< of keys alone: it may be weak, but must not change
};

/// Whose pages these are: docs/format-disk-cache.md, "Identity".
struct CacheIdentity {
  std::string text;   ///< everything that the bytes of a page depend on besides its tokens
  std::string label;  ///< for people: the model's name and the row format
  int64_t n_layers = 0;
  int64_t row_bytes = 0;
};

/// How the cache stands, and what happened since it was opened.
struct DiskCacheStatus {
  uint64_t bytes = 0, budget_bytes = 0;  ///< of all runs, of all models
  int64_t n_runs = 0, n_pages = 0;
  bool scanning = false;                 ///< the runs are still being read in; what they hold is not found yet
  uint64_t queued_bytes = 0;             ///< copied and not yet written
  int64_t pages_asked = 0, pages_loaded = 0;  ///< asked: looked up by find()
  int64_t pages_written = 0;
  int64_t pages_dropped = 0;             ///< not written: the queue was full, or the disk failed or is too small
  int64_t runs_evicted = 0;
  int64_t corrupt = 0;                   ///< runs found damaged, and deleted
  int64_t collisions = 0;                ///< keys that led to a page of other tokens
  int64_t io_errors = 0;                 ///< failed reads, writes, deletions and syncs
  std::string last_error;                ///< what was damaged or failed last, for logs
};

/// Full pages of cached rows in files: docs/format-disk-cache.md. One thread reads and one writes; no other call touches a
/// file, and no failure of the disk is anybody's failure: what cannot be had is computed. Thread-safe.
class DiskCache final : public PrefixStore {
 public:
  /// Takes the folder for this process. Errors: kUsage for a folder that holds something else or an identity out of limits;
  /// kResource when it cannot be opened, is not this user's, or another process uses it. Serving without it is then right.
  static Result<std::unique_ptr<DiskCache>> open(DiskCacheOptions options, const CacheIdentity& identity);
  /// Writes what is queued (within shutdown_seconds), then the index.
  ~DiskCache() override;

  int64_t find(std::string_view prefix_namespace, std::span<const int32_t> tokens, int64_t first_page) override;
  std::unique_ptr<PageLoad> load(std::string_view prefix_namespace, std::span<const int32_t> tokens, int64_t first_page,
                                 std::vector<std::byte*> pages) override;
  void store(std::string_view prefix_namespace, std::span<const int32_t> tokens,
             std::span<const std::byte* const> pages) override;

  DiskCacheStatus status() const;
  /// Waits until the folder is read in and everything queued is written or dropped.
  void wait_until_idle();

 private:
  DiskCache();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
