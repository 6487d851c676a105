#include "engine/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "ops/row_layout.h"
#include "support/paths.h"

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

TEST(Capacity, NamesWhoeverLimitsTheMemory) {
  const auto root = test::temp_dir("memory_budget");
  const auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  EXPECT_FALSE(memory_budget(root).has_value());
  write("proc/meminfo", "MemAvailable: 2048 kB\n");
  EXPECT_EQ(memory_budget(root)->bytes, 2 * kMiB);
  EXPECT_FALSE(memory_budget(root)->of_control_group);
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", std::to_string(kMiB));
  write("sys/fs/cgroup/memory.current", "0");
  write("sys/fs/cgroup/memory.stat", "anon 0\n");
  EXPECT_EQ(memory_budget(root)->bytes, kMiB);
  EXPECT_TRUE(memory_budget(root)->of_control_group);
  write("sys/fs/cgroup/memory.max", std::to_string(8 * kMiB));
  EXPECT_EQ(memory_budget(root)->bytes, 2 * kMiB);
  EXPECT_FALSE(memory_budget(root)->of_control_group);
}

TEST(Capacity, CountsWeightsWhereTheyStay) {
  const std::unique_ptr<Backend> backend = make_reference_backend();  // packs nothing
  TensorView view{.name = "w", .dtype = DType::kF32, .shape = {4, 8}};
  const WeightMemory in_file = weight_memory({&view, 1}, true, *backend), in_memory = weight_memory({&view, 1}, false, *backend);
  EXPECT_EQ(in_file.packed, 0);
  EXPECT_EQ(in_file.mapped, 128);
  EXPECT_EQ(in_memory.packed + in_memory.mapped, 0);
}

TEST(Capacity, RefusesWeightsThatDoNotFitBeforeTheyAreLoaded) {
  const WeightMemory weights{.packed = 600 * kMiB, .mapped = 400 * kMiB};
  EXPECT_EQ(memory_beside_weights(weights, MemoryBudget{.bytes = 1500 * kMiB}).value(), 500 * kMiB);
  EXPECT_EQ(memory_beside_weights(weights, MemoryBudget{.bytes = 1000 * kMiB}).value(), 0);
  EXPECT_FALSE(memory_beside_weights(weights, std::nullopt).value().has_value());
  const auto machine = memory_beside_weights(weights, MemoryBudget{.bytes = 999 * kMiB});
  ASSERT_FALSE(machine.ok());
  EXPECT_EQ(machine.error().kind, ErrorKind::kResource);
  EXPECT_THAT(machine.error().message, testing::HasSubstr("1000 MiB (600 MiB packed for this processor, 400 MiB used where"));
  EXPECT_THAT(machine.error().message, testing::HasSubstr("this machine has 999 MiB left; close other programs"));
  const auto group = memory_beside_weights(weights, MemoryBudget{.bytes = 1, .of_control_group = true});
  ASSERT_FALSE(group.ok());
  EXPECT_THAT(group.error().message, testing::HasSubstr("the control group of this process has 0 MiB left; raise the group's memory limit"));
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
