#include "cache/disk/disk_cache.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/checked.h"
#include "cache/disk/catalog.h"
#include "cache/disk/folder.h"
#include "cache/disk/run_file.h"
#include "cache/disk/run_index.h"

namespace mla {
namespace {

using namespace disk;
using Clock = std::chrono::steady_clock;

/// Runs that are kept open for the next sync at most.
constexpr size_t kMaxUnsynced = 64;

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

/// Pages that are asked for, shared between who asked and the thread that reads.
struct LoadState {
  std::string space;
  std::vector<int32_t> tokens;
  std::vector<Hash> keys;  ///< of the whole chain
  int64_t first_page = 0;
  std::vector<std::byte*> pages;

  std::mutex mutex;
  std::condition_variable changed;
  bool abandoned = false, done = false;
  int64_t n_loaded = 0;

  void finish() {
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  }
  /// False when nobody wants it any more.
  bool deliver(std::span<const std::byte> page) {
    const std::lock_guard lock(mutex);
    if (abandoned) return false;
    std::memcpy(pages[static_cast<size_t>(n_loaded)], page.data(), page.size());
    ++n_loaded;
    return true;
  }
};

class DiskLoad final : public PageLoad {
 public:
  explicit DiskLoad(std::shared_ptr<LoadState> state) : state_(std::move(state)) {}
  ~DiskLoad() override {
    const std::lock_guard lock(state_->mutex);
    state_->abandoned = true;
  }
  bool done() const override {
    const std::lock_guard lock(state_->mutex);
    return state_->done;
  }
  int64_t n_loaded() const override {
    const std::lock_guard lock(state_->mutex);
    return state_->n_loaded;
  }
  void wait(std::chrono::milliseconds limit) override {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, limit, [&] { return state_->done; });
  }

 private:
  std::shared_ptr<LoadState> state_;
};

/// Signals belong to the program's own threads; a file size limit is then an error of write() and not the process's end.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    for (int fatal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) sigdelset(&all, fatal);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

Result<CacheSync> cache_sync_from_name(std::string_view name) {
  if (name == "none") return CacheSync::kNone;
  if (name == "entry") return CacheSync::kEntry;
  if (name == "interval") return CacheSync::kInterval;
  return Error::usage(fmt::format("cache sync '{}': expected none, entry or interval", name));
}

struct DiskCache::Impl {
  Impl(DiskCacheOptions o, Folder f) : options(std::move(o)), folder(std::move(f)) {}

  Status start();
  void stop();

  // The writer's thread.
  void write_loop();
  void scan(const std::vector<uint64_t>& runs);
  void write(PendingRun run);
  bool make_room(uint64_t bytes);
  void sync_runs();
  void finish_writing();

  // The reader's thread.
  void read_loop();
  struct OpenRun {
    uint64_t number = 0;  ///< 0: none
    RunReader reader;
  };
  std::optional<Catalog::Place> place_of(const LoadState& load, size_t chain_page) const;
  bool open_run(Catalog::Place place, OpenRun& run);
  void read(LoadState& load);
  bool check(ReadOutcome outcome, uint64_t run, const std::string& message);

  void forget(const PendingRun& run);
  void failed(std::string message);

  DiskCacheOptions options;
  Folder folder;
  PageShape shape;
  std::string label;
  std::vector<uint64_t> unread;  ///< runs that the index did not know; the writer's own after start()

  mutable std::mutex mutex;  ///< guards what follows; never held while a file is touched
  std::condition_variable work, idle;
  Catalog catalog;
  std::unordered_set<Hash, HashOfHash> queued;  ///< keys of pages that wait to be written
  std::deque<PendingRun> writes;
  std::deque<std::shared_ptr<LoadState>> loads;
  DiskCacheStatus counts;
  bool writing = false, reading = false, stopping = false;
  Clock::time_point stop_deadline;

  // The writer's own.
  uint64_t next_number = 1;
  std::vector<std::pair<uint64_t, File>> unsynced;
  Clock::time_point next_sync, retry_at;

  std::thread writer, reader;
};

// -- opening and closing
// -----------------------------------------------------------------------------------------------

DiskCache::DiskCache() = default;

Result<std::unique_ptr<DiskCache>> DiskCache::open(DiskCacheOptions options, const CacheIdentity& identity) try {
  const auto page = (Checked<uint64_t>(identity.n_layers) * static_cast<uint64_t>(kPageRows) * identity.row_bytes).get();
  const auto n_layers = Checked<uint32_t>(identity.n_layers).get();
  if (!page || *page == 0 || !n_layers) {
    return Error::usage(fmt::format("a disk cache of {} layers with rows of {} bytes", identity.n_layers, identity.row_bytes));
  }
  FileSystem& files = options.files != nullptr ? *options.files : system_files();
  MLA_ASSIGN(Folder folder, Folder::open(files, options.folder, /*create=*/true));
  MLA_TRY(folder.lock());
  std::unique_ptr<DiskCache> cache(new DiskCache());
  cache->impl_ = std::make_unique<Impl>(std::move(options), std::move(folder));
  Impl& m = *cache->impl_;
  m.shape = {hash_of(std::as_bytes(std::span(identity.text))), *n_layers, static_cast<uint64_t>(identity.row_bytes)};
  m.label = identity.label.substr(0, kMaxTextBytes);
  MLA_TRY(m.start());
  return cache;
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the disk cache");
} catch (const std::system_error& e) {
  return Error::resource(fmt::format("cannot start the disk cache's threads: {}", e.what()));
}

/// Compares what the index knows with what the folder has; what only the folder has is read in by the writer.
Status DiskCache::Impl::start() {
  MLA_ASSIGN(const std::vector<std::string> names, folder.list());
  auto index = take_index(folder);
  for (const std::string& name : names) {
    if (is_temporary_name(name)) folder.unlink(name);
    const auto number = run_number(name);
    if (!number) continue;
    next_number = std::max(next_number, *number + 1);
    auto known = index ? index->extract(*number) : decltype(index->extract(*number))();
    if (known) {
      catalog.add(*number, std::move(known.mapped()));
    } else {
      unread.push_back(*number);
    }
  }
  std::sort(unread.begin(), unread.end());
  counts.scanning = true;
  next_sync = after(options.sync_seconds);
  const BlockedSignals blocked;  // the threads inherit it
  writer = std::thread([this] { write_loop(); });
  reader = std::thread([this] { read_loop(); });
  return {};
}

DiskCache::~DiskCache() {
  if (impl_ != nullptr) impl_->stop();
}

void DiskCache::Impl::stop() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    stop_deadline = after(options.shutdown_seconds);
    work.notify_all();
  }
  if (reader.joinable()) reader.join();
  if (writer.joinable()) writer.join();
}

// -- for the engine: nothing here touches a file
// ----------------------------------------------------------------------------------

int64_t DiskCache::find(std::string_view space, std::span<const int32_t> tokens, int64_t first_page) try {
  Impl& m = *impl_;
  const std::vector<Hash> keys = chain_keys(m.options.key_hash, m.shape.identity, space, tokens);
  const std::lock_guard lock(m.mutex);
  auto page = static_cast<size_t>(first_page);
  m.counts.pages_asked += std::max<int64_t>(static_cast<int64_t>(keys.size()) - first_page, 0);
  while (page < keys.size() && m.catalog.find(keys[page])) ++page;
  return static_cast<int64_t>(page) - first_page;
} catch (const std::bad_alloc&) {
  return 0;
}

std::unique_ptr<PageLoad> DiskCache::load(std::string_view space, std::span<const int32_t> tokens, int64_t first_page,
                                          std::vector<std::byte*> pages) try {
  Impl& m = *impl_;
  auto state = std::make_shared<LoadState>();
  state->space = space;
  state->tokens.assign(tokens.begin(), tokens.end());
  state->keys = chain_keys(m.options.key_hash, m.shape.identity, space, tokens);
  state->first_page = first_page;
  state->pages = std::move(pages);
  auto load = std::make_unique<DiskLoad>(state);
  const std::lock_guard lock(m.mutex);
  m.loads.push_back(std::move(state));
  m.work.notify_all();
  return load;
} catch (const std::bad_alloc&) {
  return nullptr;
}

void DiskCache::store(std::string_view space, std::span<const int32_t> tokens, std::span<const std::byte* const> pages) try {
  Impl& m = *impl_;
  if (space.size() > kMaxTextBytes) return;
  const std::vector<Hash> keys = chain_keys(m.options.key_hash, m.shape.identity, space, tokens);
  const size_t n = std::min(keys.size(), pages.size());
  const uint64_t page_bytes = m.shape.page_bytes();
  const size_t longest = static_cast<size_t>(std::max<uint64_t>(1, m.options.max_run_bytes / page_bytes));

  // From the end, so that a chain's beginning is used last and stays longest.
  std::vector<bool> missing(n);
  {
    const std::lock_guard lock(m.mutex);
    for (size_t i = n; i-- > 0;) {
      const auto place = m.catalog.find(keys[i]);
      if (place) m.catalog.touch(place->run);
      missing[i] = !place && !m.queued.contains(keys[i]);
    }
  }
  for (size_t first = 0; first < n;) {
    size_t end = first;
    while (end < n && missing[end] && end - first < longest) ++end;
    if (end == first) {
      ++first;
      continue;
    }
    PendingRun run;
    run.header = {.shape = m.shape, .first_page = static_cast<uint32_t>(first), .space = std::string(space), .label = m.label};
    run.header.tokens.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end * kPageRows));
    run.header.checksums.resize(end - first);
    run.keys.assign(keys.begin() + static_cast<std::ptrdiff_t>(first), keys.begin() + static_cast<std::ptrdiff_t>(end));
    run.payload_bytes = (end - first) * page_bytes;
    {
      const std::lock_guard lock(m.mutex);
      const bool room = m.counts.queued_bytes == 0 || m.counts.queued_bytes + run.payload_bytes <= m.options.max_queued_bytes;
      if (!room || run.header.header_bytes() > kMaxHeaderBytes || m.stopping) {
        m.counts.pages_dropped += static_cast<int64_t>(n - first);
        return;
      }
    }
    run.payload = std::make_unique_for_overwrite<std::byte[]>(run.payload_bytes);
    for (size_t i = first; i < end; ++i) std::memcpy(run.payload.get() + (i - first) * page_bytes, pages[i], page_bytes);
    const std::lock_guard lock(m.mutex);
    m.queued.insert(run.keys.begin(), run.keys.end());
    m.counts.queued_bytes += run.payload_bytes;
    m.writes.push_back(std::move(run));
    m.work.notify_all();
    first = end;
  }
} catch (const std::bad_alloc&) {
  // Pages that are not kept are computed again; nothing else is lost.
}

DiskCacheStatus DiskCache::status() const {
  const std::lock_guard lock(impl_->mutex);
  DiskCacheStatus status = impl_->counts;
  status.bytes = impl_->catalog.total_bytes();
  status.budget_bytes = impl_->options.budget_bytes;
  status.n_runs = static_cast<int64_t>(impl_->catalog.runs().size());
  status.n_pages = impl_->catalog.n_pages();
  return status;
}

void DiskCache::wait_until_idle() {
  Impl& m = *impl_;
  std::unique_lock lock(m.mutex);
  m.idle.wait(lock, [&] { return !m.counts.scanning && m.writes.empty() && !m.writing && m.loads.empty() && !m.reading; });
}

// -- the writer
// --------------------------------------------------------------------------------------------------------

void DiskCache::Impl::write_loop() {
  scan(std::exchange(unread, {}));
  make_room(0);
  std::unique_lock lock(mutex);
  counts.scanning = false;
  idle.notify_all();
  for (;;) {
    const auto ready = [&] { return stopping || !writes.empty(); };
    if (unsynced.empty()) {
      work.wait(lock, ready);
    } else {
      work.wait_until(lock, next_sync, ready);
    }
    if (stopping && (writes.empty() || Clock::now() > stop_deadline)) break;
    if (!writes.empty()) {
      PendingRun run = std::move(writes.front());
      writes.pop_front();
      writing = true;
      lock.unlock();
      write(std::move(run));
      lock.lock();
      writing = false;
      idle.notify_all();
    }
    if (unsynced.size() >= kMaxUnsynced || (!unsynced.empty() && Clock::now() >= next_sync)) {
      lock.unlock();
      sync_runs();
      lock.lock();
    }
  }
  for (; !writes.empty(); writes.pop_front()) {
    counts.pages_dropped += static_cast<int64_t>(writes.front().keys.size());
    forget(writes.front());
  }
  idle.notify_all();
  lock.unlock();
  finish_writing();
}

void DiskCache::Impl::finish_writing() {
  sync_runs();
  // Nobody else uses the catalog now: the reader has ended, and the engine's calls with it.
  // Without an index the next start reads the runs.
  static_cast<void>(write_index(folder, catalog, options.sync != CacheSync::kNone).ok());
}

/// Reads the headers of runs that no index knows, oldest first: so their order of use is that of their making.
void DiskCache::Impl::scan(const std::vector<uint64_t>& runs) {
  for (const uint64_t number : runs) {
    RunReader run;
    std::string message;
    if (!check(RunReader::open(folder, number, run, message), number, message)) continue;
    const RunHeader& h = run.header();
    try {
      std::vector<Hash> keys = chain_keys(options.key_hash, h.shape.identity, h.space, h.tokens);
      keys.erase(keys.begin(), keys.begin() + h.first_page);
      const std::lock_guard lock(mutex);
      if (stopping) return;  // the index is then written without the rest, which the next start reads
      catalog.add(number, {.file_bytes = h.file_bytes(), .first_page = h.first_page, .keys = std::move(keys)});
    } catch (const std::bad_alloc&) {
      return;  // what is not known is not found
    }
  }
}

/// Counts a failure of the disk. The mutex is held.
void DiskCache::Impl::failed(std::string message) {
  ++counts.io_errors;
  counts.last_error = std::move(message);
}

/// A run that waited is written, or never will be. The mutex is held.
void DiskCache::Impl::forget(const PendingRun& run) {
  counts.queued_bytes -= run.payload_bytes;
  for (const Hash& key : run.keys) queued.erase(key);
}

void DiskCache::Impl::write(PendingRun run) {
  const uint64_t bytes = run.file_bytes();
  const auto n_pages = static_cast<int64_t>(run.keys.size());
  {
    const std::lock_guard lock(mutex);
    // What was queued while the folder was read in may have been there already.
    if (std::all_of(run.keys.begin(), run.keys.end(), [&](const Hash& key) { return catalog.find(key).has_value(); })) return forget(run);
    if (bytes > options.budget_bytes || Clock::now() < retry_at) {
      counts.pages_dropped += n_pages;
      return forget(run);
    }
  }
  Result<File> file = Error::resource("the disk cache's budget is used up and no run can be deleted");
  const bool room = make_room(bytes);
  run.header.number = next_number++;
  try {
    if (room) file = write_run(folder, run, options.sync == CacheSync::kEntry);
  } catch (const std::bad_alloc&) {
    file = Error::resource("not enough memory to write a run");
  }
  const std::lock_guard lock(mutex);
  forget(run);
  if (!file.ok()) {
    counts.pages_dropped += n_pages;
    retry_at = after(options.retry_seconds);
    return failed(file.error().message);
  }
  counts.pages_written += n_pages;
  catalog.add(run.header.number, {.file_bytes = bytes, .first_page = run.header.first_page, .keys = std::move(run.keys)});
  if (options.sync == CacheSync::kInterval) unsynced.emplace_back(run.header.number, std::move(*file));
}

/// Deletes runs, least recently used first, until `bytes` more are within the budget. False when one cannot be deleted.
bool DiskCache::Impl::make_room(uint64_t bytes) {
  for (;;) {
    std::optional<uint64_t> oldest;
    {
      const std::lock_guard lock(mutex);
      const uint64_t budget = options.budget_bytes, used = catalog.total_bytes();
      if (bytes <= budget && used <= budget - bytes) return true;
      oldest = catalog.least_recently_used();
    }
    if (!oldest) return false;
    const int code = folder.unlink(run_name(*oldest));
    const std::lock_guard lock(mutex);
    if (code < 0 && code != -ENOENT) {
      failed(system_error("delete", folder.path() / run_name(*oldest), code).message);
      return false;
    }
    catalog.remove(*oldest);
    ++counts.runs_evicted;
  }
}

/// A run whose sync fails is deleted: what the disk holds of it is unknown, and a second sync would say that all is well.
void DiskCache::Impl::sync_runs() {
  if (unsynced.empty()) return;
  for (const auto& [number, file] : std::exchange(unsynced, {})) {
    const int code = file.sync();
    if (code == 0) continue;
    folder.unlink(run_name(number));
    const std::lock_guard lock(mutex);
    catalog.remove(number);
    failed(system_error("sync", folder.path() / run_name(number), code).message);
  }
  folder.sync();
  next_sync = after(options.sync_seconds);
}

// -- the reader
// --------------------------------------------------------------------------------------------------------

void DiskCache::Impl::read_loop() {
  std::unique_lock lock(mutex);
  for (;;) {
    work.wait(lock, [&] { return stopping || !loads.empty(); });
    if (loads.empty()) return;
    const std::shared_ptr<LoadState> load = std::move(loads.front());
    loads.pop_front();
    reading = true;
    const bool wanted = !stopping;
    lock.unlock();
    try {
      if (wanted) read(*load);
    } catch (const std::bad_alloc&) {
      // Pages that were not brought are computed.
    }
    load->finish();
    lock.lock();
    reading = false;
    idle.notify_all();
  }
}

/// Whether a run could be read; if not, and the fault is the run's, it is forgotten and deleted.
bool DiskCache::Impl::check(ReadOutcome outcome, uint64_t run, const std::string& message) {
  if (outcome == ReadOutcome::kOk) return true;
  if (outcome == ReadOutcome::kCorrupt) folder.unlink(run_name(run));
  const std::lock_guard lock(mutex);
  if (outcome == ReadOutcome::kCorrupt || outcome == ReadOutcome::kMissing) catalog.remove(run);
  if (outcome == ReadOutcome::kForeign) ++counts.collisions;
  if (outcome == ReadOutcome::kFailed) failed(message);
  if (outcome == ReadOutcome::kCorrupt) {
    ++counts.corrupt;
    counts.last_error = message;
  }
  return false;
}

std::optional<Catalog::Place> DiskCache::Impl::place_of(const LoadState& load, size_t chain_page) const {
  if (chain_page >= load.keys.size()) return std::nullopt;
  const std::lock_guard lock(mutex);
  return stopping ? std::nullopt : catalog.find(load.keys[chain_page]);
}

bool DiskCache::Impl::open_run(Catalog::Place place, OpenRun& run) {
  std::string message;
  run.number = 0;
  if (!check(RunReader::open(folder, place.run, run.reader, message), place.run, message)) return false;
  run.number = place.run;
  run.reader.read_ahead(place.page);
  return true;
}

/// Page by page: read, checked, handed over. While a run is read the system fetches what is left of it, and the one after it.
void DiskCache::Impl::read(LoadState& load) {
  const uint64_t page_bytes = shape.page_bytes();
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(page_bytes);
  const std::span<std::byte> page(buffer.get(), page_bytes);
  std::vector<uint64_t> used;
  OpenRun run, next;
  std::string message;
  for (size_t i = 0; i < load.pages.size(); ++i) {
    const size_t chain_page = static_cast<size_t>(load.first_page) + i;
    const auto place = place_of(load, chain_page);
    if (!place) break;
    if (run.number != place->run) {
      std::swap(run, next);
      if (run.number != place->run && !open_run(*place, run)) break;
      used.push_back(place->run);
      const size_t n_left = run.reader.header().n_pages() - std::min(place->page, run.reader.header().n_pages());
      const auto following = i + n_left < load.pages.size() ? place_of(load, chain_page + n_left) : std::nullopt;
      next.number = 0;
      if (following && following->run != place->run) open_run(*following, next);
    }
    const bool same = run.reader.holds(place->page, shape, load.space, load.tokens, static_cast<int64_t>(chain_page));
    if (!check(same ? ReadOutcome::kOk : ReadOutcome::kForeign, place->run, message)) break;
    if (!check(run.reader.read_page(place->page, page, message), place->run, message)) break;
    if (!load.deliver(page)) break;
  }
  const std::lock_guard lock(mutex);
  counts.pages_loaded += load.n_loaded;
  for (auto number = used.rbegin(); number != used.rend(); ++number) catalog.touch(*number);
}

}  // namespace mla
