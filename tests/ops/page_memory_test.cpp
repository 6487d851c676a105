#include "ops/page_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace mla {
namespace {

TEST(PageMemory, IsZeroedAlignedAndWritable) {
  const Result<std::shared_ptr<std::byte>> memory = allocate_page_memory(100000);
  ASSERT_TRUE(memory.ok());
  std::byte* p = memory.value().get();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0U);
  EXPECT_EQ(std::count(p, p + 100000, std::byte{0}), 100000);
  std::fill_n(p, 100000, std::byte{1});
}

TEST(PageMemory, NothingIsAllowed) {
  EXPECT_TRUE(allocate_page_memory(0).ok());
}

TEST(PageMemory, SaysHowMuchWasRefused) {
  const Result<std::shared_ptr<std::byte>> memory = allocate_page_memory(int64_t{1} << 62);
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.error().kind, ErrorKind::kResource);
  EXPECT_NE(memory.error().message.find("4611686018427387904 bytes"), std::string::npos)
      << memory.error().message;
  EXPECT_EQ(allocate_page_memory(-5).error().kind, ErrorKind::kResource);
}

}  // namespace
}  // namespace mla
