#include "ops/row_layout.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "base/float16.h"

namespace mla {
namespace {

constexpr int64_t kAlignment = 4;

int64_t align(int64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

constexpr RowFormatInfo kFormats[] = {
    {RowFormat::kF32, "f32", 32, 0},   {RowFormat::kBF16, "bf16", 16, 0}, {RowFormat::kInt8, "int8", 8, 4},
    {RowFormat::kInt6, "int6", 6, 2}, {RowFormat::kInt4, "int4", 4, 2},
};

/// max|x|, or NaN when a value is not finite: all that share the scale then decode to NaN and the fault stays
/// visible.
float largest_magnitude(const float* values, int64_t n) {
  float largest = 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(values[i])) return std::nanf("");
    largest = std::max(largest, std::fabs(values[i]));
  }
  return largest;
}

/// Round to nearest, ties to even. The clamp matters for scales so small that they are rounded themselves.
int8_t quantize_int8(float value, float scale) {
  if (!(scale > 0.0F)) return 0;
  return static_cast<int8_t>(std::clamp(std::nearbyint(value / scale), -127.0F, 127.0F));
}

/// The value of largest magnitude, the positive one of two; NaN when a value is not finite.
float extreme(const float* values, int64_t n) {
  const float magnitude = largest_magnitude(values, n);
  const bool negative = !std::isnan(magnitude) && std::find(values, values + n, magnitude) == values + n;
  return negative ? -magnitude : magnitude;
}

bool usable(float scale) { return scale < 0.0F || scale > 0.0F; }

uint8_t quantize_int6(float value, float scale) {
  if (!usable(scale)) return 32;
  return static_cast<uint8_t>(std::clamp(std::nearbyint(value / scale), -32.0F, 31.0F) + 32.0F);
}

uint8_t quantize_int4(float value, float scale) {
  const float x = usable(scale) ? value / scale : 0.0F;
  uint8_t code = 0;
  for (int i = 0; i < 15; ++i) code += x > 0.5F * static_cast<float>(kInt4Levels[i] + kInt4Levels[i + 1]) ? 1 : 0;
  return code;
}

int64_t packed_block_bytes(int64_t bits) { return bits * kPackedBlock / 8; }

void put_code(std::byte* block, int64_t i, uint8_t code, int64_t bits) {
  block[i % 16] |= static_cast<std::byte>((code & 15) << (i / 16 * 4));
  if (bits == 6) block[16 + i % 8] |= static_cast<std::byte>((code >> 4) << (i / 8 * 2));
}

int get_code(const std::byte* block, int64_t i, int64_t bits) {
  const int low = (static_cast<int>(block[i % 16]) >> (i / 16 * 4)) & 15;
  return bits == 6 ? low | ((static_cast<int>(block[16 + i % 8]) >> (i / 8 * 2)) & 3) << 4 : low;
}

/// Of a segment's elements, with what fills up the last packed block.
int64_t stored_bytes(const RowSegment& segment) {
  const RowFormatInfo& info = row_format_info(segment.format);
  if (!info.packed()) return segment.element_bytes();
  return (segment.width + kPackedBlock - 1) / kPackedBlock * packed_block_bytes(info.bits);
}

void encode_packed(const RowSegment& segment, const float* values, std::byte* row) {
  const bool int6 = segment.format == RowFormat::kInt6;
  const int64_t bits = int6 ? 6 : 4;
  std::byte* out = row + segment.byte_offset;
  std::fill_n(out, stored_bytes(segment), std::byte{0});
  for (int64_t g = 0; g < segment.n_scales(); ++g) {
    const int64_t begin = g * kScaleGroup, n = std::min(kScaleGroup, segment.width - begin);
    const float unrounded = extreme(values + begin, n) / (int6 ? -32.0F : 127.0F);
    const uint16_t stored = unrounded == 0.0F ? uint16_t{0} : f32_to_bf16(unrounded);  // zeros decode to 0, not -0
    std::memcpy(row + segment.scale_offset + 2 * g, &stored, sizeof stored);
    const float scale = bf16_to_f32(stored);
    for (int64_t i = begin; i < begin + n; ++i) {
      put_code(out + i / kPackedBlock * packed_block_bytes(bits), i % kPackedBlock,
               int6 ? quantize_int6(values[i], scale) : quantize_int4(values[i], scale), bits);
    }
  }
}

float decode_packed(const RowSegment& segment, const std::byte* row, int64_t i) {
  const bool int6 = segment.format == RowFormat::kInt6;
  const int64_t bits = int6 ? 6 : 4;
  uint16_t scale = 0;
  std::memcpy(&scale, row + segment.scale_offset + 2 * (i / kScaleGroup), sizeof scale);
  const int code = get_code(row + segment.byte_offset + i / kPackedBlock * packed_block_bytes(bits), i % kPackedBlock, bits);
  return static_cast<float>(int6 ? code - 32 : kInt4Levels[code]) * bf16_to_f32(scale);
}

void encode_segment(const RowSegment& segment, const float* values, std::byte* row) {
  std::byte* out = row + segment.byte_offset;
  switch (segment.format) {
    case RowFormat::kF32:
      std::memcpy(out, values, static_cast<size_t>(segment.width) * sizeof(float));
      break;
    case RowFormat::kBF16:
      for (int64_t i = 0; i < segment.width; ++i) {
        const uint16_t bits = f32_to_bf16(values[i]);
        std::memcpy(out + 2 * i, &bits, sizeof bits);
      }
      break;
    case RowFormat::kInt8: {
      const float scale = largest_magnitude(values, segment.width) / 127.0F;
      std::memcpy(row + segment.scale_offset, &scale, sizeof scale);
      for (int64_t i = 0; i < segment.width; ++i)
        out[i] = static_cast<std::byte>(quantize_int8(values[i], scale));
      break;
    }
    case RowFormat::kInt6:
    case RowFormat::kInt4:
      encode_packed(segment, values, row);
      break;
  }
}

/// Elements [first, first + n) of the segment.
void decode_segment(const RowSegment& segment, const std::byte* row, int64_t first, int64_t n,
                    float* values) {
  const std::byte* in = row + segment.byte_offset;
  switch (segment.format) {
    case RowFormat::kF32:
      std::memcpy(values, in + 4 * first, static_cast<size_t>(n) * sizeof(float));
      break;
    case RowFormat::kBF16:
      for (int64_t i = 0; i < n; ++i) {
        uint16_t bits = 0;
        std::memcpy(&bits, in + 2 * (first + i), sizeof bits);
        values[i] = bf16_to_f32(bits);
      }
      break;
    case RowFormat::kInt8: {
      float scale = 0.0F;
      std::memcpy(&scale, row + segment.scale_offset, sizeof scale);
      for (int64_t i = 0; i < n; ++i)
        values[i] = static_cast<float>(static_cast<int8_t>(in[first + i])) * scale;
      break;
    }
    case RowFormat::kInt6:
    case RowFormat::kInt4:
      for (int64_t i = 0; i < n; ++i) values[i] = decode_packed(segment, row, first + i);
      break;
  }
}

}  // namespace

std::span<const RowFormatInfo> row_formats() {
  return kFormats;
}

const RowFormatInfo& row_format_info(RowFormat format) {
  return kFormats[static_cast<size_t>(format)];  // the enumeration's order
}

std::string_view row_format_name(RowFormat format) {
  return row_format_info(format).name;
}

Result<RowFormat> row_format_from_name(std::string_view name) {
  std::string known;
  for (const RowFormatInfo& info : kFormats) {
    if (info.name == name) return info.format;
    known += (known.empty() ? "" : ", ") + std::string(info.name);
  }
  return Error::usage("cache row format '" + std::string(name) + "': expected one of " + known);
}

int64_t RowSegment::n_scales() const {
  switch (row_format_info(format).scale_bytes) {
    case 0:
      return 0;
    case 4:
      return 1;
    default:
      return (width + kScaleGroup - 1) / kScaleGroup;
  }
}

RowLayout::RowLayout(RowFormat format, std::vector<RowSegment> segments)
    : format_(format), segments_(std::move(segments)) {
  int64_t bytes = 0;
  for (RowSegment& s : segments_) {
    s.format = row_format_info(format).scaled() && !s.quantizable ? RowFormat::kBF16 : format;
    s.scale_offset = bytes;
    bytes = align(bytes + s.n_scales() * row_format_info(s.format).scale_bytes);
  }
  for (RowSegment& s : segments_) {
    s.first = width_;
    s.byte_offset = bytes;
    width_ += s.width;
    bytes = align(bytes + stored_bytes(s));
  }
  row_bytes_ = bytes;
}

RowLayout RowLayout::mla(RowFormat format, int64_t kv_rank, int64_t d_rope) {
  return {format, {RowSegment{.width = kv_rank}, RowSegment{.width = d_rope, .quantizable = false}}};
}

RowLayout RowLayout::gqa(RowFormat format, int64_t n_kv_heads, int64_t d_k, int64_t d_v) {
  std::vector<RowSegment> segments;
  for (int64_t h = 0; h < n_kv_heads; ++h) segments.push_back({.width = d_k});
  for (int64_t h = 0; h < n_kv_heads; ++h) segments.push_back({.width = d_v});
  return {format, std::move(segments)};
}

std::span<const RowSegment> RowLayout::segments(int64_t first, int64_t n) const {
  const auto begin = std::find_if(segments_.begin(), segments_.end(), [&](const RowSegment& s) { return s.first >= first; });
  const auto end = std::find_if(begin, segments_.end(), [&](const RowSegment& s) { return s.first + s.width > first + n; });
  return {begin, end};
}

void encode_row(const RowLayout& layout, const float* values, std::byte* row) {
  for (const RowSegment& s : layout.segments()) encode_segment(s, values + s.first, row);
}

void decode_row(const RowLayout& layout, const std::byte* row, int64_t first, int64_t n, float* values) {
  assert(first >= 0 && n >= 0 && first + n <= layout.width());
  for (const RowSegment& s : layout.segments()) {
    const int64_t begin = std::max(first, s.first);
    const int64_t end = std::min(first + n, s.first + s.width);
    if (begin >= end) continue;
    decode_segment(s, row, begin - s.first, end - begin, values + (begin - first));
  }
}

}  // namespace mla
