#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace mla {

namespace {
// A region of a decode step lasts tens of microseconds: workers spin this long for the next one before they sleep.
constexpr int kSpins = 20000;

inline void relax() { __builtin_ia32_pause(); }
}  // namespace

struct ThreadPool::Shared {
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> threads;
  const std::function<void(int)>* job = nullptr;
  std::atomic<uint64_t> generation{0};  // counts regions; a change means there is a new job (or the end)
  std::atomic<int> running{0};          // workers still inside the current region
  std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};

  void worker(int index) {
    uint64_t seen = 0;
    for (;;) {
      wait_for_change(seen);
      if (stop.load(std::memory_order_acquire)) return;
      seen = generation.load(std::memory_order_acquire);
      (*job)(index);
      running.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void wait_for_change(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (generation.load(std::memory_order_acquire) != seen) return;
      relax();
    }
    std::unique_lock lock(mutex);
    sleeping.fetch_add(1);
    wake.wait(lock, [&] { return generation.load(std::memory_order_seq_cst) != seen; });
    sleeping.fetch_sub(1);
  }

  void announce() {
    generation.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(mutex);
      wake.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(std::max(1, n_threads)), shared_(std::make_unique<Shared>()) {
  for (int i = 1; i < n_threads_; ++i) shared_->threads.emplace_back([this, i] { shared_->worker(i); });
}

ThreadPool::~ThreadPool() {
  shared_->stop.store(true, std::memory_order_release);
  {
    std::lock_guard lock(shared_->mutex);
    shared_->generation.fetch_add(1, std::memory_order_release);
    shared_->wake.notify_all();
  }
  for (std::thread& t : shared_->threads) t.join();
}

void ThreadPool::run(const std::function<void(int)>& fn) {
  if (n_threads_ == 1) return fn(0);
  shared_->job = &fn;
  shared_->running.store(n_threads_ - 1, std::memory_order_release);
  shared_->announce();
  fn(0);
  // On a busy machine a worker may have lost its processor: give ours away after a while instead of spinning on.
  for (int spins = 0; shared_->running.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t, int)>& fn) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (n_threads_ == 1 || n <= grain) return fn(0, n, 0);
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      fn(begin, std::min(n, begin + grain), thread);
    }
  });
}

int default_thread_count() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace mla
