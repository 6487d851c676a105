#include "cache/disk/hash.h"

#include <xxhash.h>

#include <cstdint>
#include <new>

namespace mla::disk {
namespace {

Hash canonical(XXH128_hash_t value) {
  XXH128_canonical_t bytes;
  XXH128_canonicalFromHash(&bytes, value);
  Hash hash;
  std::memcpy(hash.data(), bytes.digest, hash.size());
  return hash;
}

}  // namespace

struct Hasher::State {
  XXH3_state_t* xxh = nullptr;
};

Hash hash_of(std::span<const std::byte> bytes) { return canonical(XXH3_128bits(bytes.data(), bytes.size())); }

Hasher::Hasher() : state_(std::make_unique<State>()) {
  state_->xxh = XXH3_createState();
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh);
}
Hasher::~Hasher() { XXH3_freeState(state_->xxh); }

void Hasher::add(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()); }

void Hasher::add_text(std::string_view text) {
  const uint64_t length = text.size();
  add(std::as_bytes(std::span(&length, 1)));
  add(std::as_bytes(std::span(text)));
}

Hash Hasher::digest() const { return canonical(XXH3_128bits_digest(state_->xxh)); }

}  // namespace mla::disk
