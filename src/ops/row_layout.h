#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

/// Element format of cached rows.
enum class RowFormat { kF32, kBF16, kInt8, kInt6, kInt4 };

struct RowFormatInfo {
  RowFormat format;
  std::string_view name;
  int64_t bits;         ///< of an element
  int64_t scale_bytes;  ///< 0: unscaled; 4: an f32 scale per segment; 2: a bf16 scale per kScaleGroup elements

  bool scaled() const { return scale_bytes > 0; }  ///< segments that must not be quantised are then bf16
  bool packed() const { return bits < 8; }         ///< elements in blocks of kPackedBlock
};
/// Neighbouring elements of a segment that share a scale in formats of less than 8 bits; the last group may be shorter.
inline constexpr int64_t kScaleGroup = 64;
/// Elements that are packed together in these formats; a segment's last block is filled up.
inline constexpr int64_t kPackedBlock = 32;
/// The sixteen values of int4 rows in units of their scale: Lloyd's quantiser of normally distributed groups of kScaleGroup
/// elements whose largest magnitude (with its sign) is 127, with 0 and 127 held in place.
inline constexpr int8_t kInt4Levels[16] = {-109, -85, -67, -51, -37, -24, -12, 0, 11, 23, 35, 48, 62, 79, 99, 127};
/// All formats, widest first.
std::span<const RowFormatInfo> row_formats();
const RowFormatInfo& row_format_info(RowFormat format);
std::string_view row_format_name(RowFormat format);
Result<RowFormat> row_format_from_name(std::string_view name);

/// Rows a page holds (design decision 2).
inline constexpr int64_t kPageRows = 64;

/// Consecutive elements of a cached row that one reader takes together: the latent of MLA, or one head's key or value.
struct RowSegment {
  int64_t width = 0;
  bool quantizable = true;  ///< false: stays bf16 in rows of a scaled format (MLA's rope part)

  // Filled in by RowLayout:
  RowFormat format = RowFormat::kF32;  ///< its elements' own: what encoders and decoders go by
  int64_t first = 0;                   ///< index of its first element in the row
  int64_t byte_offset = 0;             ///< where its elements lie in the stored row
  int64_t scale_offset = 0;            ///< scaled formats: where its scales lie

  int64_t element_bytes() const { return (width * row_format_info(format).bits + 7) / 8; }  ///< without padding
  int64_t n_scales() const;
};

/// One token's cache row of one layer: [latent | rope] for MLA, [K of every KV head | V of every KV head] for MHA, GQA
/// and MQA. Stored as: the scaled segments' scales first, segment by segment, then the elements segment by segment; the scales
/// and the elements of every segment and the row as a whole start at a multiple of 4 bytes.
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

/// Encodes one row of layout.width() values. The specification for every backend's own encoder:
///   int8   scale = max|x| / 127 per segment, f32; code = x / scale rounded to nearest even.
///   int6   m = the value of largest magnitude in a group (the positive one of two); scale = -m / 32 rounded to bf16;
///          code = x / scale rounded to nearest even, -32 ... 31, plus 32.
///   int4   scale = m / 127 rounded to bf16; code = index of the level of kInt4Levels nearest to x / scale, the lower of two.
///   A block of 32 elements is 16 bytes: byte i holds the low four bits of elements i and, shifted by four, i + 16. In int6,
///   8 bytes more: byte i holds the high two bits of elements i, i + 8, i + 16, i + 24, lowest bits first.
/// A segment or group of zeros has scale 0; one with a value that is not finite has scale NaN and decodes to NaN. Both have
/// the codes of zeros. What fills up a block is code 0.
void encode_row(const RowLayout& layout, const float* values, std::byte* row);

/// Decodes elements [first, first + n) of a stored row to f32; the range may span segments.
void decode_row(const RowLayout& layout, const std::byte* row, int64_t first, int64_t n, float* values);

}  // namespace mla
