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
    {RowFormat::kF32, "f32", 32, false},
    {RowFormat::kBF16, "bf16", 16, false},
    {RowFormat::kInt8, "int8", 8, true},
};

/// max|x| / 127, or NaN when a value is not finite: the whole segment then decodes to NaN and the fault stays
/// visible.
float int8_scale(const float* values, int64_t n) {
  float largest = 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(values[i])) return std::nanf("");
    largest = std::max(largest, std::fabs(values[i]));
  }
  return largest / 127.0F;
}

/// Round to nearest, ties to even. The clamp matters for scales so small that they are rounded themselves.
int8_t quantize_int8(float value, float scale) {
  if (!(scale > 0.0F)) return 0;
  return static_cast<int8_t>(std::clamp(std::nearbyint(value / scale), -127.0F, 127.0F));
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
      const float scale = int8_scale(values, segment.width);
      std::memcpy(row + segment.scale_offset, &scale, sizeof scale);
      for (int64_t i = 0; i < segment.width; ++i)
        out[i] = static_cast<std::byte>(quantize_int8(values[i], scale));
      break;
    }
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

RowLayout::RowLayout(RowFormat format, std::vector<RowSegment> segments)
    : format_(format), segments_(std::move(segments)) {
  int64_t bytes = 0;
  for (RowSegment& s : segments_) {
    s.format = row_format_info(format).scaled && !s.quantizable ? RowFormat::kBF16 : format;
    if (!row_format_info(s.format).scaled) continue;
    s.scale_offset = bytes;
    bytes += static_cast<int64_t>(sizeof(float));
  }
  for (RowSegment& s : segments_) {
    s.first = width_;
    s.byte_offset = bytes;
    width_ += s.width;
    bytes = align(bytes + s.element_bytes());
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
