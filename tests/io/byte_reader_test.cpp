#include "io/byte_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mla {
namespace {
using testing::AllOf;
using testing::HasSubstr;

TEST(ByteReader, ReadsInOrderAndNeverPastTheEnd) {
  const uint8_t raw[] = {1, 0, 0, 0, 0xFF, 'a', 'b'};
  ByteReader in(std::as_bytes(std::span(raw)));
  EXPECT_EQ(in.read<uint32_t>("n").value(), 1U);
  EXPECT_EQ(in.read<int8_t>("n").value(), -1);
  EXPECT_EQ(in.position(), 5U);
  const auto refused = in.read<uint32_t>("a count");
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("a count at byte 5"), HasSubstr("needs 4 bytes"), HasSubstr("ends after 2")));
  EXPECT_FALSE(in.take(~uint64_t{0}, "text").ok());
  EXPECT_FALSE(in.take(3, "text").ok());
  EXPECT_EQ(in.take(2, "text").value(), "ab");
  EXPECT_EQ(in.take(0, "text").value(), "");
  EXPECT_EQ(in.remaining(), 0U);
  EXPECT_FALSE(in.read<uint8_t>("n").ok());
}

}  // namespace
}  // namespace mla
