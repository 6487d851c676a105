#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

/// Element format of cached rows.
enum class RowFormat { kF32, kBF16, kInt8 };
std::string_view row_format_name(RowFormat format);
Result<RowFormat> row_format_from_name(std::string_view name);

/// Rows a page holds (design decision 2).
inline constexpr int64_t kPageRows = 64;

/// Consecutive elements of a cached row that share one int8 scale: the latent of MLA, or one head's key or value.
struct RowSegment {
  int64_t width = 0;
  bool quantizable = true;  ///< false: stays bf16 in int8 rows (MLA's rope part)

  // Filled in by RowLayout:
  int64_t first = 0;        ///< index of its first element in the row
  int64_t byte_offset = 0;  ///< where its elements lie in the stored row
  int64_t scale_offset = 0; ///< int8: where its f32 scale lies
};

/// One token's cache row of one layer: [latent | rope] for MLA, [K of every KV head | V of every KV head] for MHA, GQA
/// and MQA. Stored as: int8 segments' scales first (f32), then the elements segment by segment; every segment and the
/// row as a whole start at a multiple of 4 bytes.
class RowLayout {
 public:
  RowLayout() = default;
  RowLayout(RowFormat format, std::vector<RowSegment> segments);

  /// [kv_rank latent | d_rope roped key]: two segments; the key is both, the value is the latent (MLA, absorbed).
  static RowLayout mla(RowFormat format, int64_t kv_rank, int64_t d_rope);
  /// n_kv_heads keys of d_k, then n_kv_heads values of d_v; one segment each.
  static RowLayout gqa(RowFormat format, int64_t n_kv_heads, int64_t d_k, int64_t d_v);

  RowFormat format() const { return format_; }
  const std::vector<RowSegment>& segments() const { return segments_; }
  int64_t width() const { return width_; }          ///< elements of a row
  int64_t row_bytes() const { return row_bytes_; }  ///< bytes of a stored row, exact

 private:
  RowFormat format_ = RowFormat::kF32;
  std::vector<RowSegment> segments_;
  int64_t width_ = 0;
  int64_t row_bytes_ = 0;
};

/// Encodes one row of layout.width() values. int8: scale = max|x| / 127 per segment, round to nearest even; an all-zero
/// segment has scale 0. The specification for every backend's own encoder.
void encode_row(const RowLayout& layout, const float* values, std::byte* row);

/// Decodes elements [first, first + n) of a stored row to f32; the range may span segments.
void decode_row(const RowLayout& layout, const std::byte* row, int64_t first, int64_t n, float* values);

}  // namespace mla
