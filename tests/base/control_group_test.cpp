#include "base/control_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/thread_pool.h"
#include "support/paths.h"

namespace mla {
namespace {
namespace fs = std::filesystem;

constexpr const char* kStat = "anon 500\nfile 400\ninactive_file 300\nactive_file 100\nslab_reclaimable 50\n";

/// A file system of the test's own.
class ControlGroup : public testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void group(const std::string& path, const std::string& limit, const std::string& used, const std::string& stat) {
    write("sys/fs/cgroup" + path + "/memory.max", limit + "\n");
    write("sys/fs/cgroup" + path + "/memory.current", used + "\n");
    write("sys/fs/cgroup" + path + "/memory.stat", stat);
  }
  fs::path root_ = test::temp_dir("control_group");
};

TEST_F(ControlGroup, SaysNothingWithoutGroupsOrLimits) {
  EXPECT_FALSE(control_group_memory(root_).has_value());
  EXPECT_FALSE(control_group_processors(root_).has_value());
  write("proc/self/cgroup", "0::/a\nnonsense\n");
  EXPECT_FALSE(control_group_memory(root_).has_value());
  group("/a", "max", "950", kStat);
  write("sys/fs/cgroup/a/cpu.max", "max 100000\n");
  EXPECT_FALSE(control_group_memory(root_).has_value());
  EXPECT_FALSE(control_group_processors(root_).has_value());
  write("sys/fs/cgroup/a/cpu.max", "0 0\n");
  EXPECT_FALSE(control_group_processors(root_).has_value());
}

TEST_F(ControlGroup, CountsWhatCanBeDroppedAsFree) {
  write("proc/self/cgroup", "0::/a\n");
  group("/a", "1000", "950", kStat);
  EXPECT_EQ(control_group_memory(root_), 500);
  group("/a", "1000", "950", "anon 900\nnot_active_file 10\n");
  EXPECT_EQ(control_group_memory(root_), 50);
  group("/a", "1000", "1200", "anon 1200\n");
  EXPECT_EQ(control_group_memory(root_), 0);
  group("/a", "1000", "100", kStat);
  EXPECT_EQ(control_group_memory(root_), 1000) << "the three texts are of different moments";
  group("/a", "1000", "", kStat);
  EXPECT_FALSE(control_group_memory(root_).has_value());
}

TEST_F(ControlGroup, TakesTheLeastOfTheGroupsAround) {
  write("proc/self/cgroup", "0::/a/b\n");
  group("", "5000", "0", "");
  group("/a", "1000", "400", "");
  group("/a/b", "3000", "0", "");
  EXPECT_EQ(control_group_memory(root_), 600);
  write("sys/fs/cgroup/cpu.max", "400000 100000\n");
  write("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
  EXPECT_DOUBLE_EQ(control_group_processors(root_).value(), 1.5);
}

TEST_F(ControlGroup, ReadsVersion1AlongsideAndInContainersThatSeeOnlyTheirOwnGroup) {
  write("proc/self/cgroup", "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n1:cpuset:/\n0::/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n");
  write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 100\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(control_group_memory(root_), 500);
  EXPECT_DOUBLE_EQ(control_group_processors(root_).value(), 2.5);
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_FALSE(control_group_processors(root_).has_value());
}

TEST_F(ControlGroup, ThreadsAreNoMoreThanTheProcessorTimeOfAQuota) {
  const int processors = default_thread_count(root_);  // without groups: the affinity mask
  EXPECT_GE(processors, 1);
  write("proc/self/cgroup", "0::/a\n");
  write("sys/fs/cgroup/a/cpu.max", "100000 100000\n");
  EXPECT_EQ(default_thread_count(root_), 1);
  write("sys/fs/cgroup/a/cpu.max", "20000 100000\n");
  EXPECT_EQ(default_thread_count(root_), 1) << "a fifth of a processor still takes one thread";
  write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(default_thread_count(root_), std::min(processors, 2)) << "rounded up: the last thread may wait now and then";
  write("sys/fs/cgroup/a/cpu.max", "90000000000 100000\n");
  EXPECT_EQ(default_thread_count(root_), processors);
}

}  // namespace
}  // namespace mla
