#include "ops/row_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "support/compare.h"
#include "support/random.h"

namespace mla {
namespace {

using test::all_equal;
using test::Random;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Encodes into memory with a margin on both sides, checks the margin, decodes.
std::vector<float> round_trip(const RowLayout& layout, const std::vector<float>& values) {
  constexpr size_t kMargin = 16;
  const auto bytes = static_cast<size_t>(layout.row_bytes());
  std::vector<std::byte> memory(bytes + 2 * kMargin, std::byte{0xa5});
  encode_row(layout, values.data(), memory.data() + kMargin);
  for (size_t i = 0; i < kMargin; ++i) {
    EXPECT_EQ(memory[i], std::byte{0xa5}) << "byte " << i << " before the row";
    EXPECT_EQ(memory[kMargin + bytes + i], std::byte{0xa5}) << "byte " << i << " after the row";
  }
  std::vector<float> out(values.size());
  decode_row(layout, memory.data() + kMargin, 0, layout.width(), out.data());
  return out;
}

TEST(RowLayout, CountsTheBytesOfPublishedModels) {
  // DeepSeek-V3: 512 latent + 64 rope elements a layer; int8: a scale, 512 bytes, 64 bf16.
  EXPECT_EQ(RowLayout::mla(RowFormat::kF32, 512, 64).row_bytes(), 2304);
  EXPECT_EQ(RowLayout::mla(RowFormat::kBF16, 512, 64).row_bytes(), 1152);
  EXPECT_EQ(RowLayout::mla(RowFormat::kInt8, 512, 64).row_bytes(), 4 + 512 + 128);
  EXPECT_EQ(61 * RowLayout::mla(RowFormat::kBF16, 512, 64).row_bytes(), 70272);
  // Llama-3-8B: 8 KV heads of 128.
  EXPECT_EQ(RowLayout::gqa(RowFormat::kBF16, 8, 128, 128).row_bytes(), 4096);
  EXPECT_EQ(RowLayout::gqa(RowFormat::kInt8, 8, 128, 128).row_bytes(), 16 * 4 + 2048);
  // Packed: 8 scales of bf16, 512 elements of 6 or 4 bits, 64 bf16; a head of 128 has 2 scales.
  EXPECT_EQ(RowLayout::mla(RowFormat::kInt6, 512, 64).row_bytes(), 16 + 384 + 128);
  EXPECT_EQ(RowLayout::mla(RowFormat::kInt4, 512, 64).row_bytes(), 16 + 256 + 128);
  EXPECT_EQ(RowLayout::gqa(RowFormat::kInt4, 8, 128, 128).row_bytes(), 16 * (4 + 64));
  // Falcon-7B: one KV head of 64. GPT-2: 12 of 64.
  EXPECT_EQ(RowLayout::gqa(RowFormat::kBF16, 1, 64, 64).row_bytes(), 256);
  EXPECT_EQ(RowLayout::gqa(RowFormat::kBF16, 12, 64, 64).row_bytes(), 3072);
}

TEST(RowLayout, PlacesScalesFirstAndAlignsSegments) {
  const RowLayout layout(RowFormat::kInt8, {{.width = 5}, {.width = 3, .quantizable = false}, {.width = 2}});
  const std::vector<RowSegment>& s = layout.segments();
  EXPECT_EQ(layout.width(), 10);
  EXPECT_EQ(s[0].first, 0);
  EXPECT_EQ(s[1].first, 5);
  EXPECT_EQ(s[2].first, 8);
  EXPECT_EQ(s[0].format, RowFormat::kInt8);
  EXPECT_EQ(s[1].format, RowFormat::kBF16) << "must not be quantised";
  EXPECT_EQ(s[0].scale_offset, 0);
  EXPECT_EQ(s[2].scale_offset, 4);
  EXPECT_EQ(s[0].byte_offset, 8);   // after two scales
  EXPECT_EQ(s[1].byte_offset, 16);  // 8 + 5, up to a multiple of 4
  EXPECT_EQ(s[2].byte_offset, 24);  // 16 + 3 * 2, up
  EXPECT_EQ(layout.row_bytes(), 28);

  const RowLayout int6(RowFormat::kInt6, {{.width = 65}, {.width = 3, .quantizable = false}, {.width = 2}});
  EXPECT_EQ(int6.segments()[0].n_scales(), 2);
  EXPECT_EQ(int6.segments()[1].n_scales(), 0);
  EXPECT_EQ(int6.segments()[2].n_scales(), 1);
  EXPECT_EQ(int6.segments()[2].scale_offset, 4);
  EXPECT_EQ(int6.segments()[0].byte_offset, 8);    // after scales of 4 and 2 bytes, up to a multiple of 4
  EXPECT_EQ(int6.segments()[1].byte_offset, 80);   // 8 + 3 blocks of 24
  EXPECT_EQ(int6.segments()[2].byte_offset, 88);   // 80 + 3 * 2, up
  EXPECT_EQ(int6.row_bytes(), 88 + 24);

  const RowLayout bf16(RowFormat::kBF16, {{.width = 5}, {.width = 3}});
  EXPECT_EQ(bf16.segments()[1].byte_offset, 12);
  EXPECT_EQ(bf16.row_bytes(), 20);
}

TEST(RowLayout, FindsTheSegmentsOfARange) {
  const RowLayout layout = RowLayout::gqa(RowFormat::kInt8, 3, 5, 7);
  const auto value = layout.segments(3 * 5 + 7, 7);
  ASSERT_EQ(value.size(), 1U);
  EXPECT_EQ(value.data(), layout.segments().data() + 4);
  EXPECT_EQ(layout.segments(5, 10).size(), 2U);
  EXPECT_EQ(layout.segments(0, layout.width()).size(), 6U);
  EXPECT_TRUE(layout.segments(15, 0).empty());
  EXPECT_TRUE(layout.segments(layout.width(), 0).empty());
  EXPECT_EQ(RowLayout::mla(RowFormat::kBF16, 6, 0).segments(0, 6).front().width, 6) << "a segment without elements may follow";
}

TEST(RowLayout, EmptyLayoutsAndSegmentsHaveNoElements) {
  EXPECT_EQ(RowLayout().width(), 0);
  EXPECT_EQ(RowLayout().row_bytes(), 0);
  const RowLayout no_rope = RowLayout::mla(RowFormat::kBF16, 6, 0);
  EXPECT_EQ(no_rope.width(), 6);
  EXPECT_EQ(no_rope.row_bytes(), 12);
  EXPECT_TRUE(all_equal(round_trip(no_rope, {1, 2, 3, 4, 5, 6}), std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(RowLayout, KnowsEveryFormatByNumberAndName) {
  EXPECT_EQ(row_formats().size(), 5U);
  for (const RowFormatInfo& info : row_formats()) {
    EXPECT_EQ(row_format_info(info.format).name, info.name) << "the table's order is the enumeration's";
    const Result<RowFormat> named = row_format_from_name(info.name);
    ASSERT_TRUE(named.ok());
    EXPECT_EQ(named.value(), info.format);
  }
  const Result<RowFormat> bad = row_format_from_name("fp8");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().kind, ErrorKind::kUsage);
  EXPECT_NE(bad.error().message.find("'fp8': expected one of f32, bf16, int8, int6, int4"), std::string::npos)
      << bad.error().message;
}

TEST(EncodeRow, F32IsExact) {
  Random random(1);
  const RowLayout layout = RowLayout::gqa(RowFormat::kF32, 3, 5, 7);
  const std::vector<float> values = random.normals(layout.width());
  EXPECT_TRUE(all_equal(round_trip(layout, values), values));
}

TEST(EncodeRow, Bf16KeepsEightBits) {
  Random random(2);
  const RowLayout layout = RowLayout::mla(RowFormat::kBF16, 37, 6);
  const std::vector<float> values = random.normals(layout.width());
  const std::vector<float> out = round_trip(layout, values);
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_LE(std::fabs(out[i] - values[i]), std::fabs(values[i]) / 256) << i;
}

TEST(EncodeRow, Int8ErrorIsAtMostHalfAStepOfItsSegment) {
  Random random(3);
  const RowLayout layout = RowLayout::gqa(RowFormat::kInt8, 2, 9, 4);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<float> values = random.normals(layout.width());
    // Segments of very different size: each has a scale of its own.
    for (size_t s = 0; s < layout.segments().size(); ++s) {
      const RowSegment& segment = layout.segments()[s];
      for (int64_t i = 0; i < segment.width; ++i)
        values[static_cast<size_t>(segment.first + i)] *=
            std::pow(10.0F, 2.0F * static_cast<float>(s) - 4.0F);
    }
    const std::vector<float> out = round_trip(layout, values);
    for (const RowSegment& segment : layout.segments()) {
      float largest = 0.0F;
      for (int64_t i = 0; i < segment.width; ++i)
        largest = std::max(largest, std::fabs(values[static_cast<size_t>(segment.first + i)]));
      for (int64_t i = 0; i < segment.width; ++i) {
        const auto at = static_cast<size_t>(segment.first + i);
        EXPECT_LE(std::fabs(out[at] - values[at]), largest / 254 * 1.0001F) << at;
        if (std::fabs(values[at]) == largest) {
          EXPECT_FLOAT_EQ(out[at], values[at]);
        }
      }
    }
  }
}

TEST(EncodeRow, Int8LeavesTheRopePartInBf16) {
  const RowLayout layout = RowLayout::mla(RowFormat::kInt8, 4, 2);
  const std::vector<float> out = round_trip(layout, {127.0F, 0.4F, -0.6F, -127.0F, 0.0009765625F, -300.0F});
  EXPECT_TRUE(all_equal(out, std::vector<float>{127.0F, 0.0F, -1.0F, -127.0F, 0.0009765625F, -300.0F}));
}

TEST(EncodeRow, Int8RoundsTiesToEven) {
  const RowLayout layout(RowFormat::kInt8, {{.width = 5}});
  const std::vector<float> out = round_trip(layout, {127.0F, 0.5F, 1.5F, 2.5F, -3.5F});
  EXPECT_TRUE(all_equal(out, std::vector<float>{127.0F, 0.0F, 2.0F, 2.0F, -4.0F}));
}

TEST(EncodeRow, Int8AllZeroSegmentHasScaleZero) {
  const RowLayout layout(RowFormat::kInt8, {{.width = 3}});
  std::vector<std::byte> row(static_cast<size_t>(layout.row_bytes()), std::byte{0xff});
  encode_row(layout, std::vector<float>{0.0F, -0.0F, 0.0F}.data(), row.data());
  float scale = 1.0F;
  std::memcpy(&scale, row.data(), sizeof scale);
  EXPECT_EQ(scale, 0.0F);
  std::vector<float> out(3, 1.0F);
  decode_row(layout, row.data(), 0, 3, out.data());
  EXPECT_EQ(out, (std::vector<float>{0.0F, 0.0F, 0.0F}));
}

TEST(EncodeRow, Int8SurvivesExtremeSizes) {
  const RowLayout layout(RowFormat::kInt8, {{.width = 3}});
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (float size : {tiny, 100 * tiny, 1e-38F, 1e38F}) {
    const std::vector<float> out = round_trip(layout, {size, -size, 0.0F});
    EXPECT_LE(std::fabs(out[0] - size), std::max(size / 100, 100 * tiny)) << size;
    EXPECT_EQ(out[0], -out[1]) << size;
    EXPECT_EQ(out[2], 0.0F) << size;
  }
}

TEST(EncodeRow, Int4StoresScalesThenNibbles) {
  const RowLayout layout(RowFormat::kInt4, {{.width = 66}});
  std::vector<float> values(66, 0.0F);
  values[0] = 254.0F;   // scale 2
  values[1] = -218.0F;  // level -109
  values[16] = 22.0F;   // level 11
  values[40] = 7.9F;    // 3.95: nearer to 0 than to 11
  values[64] = -127.0F; // scale -1
  values[65] = 3.0F;    // -3: 0
  std::vector<std::byte> row(static_cast<size_t>(layout.row_bytes()), std::byte{0xff});
  encode_row(layout, values.data(), row.data());
  const auto byte = [&](size_t i) { return std::to_integer<int>(row[i]); };
  ASSERT_EQ(row.size(), 4U + 3 * 16);
  EXPECT_EQ((std::vector<int>{byte(0), byte(1), byte(2), byte(3)}), (std::vector<int>{0x00, 0x40, 0x80, 0xbf}));
  EXPECT_EQ(byte(4), 0x8f) << "element 0 is level 15, element 16 is level 8";
  EXPECT_EQ(byte(5), 0x70) << "element 1 is level 0, element 17 is level 7, which is 0";
  for (size_t i = 6; i < 36; ++i) EXPECT_EQ(byte(i), 0x77) << i;
  EXPECT_EQ(byte(36), 0x0f);
  EXPECT_EQ(byte(37), 0x07);
  for (size_t i = 38; i < 52; ++i) EXPECT_EQ(byte(i), 0) << "what fills up the block, " << i;
  const std::vector<float> out = round_trip(layout, values);
  EXPECT_EQ(out[0], 254.0F);
  EXPECT_EQ(out[1], -218.0F);
  EXPECT_EQ(out[16], 22.0F);
  EXPECT_EQ(out[40], 0.0F);
  EXPECT_EQ(out[64], -127.0F);
}

TEST(EncodeRow, Int6StoresNibblesThenPairs) {
  const RowLayout layout(RowFormat::kInt6, {{.width = 32}});
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i - 32) + 0.5F;  // ties go to even codes
  values[0] = -32.0F;  // scale 1
  std::vector<std::byte> row(static_cast<size_t>(layout.row_bytes()));
  encode_row(layout, values.data(), row.data());
  const auto code = [&](size_t i) {
    const int low = std::to_integer<int>(row[4 + i % 16]) >> (i < 16 ? 0 : 4) & 15;
    return low | (std::to_integer<int>(row[20 + i % 8]) >> (2 * (i / 8)) & 3) << 4;
  };
  for (size_t i = 1; i < 32; ++i) EXPECT_EQ(code(i), static_cast<int>(i + i % 2)) << i;
  EXPECT_EQ(code(0), 0);
  EXPECT_EQ(round_trip(layout, values)[0], -32.0F);
  values[31] = 33.0F;  // the largest now: scale -33/32, codes count the other way
  EXPECT_NEAR(round_trip(layout, values)[31], 33.0F, 33.0F / 256);
}

// A value is off by at most about half a step of its own group (a whole one at the end that the scale's sign leaves short);
// groups differ in size by orders of magnitude.
TEST(EncodeRow, PackedErrorIsBoundedByTheGroup) {
  Random random(5);
  for (const auto& [format, most] : {std::pair{RowFormat::kInt6, 0.032F}, {RowFormat::kInt4, 0.148F}}) {
    for (int64_t width : {1, 31, 32, 33, 63, 64, 65, 200}) {
      const RowLayout layout = RowLayout::gqa(format, 2, width, 7);
      std::vector<float> values = random.normals(layout.width());
      for (size_t i = 0; i < values.size(); ++i) values[i] *= std::pow(10.0F, static_cast<float>(i / 50) - 2.0F);
      const std::vector<float> out = round_trip(layout, values);
      for (const RowSegment& s : layout.segments()) {
        for (int64_t i = 0; i < s.width; ++i) {
          const int64_t begin = s.first + i / kScaleGroup * kScaleGroup, end = std::min(begin + kScaleGroup, s.first + s.width);
          float largest = 0.0F;
          for (int64_t j = begin; j < end; ++j) largest = std::max(largest, std::fabs(values[static_cast<size_t>(j)]));
          const auto at = static_cast<size_t>(s.first + i);
          EXPECT_LE(std::fabs(out[at] - values[at]), most * largest) << row_format_name(format) << " " << width << " " << i;
          if (std::fabs(values[at]) == largest) {
            EXPECT_NEAR(out[at], values[at], largest / 250);
          }
        }
      }
    }
  }
}

TEST(EncodeRow, PackedZerosAreZerosAndExtremesSurvive) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (RowFormat format : {RowFormat::kInt6, RowFormat::kInt4}) {
    const RowLayout layout(format, {{.width = 3}});
    for (const std::vector<float>& zeros : {std::vector<float>{0, 0, 0}, {-0.0F, -0.0F, -0.0F}}) {
      for (const float x : round_trip(layout, zeros)) {
        EXPECT_EQ(x, 0.0F);
        EXPECT_FALSE(std::signbit(x));
      }
    }
    for (float size : {tiny, 100 * tiny, 1e-38F, 3e38F, -3e38F}) {
      const std::vector<float> out = round_trip(layout, {size, 0.0F, size});
      EXPECT_LE(std::fabs(out[0] - size), std::max(std::fabs(size) / 100, 1e-38F)) << size;
      EXPECT_EQ(out[0], out[2]) << size;
      EXPECT_EQ(out[1], 0.0F) << size;
    }
  }
}

TEST(EncodeRow, PackedRowsLeaveTheRopePartInBf16) {
  for (RowFormat format : {RowFormat::kInt6, RowFormat::kInt4}) {
    const std::vector<float> out = round_trip(RowLayout::mla(format, 2, 2), {127.0F, 0.0F, 0.0009765625F, -300.0F});
    EXPECT_EQ(out[2], 0.0009765625F);
    EXPECT_EQ(out[3], -300.0F);
  }
}

TEST(EncodeRow, NonFiniteValuesHideNoFurtherThanTheirGroup) {
  for (RowFormat format : {RowFormat::kInt6, RowFormat::kInt4}) {
    for (float bad : {kNan, kInf, -kInf}) {
      std::vector<float> values(200, 1.0F);
      values[70] = bad;
      const std::vector<float> out = round_trip(RowLayout::mla(format, 199, 1), values);
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i >= 64 && i < 128) << i;
    }
  }
}

TEST(EncodeRow, NonFiniteValuesStayVisible) {
  for (float bad : {kNan, kInf, -kInf}) {
    const std::vector<float> values{1.0F, bad, 2.0F, 4.0F};
    for (RowFormat format : {RowFormat::kF32, RowFormat::kBF16}) {
      EXPECT_TRUE(all_equal(round_trip(RowLayout::mla(format, 3, 1), values), values));
    }
    // One scale serves the whole latent, so all of it shows the fault; the other segment does not.
    const std::vector<float> out = round_trip(RowLayout::mla(RowFormat::kInt8, 3, 1), values);
    EXPECT_TRUE(all_equal(out, std::vector<float>{kNan, kNan, kNan, 4.0F}));
  }
}

TEST(DecodeRow, AnyRangeEqualsThatPartOfTheWhole) {
  Random random(4);
  for (RowFormat format : {RowFormat::kF32, RowFormat::kBF16, RowFormat::kInt8, RowFormat::kInt6, RowFormat::kInt4}) {
    const RowLayout layout(format,
                           {{.width = 35}, {.width = 1}, {.width = 4, .quantizable = false}, {.width = 3}});
    std::vector<std::byte> row(static_cast<size_t>(layout.row_bytes()));
    encode_row(layout, random.normals(layout.width()).data(), row.data());
    std::vector<float> whole(static_cast<size_t>(layout.width()));
    decode_row(layout, row.data(), 0, layout.width(), whole.data());
    for (int64_t first = 0; first <= layout.width(); ++first) {
      for (int64_t n = 0; first + n <= layout.width(); ++n) {
        std::vector<float> part(static_cast<size_t>(n) + 1, 7.0F);
        decode_row(layout, row.data(), first, n, part.data());
        const std::span<const float> want(whole.data() + first, static_cast<size_t>(n));
        EXPECT_TRUE(all_equal(std::span(part).first(static_cast<size_t>(n)), want)) << first << " + " << n;
        EXPECT_EQ(part.back(), 7.0F) << "wrote past the range";
      }
    }
  }
}

}  // namespace
}  // namespace mla
