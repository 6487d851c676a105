#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "mla/result.h"

namespace mla {

/// How cached rows are stored.
enum class CacheElement {
  kF32,   ///< 4 bytes
  kBF16,  ///< 2 bytes
  kInt8,  ///< 1 byte and a scale per latent (MLA) or per head (others); MLA's RoPE part stays bf16
  kInt6,  ///< 6 bits and a bf16 scale per 64 elements (or their rest); MLA's RoPE part stays bf16
  kInt4,  ///< 4 bits, likewise
};

/// The dimensions that the size of a cache follows from. Models with multi-head latent attention have kv_rank
/// > 0; d_k is then the width of a key without its RoPE part. For the others kv_rank and d_rope are 0 and d_k
/// is the whole key.
struct CacheShape {
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t d_k = 0;
  int64_t d_v = 0;
  int64_t kv_rank = 0;
  int64_t d_rope = 0;
};

struct CacheSize {
  std::string scheme;              ///< "MHA", "GQA-8", "MQA", "MLA"
  int64_t elements_per_token = 0;  ///< over all layers
  int64_t bytes_per_token = 0;     ///< exactly what an engine with this format stores
  std::string formula;             ///< with the numbers put in
};

/// What the model itself caches: MLA where it has a latent, else its own key/value heads.
/// Errors: kUsage for dimensions that are not positive.
Result<CacheSize> cache_size(const CacheShape& shape, CacheElement element);

/// What the same heads would cache with n_kv_heads key/value heads: n_heads of them is MHA, 1 is MQA.
/// Errors: kUsage for n_kv_heads outside 1 ... n_heads, and as above.
Result<CacheSize> cache_size_with_kv_heads(const CacheShape& shape, int64_t n_kv_heads, CacheElement element);

/// The shape of a well-known model ("DeepSeek-V3", "Llama-3-8B", "Falcon-7B", ...); case and punctuation do
/// not matter. Errors: kUsage listing the known names.
Result<CacheShape> known_cache_shape(std::string_view model);

}  // namespace mla
