#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace mla {

static_assert(std::endian::native == std::endian::little,
              "file formats are little-endian and read without swapping");

/// Reads little-endian values from a span and never past its end. `what` names the thing being read, for the
/// error.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  Result<T> read(std::string_view what) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    if (remaining() < sizeof(T)) return truncated(what, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  /// The next `n` bytes, without a copy.
  Result<std::string_view> take(uint64_t n, std::string_view what) {
    if (remaining() < n) return truncated(what, n);
    const std::string_view view(reinterpret_cast<const char*>(bytes_.data() + position_), n);
    position_ += n;
    return view;
  }

 private:
  Error truncated(std::string_view what, uint64_t needed) const;

  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

}  // namespace mla
