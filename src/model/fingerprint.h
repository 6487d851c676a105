#pragma once

#include "base/result.h"
#include "cache/disk/hash.h"
#include "model/model.h"

namespace mla {

/// Tensors up to so many bytes altogether are hashed in full.
inline constexpr uint64_t kFullyHashedBytes = uint64_t{4} << 30;

/// What tells a model from every other: configuration, tokenizer, and tensors with their contents. Larger models' contents are
/// sampled, and their files' identity and times join in; docs/format-disk-cache.md says what that could miss.
/// `fully_hashed_bytes` is for tests. Errors: kUsage for a model that has no checkpoint; kInvalidFile or kResource when its
/// tokenizer cannot be read.
Result<disk::Hash> model_fingerprint(const Model& model, uint64_t fully_hashed_bytes = kFullyHashedBytes);

}  // namespace mla
