#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"

namespace mla::http {

/// The API keys that a server knows. Only their SHA-256 digests are kept.
class KeyRing {
 public:
  struct Key {
    std::string name;    ///< what logs and metrics call the client
    bool admin = false;  ///< may use the routes of class admin
  };

  /// Reads a key file: one `key`, `name:key` or `name:admin:key` a line; `#` begins a comment line. A key
  /// without a name is called `key-N` after its line. Errors: kInvalidFile for a malformed line (named by its
  /// number, never by its content), a repeated name or key, a key of fewer than 16 characters, or no key at
  /// all; kResource when the file cannot be read; kUsage when other users may read it.
  static Result<KeyRing> read(const std::filesystem::path& path);

  /// Errors: kUsage for a repeated name or key, and for what is no name (letters, digits, '.', '_', '-'; at
  /// most 64) or no key (visible ASCII).
  Status add(std::string name, std::string_view key, bool admin = false);

  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }

  /// The key that was presented, or nothing. Takes as long for a nearly right key as for a wrong one: digests
  /// are compared, all of them and all of their bytes.
  const Key* find(std::string_view presented) const;

 private:
  std::vector<Key> keys_;
  std::vector<Sha256Digest> digests_;  // of the key at the same index
};

/// The index of the digest that equals `wanted`, or digests.size(). Looks at every byte of every digest, with
/// no branch on their values. `Digest` is an array of bytes, or of something that counts what is done to it.
template <typename Digest>
size_t find_in_constant_time(std::span<const Digest> digests, const Digest& wanted) {
  size_t found = digests.size();
  for (size_t i = 0; i < digests.size(); ++i) {
    unsigned difference = 0;  // stays 0 when all bytes are equal
    for (size_t b = 0; b < wanted.size(); ++b) difference |= static_cast<unsigned>(digests[i][b] ^ wanted[b]);
    const size_t equal = (size_t{difference} - 1) >> (8 * sizeof(size_t) - 1);  // 1 or 0
    const size_t mask = size_t{0} - equal;
    found = (i & mask) | (found & ~mask);
  }
  return found;
}

}  // namespace mla::http
