#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

/// Element format of cached rows.
enum class RowFormat { kF32, kBF16, kInt8 };

struct RowFormatInfo {
  RowFormat format;
  std::string_view name;
  int64_t bits;  ///< of an element
  bool scaled;   ///< every segment has an f32 scale; segments that must not be quantised are bf16
};
/// All formats, widest first.
std::span<const RowFormatInfo> row_formats();
const RowFormatInfo& row_format_info(RowFormat format);
std::string_view row_format_name(RowFormat format);
Result<RowFormat> row_format_from_name(std::string_view name);

/// Rows a page holds (design decision 2).
inline constexpr int64_t kPageRows = 64;

/// Consecutive elements of a cached row that share one scale: the latent of MLA, or one head's key or value.
struct RowSegment {
  int64_t width = 0;
  bool quantizable = true;  ///< false: stays bf16 in rows of a scaled format (MLA's rope part)

  // Filled in by RowLayout:
  RowFormat format = RowFormat::kF32;  ///< its elements' own: what encoders and decoders go by
  int64_t first = 0;                   ///< index of its first element in the row
  int64_t byte_offset = 0;             ///< where its elements lie in the stored row
  int64_t scale_offset = 0;            ///< scaled formats: where its f32 scale lies

  int64_t element_bytes() const { return (width * row_format_info(format).bits + 7) / 8; }
};

/// One token's cache row of one layer: [latent | rope] for MLA, [K of every KV head | V of every KV head] for MHA, GQA
/// and MQA. Stored as: the scaled segments' scales first (f32), then the elements segment by segment; every segment and the
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
  /// Those within elements [first, first + n), a range of whole segments.
  std::span<const RowSegment> segments(int64_t first, int64_t n) const;
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
