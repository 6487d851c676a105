#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace mla::disk {

/// XXH3-128 in its canonical (big-endian) form. It finds accidents, not forgeries.
using Hash = std::array<std::byte, 16>;

Hash hash_of(std::span<const std::byte> bytes);

/// The hash of bytes that come in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void add(std::span<const std::byte> bytes);
  /// With its length in front, so that neighbouring texts cannot trade bytes.
  void add_text(std::string_view text);
  Hash digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// For hash tables: the hash is as good as random already.
struct HashOfHash {
  size_t operator()(const Hash& hash) const {
    size_t word;
    std::memcpy(&word, hash.data(), sizeof(word));
    return word;
  }
};

}  // namespace mla::disk
