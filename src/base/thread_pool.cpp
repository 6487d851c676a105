#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/control_group.h"

namespace mla {

namespace {

// A region of a decode step lasts tens of microseconds: workers spin this long for the next one before they
// sleep.
constexpr int kSpins = 20000;
// The caller has nothing to do while it waits for the last chunk. If that takes longer than a chunk, the
// worker has lost its processor: give it ours.
constexpr int kJoinSpins = 500;

inline void relax() {
  __builtin_ia32_pause();
}

/// A thread's part of a loop: consecutive chunks, which it takes from the front, so that memory is read as one stream; who has
/// none left takes from the back of another's.
class alignas(64) Share {
 public:
  void set(uint32_t begin, uint32_t end) { ends_.store(pack(begin, end), std::memory_order_relaxed); }
  /// The chunk taken, or -1 when none is left.
  int64_t take_front() {
    return take([](uint32_t& begin, uint32_t&) { return begin++; });
  }
  int64_t take_back() {
    return take([](uint32_t&, uint32_t& end) { return --end; });
  }

 private:
  static uint64_t pack(uint32_t begin, uint32_t end) { return uint64_t{begin} << 32 | end; }

  template <class Choose>
  int64_t take(Choose choose) {
    uint64_t ends = ends_.load(std::memory_order_relaxed);
    for (;;) {
      auto begin = static_cast<uint32_t>(ends >> 32), end = static_cast<uint32_t>(ends);
      if (begin == end) return -1;
      const int64_t chunk = choose(begin, end);
      if (ends_.compare_exchange_weak(ends, pack(begin, end), std::memory_order_relaxed)) return chunk;
    }
  }

  std::atomic<uint64_t> ends_{0};  // first chunk not taken, and the end
};

}  // namespace

/// One atomic word, the gate, says everything: the number of the current region, whether it may be entered,
/// and how many workers are inside. A worker that comes too late finds the gate closed, so the caller waits
/// only for workers that have begun: on a busy machine it does all the work itself rather than wait for a
/// processor to come free.
struct ThreadPool::Shared {
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;
  static uint64_t region_of(uint64_t gate) { return gate >> 32; }

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  std::vector<Share> shares;
  const std::function<void(int)>* job = nullptr;
  std::atomic<uint64_t> gate{0};
  std::atomic<int> finished{0};  // workers that have done the current region's job
  std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};

  void worker(int index) {
    uint64_t seen = 0;
    for (;;) {
      seen = wait_for_region_after(seen);
      if (stop.load(std::memory_order_acquire)) return;
      if (!enter(seen)) continue;
      (*job)(index);
      finished.fetch_add(1, std::memory_order_release);
      gate.fetch_sub(1, std::memory_order_release);
    }
  }

  bool enter(uint64_t region) {
    uint64_t g = gate.load(std::memory_order_acquire);
    while (region_of(g) == region && (g & kOpen) != 0) {
      if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        return true;
    }
    return false;
  }

  uint64_t wait_for_region_after(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      const uint64_t region = region_of(gate.load(std::memory_order_acquire));
      if (region != seen) return region;
      relax();
    }
    std::unique_lock lock(mutex);
    sleeping.fetch_add(1);
    wake.wait(lock, [&] { return region_of(gate.load(std::memory_order_seq_cst)) != seen; });
    sleeping.fetch_sub(1);
    return region_of(gate.load(std::memory_order_acquire));
  }

  void open(const std::function<void(int)>& fn) {
    job = &fn;
    finished.store(0, std::memory_order_relaxed);
    next_region(kOpen);
  }
  void next_region(uint64_t state) {
    gate.store(((region_of(gate.load(std::memory_order_relaxed)) + 1) << 32) | state,
               std::memory_order_seq_cst);
    if (sleeping.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }
  /// No worker enters any more; returns when those inside have left.
  void close() {
    gate.fetch_and(~kOpen, std::memory_order_acq_rel);
    wait_until([&] { return (gate.load(std::memory_order_acquire) & kInside) == 0; });
  }

  template <class Condition>
  static void wait_until(Condition condition) {
    for (int spins = 0; !condition(); ++spins) {
      if (spins < kJoinSpins) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : shared_(std::make_unique<Shared>()) {
  shared_->threads.reserve(static_cast<size_t>(std::max(1, n_threads)) - 1);
  try {
    for (; n_threads_ < n_threads; ++n_threads_) {
      shared_->threads.emplace_back([shared = shared_.get(), i = n_threads_] { shared->worker(i); });
    }
  } catch (const std::exception&) {
    // The system gives no more threads (a limit on processes, or no memory for another stack).
  }
  shared_->shares = std::vector<Share>(static_cast<size_t>(n_threads_));
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true, std::memory_order_release);
  shared_->next_region(0);
  for (std::thread& t : shared_->threads) t.join();
}

void ThreadPool::run(const std::function<void(int)>& fn) {
  if (n_threads_ == 1) return fn(0);
  shared_->open(fn);
  fn(0);
  Shared::wait_until([&] { return shared_->finished.load(std::memory_order_acquire) == n_threads_ - 1; });
  shared_->close();
}

void ThreadPool::parallel_for(int64_t n, int64_t grain,
                              const std::function<void(int64_t, int64_t, int)>& fn) {
  if (n <= 0) return;
  grain = std::max({int64_t{1}, grain, n >> 31});
  if (n_threads_ == 1 || n <= grain) return fn(0, n, 0);
  const int64_t n_chunks = (n + grain - 1) / grain;
  std::vector<Share>& shares = shared_->shares;
  for (int64_t t = 0; t < n_threads_; ++t) {
    shares[static_cast<size_t>(t)].set(static_cast<uint32_t>(t * n_chunks / n_threads_), static_cast<uint32_t>((t + 1) * n_chunks / n_threads_));
  }
  const std::function<void(int)> take_chunks = [&](int thread) {
    const auto run = [&](int64_t chunk) { fn(chunk * grain, std::min(n, (chunk + 1) * grain), thread); };
    for (int64_t chunk; (chunk = shares[static_cast<size_t>(thread)].take_front()) >= 0;) run(chunk);
    for (int i = 1; i < n_threads_; ++i) {
      Share& other = shares[static_cast<size_t>((thread + i) % n_threads_)];
      for (int64_t chunk; (chunk = other.take_back()) >= 0;) run(chunk);
    }
  };
  shared_->open(take_chunks);
  take_chunks(0);
  shared_->close();
}

int default_thread_count(const std::filesystem::path& root) {
  cpu_set_t set;
  const int processors = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency());
  // Threads beyond the quota would use it up early in each period, and all would stand still for the rest of it.
  const double quota = std::ceil(control_group_processors(root).value_or(processors));
  return std::max(1, quota < processors ? static_cast<int>(quota) : processors);
}

}  // namespace mla
