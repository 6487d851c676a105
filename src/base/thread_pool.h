#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

namespace mla {

/// A fixed set of threads that run one parallel region at a time (fork and join). The calling thread works too.
/// Not re-entrant: a region must not start another one. One owner at a time may call run().
class ThreadPool {
 public:
  /// `n_threads` >= 1 workers in total, the caller included; fewer where the system refuses to start so many (see size()).
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  /// Calls fn(thread) once on each thread, thread in [0, size()), and returns when all are done. fn must not throw.
  void run(const std::function<void(int thread)>& fn);

  /// Splits [0, n) into chunks of `grain` (one thread alone gets all at once): every thread has consecutive ones, and takes
  /// from the others when it is done: fn(begin, end, thread). The result of a computation must not depend on how it is split. fn must not throw.
  void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t begin, int64_t end, int thread)>& fn);

 private:
  struct Shared;
  int n_threads_ = 1;
  std::unique_ptr<Shared> shared_;
};

/// Threads to use when nobody says: the processors this process may run on (its affinity mask), but no more than the
/// quota of its control groups gives time to (rounded up); at least 1. `root`: as in base/control_group.h.
int default_thread_count(const std::filesystem::path& root = "/");

}  // namespace mla
