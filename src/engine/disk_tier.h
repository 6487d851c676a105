#pragma once

#include <memory>

#include "base/result.h"
#include "cache/disk/disk_cache.h"
#include "engine/engine.h"
#include "model/model.h"

namespace mla {

/// Raised whenever the same model, tokens and options may give other cached rows than before: a kernel that rounds
/// differently, another layout of a row. Pages of another number are not found.
inline constexpr int kRowAbi = 1;

/// Everything that the bytes of this engine's pages depend on besides their tokens. Reads the model's weights once (or samples
/// them: model/fingerprint.h). Errors: as model_fingerprint().
Result<CacheIdentity> cache_identity(const Model& model, const EngineOptions& options);

/// The disk cache of an engine of this model with these options: give it to Engine::create(). Errors: as cache_identity() and
/// DiskCache::open(); a server says so and serves without.
Result<std::shared_ptr<DiskCache>> open_disk_cache(const Model& model, const EngineOptions& options,
                                                   DiskCacheOptions disk_options);

}  // namespace mla
