#include "engine/capacity.h"

#include <gtest/gtest.h>

#include <limits>

#include "ops/row_layout.h"

namespace mla {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(Capacity, ReadsAvailableMemory) {
  EXPECT_EQ(parse_mem_available("MemTotal:  24 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\nBuffers: 7 kB\n"),
            2048 * 1024);
  EXPECT_FALSE(parse_mem_available("MemTotal: 24 kB\n").has_value());
  EXPECT_FALSE(parse_mem_available("MemAvailable:").has_value());
  EXPECT_FALSE(parse_mem_available("MemAvailable: many kB").has_value());
  EXPECT_FALSE(parse_mem_available("MemAvailable: -5 kB").has_value());
  EXPECT_FALSE(parse_mem_available("MemAvailable: 9223372036854775807 kB").has_value());
  const auto here = available_memory();
  ASSERT_TRUE(here.has_value());
  EXPECT_GT(*here, 0);
}

TEST(Capacity, CountsWhatAControlGroupCanDropAsFree) {
  constexpr const char* kStat =
      "anon 500\nfile 400\ninactive_file 300\nactive_file 100\nslab_reclaimable 50\n";
  EXPECT_EQ(parse_control_group("1000\n", "950\n", kStat), 500);
  EXPECT_EQ(parse_control_group("1000\n", "950\n", "anon 900\nnot_active_file 10\n"), 50);
  EXPECT_EQ(parse_control_group("1000\n", "1200\n", "anon 1200\n"), 0);
  EXPECT_EQ(parse_control_group("1000\n", "100\n", kStat), 1000)
      << "the three texts are of different moments";
  EXPECT_FALSE(parse_control_group("max\n", "950\n", kStat).has_value());
  EXPECT_FALSE(parse_control_group("1000\n", "", kStat).has_value());
  EXPECT_FALSE(parse_control_group("", "", "").has_value());
}

TEST(Capacity, TakesTheContextWhenItFits) {
  EXPECT_EQ(choose_cache_pages(0, 4096, kMiB, 1000 * kMiB).value(), 64);
  EXPECT_EQ(choose_cache_pages(0, 4097, kMiB, 1000 * kMiB).value(), 65);
  EXPECT_EQ(choose_cache_pages(0, 4096, kMiB, std::nullopt).value(), 64) << "memory unknown";
}

TEST(Capacity, TakesAShareOfTheMemoryWhenTheContextDoesNotFit) {
  EXPECT_EQ(choose_cache_pages(0, 1 << 20, kMiB, 1000 * kMiB).value(), 800);
  const auto none = choose_cache_pages(0, 4096, 100 * kMiB, 50 * kMiB);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().kind, ErrorKind::kResource);
  EXPECT_NE(none.error().message.find("100.0 MiB"), std::string::npos) << none.error().message;
}

TEST(Capacity, TakesExactlyWhatIsAskedForOrSaysWhatFits) {
  EXPECT_EQ(choose_cache_pages(1, 4096, kMiB, 1000 * kMiB).value(), 1);
  EXPECT_EQ(choose_cache_pages(1000 * kPageRows, 4096, kMiB, 1000 * kMiB).value(), 1000);
  const auto over = choose_cache_pages(1000 * kPageRows + 1, 4096, kMiB, 1000 * kMiB);
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().kind, ErrorKind::kResource);
  EXPECT_NE(over.error().message.find("at most 64000 tokens"), std::string::npos) << over.error().message;
  EXPECT_EQ(choose_cache_pages(-1, 4096, kMiB, 1000 * kMiB).error().kind, ErrorKind::kUsage);
  EXPECT_FALSE(choose_cache_pages(std::numeric_limits<int64_t>::max(), 4096, kMiB, 1000 * kMiB).ok());
}

TEST(Capacity, FindsTheLargestBatchInWholePages) {
  EXPECT_EQ(largest_batch(1000, 100, 10, kPageRows), 90);
  EXPECT_EQ(largest_batch(1000, 100, 10, kPageRows + 1), 45) << "one row more takes another page";
  EXPECT_EQ(largest_batch(1000, 100, 10, 1), 90);
  EXPECT_EQ(largest_batch(109, 100, 10, 1), 0);
  EXPECT_EQ(largest_batch(110, 100, 10, 1), 1);
  EXPECT_EQ(largest_batch(50, 100, 10, 1), 0) << "the weights alone do not fit";
}

}  // namespace
}  // namespace mla
