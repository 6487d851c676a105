#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mla {

using Sha256Digest = std::array<uint8_t, 32>;

/// SHA-256 (FIPS 180-4) of bytes that arrive in parts. A copy continues from where the original stands, which gives the digests
/// of many messages that begin alike.
class Sha256 {
 public:
  Sha256() { reset(); }
  Sha256& update(std::span<const std::byte> bytes);
  Sha256& update(std::string_view text) { return update(std::as_bytes(std::span(text))); }
  /// The digest of all that was given; the object then begins a new message.
  Sha256Digest finish();

 private:
  void reset();
  void compress(const uint8_t* block);  // [64]

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> block_;  // what has not filled a block yet
  uint64_t length_ = 0;            // bytes given so far
};

Sha256Digest sha256(std::span<const std::byte> bytes);
Sha256Digest sha256(std::string_view text);

/// 64 lower-case hexadecimal digits.
std::string to_hex(const Sha256Digest& digest);

}  // namespace mla
