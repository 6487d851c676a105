#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace mla {
namespace {

TEST(ThreadPool, RunsOncePerThread) {
  for (int n : {1, 2, 5}) {
    ThreadPool pool(n);
    std::vector<int> calls(static_cast<size_t>(n), 0);
    for (int round = 0; round < 200; ++round) pool.run([&](int t) { ++calls[static_cast<size_t>(t)]; });
    EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(n), 200));
  }
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  ThreadPool pool(3);
  for (int64_t n : {0, 1, 7, 64, 1000}) {
    for (int64_t grain : {1, 3, 64, 5000}) {
      std::vector<int> seen(static_cast<size_t>(n), 0);
      pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      EXPECT_EQ(seen, std::vector<int>(static_cast<size_t>(n), 1)) << "n=" << n << " grain=" << grain;
    }
  }
}

TEST(ThreadPool, WakesWorkersThatFellAsleep) {
  ThreadPool pool(4);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::vector<int> calls(4, 0);
    pool.run([&](int t) { ++calls[static_cast<size_t>(t)]; });
    EXPECT_EQ(calls, std::vector<int>(4, 1));
  }
}

}  // namespace
}  // namespace mla
