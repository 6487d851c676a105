#include "mla/cache_size.h"

#include <utility>

#include "api/backend.h"
#include "cache/arithmetic.h"

namespace mla {
namespace {

CacheDims dims_of(const CacheShape& s) {
  return {s.n_layers, s.n_heads, s.n_kv_heads, s.d_k, s.d_v, s.kv_rank, s.d_rope};
}

Result<CacheSize> size_of(Result<CacheCost> cost) {
  MLA_ASSIGN(CacheCost c, std::move(cost));
  return CacheSize{std::move(c.scheme), c.elements_per_token, c.bytes_per_token, std::move(c.formula)};
}

}  // namespace

Result<CacheSize> cache_size(const CacheShape& shape, CacheElement element) {
  return size_of(own_cache_cost(dims_of(shape), row_format(element)));
}

Result<CacheSize> cache_size_with_kv_heads(const CacheShape& shape, int64_t n_kv_heads,
                                           CacheElement element) {
  return size_of(gqa_cache_cost(dims_of(shape), n_kv_heads, row_format(element)));
}

Result<CacheShape> known_cache_shape(std::string_view model) {
  MLA_ASSIGN(const NamedModel known, find_named_model(model));
  const CacheDims& d = known.dims;
  return CacheShape{d.n_layers, d.n_heads, d.n_kv_heads, d.d_k, d.d_v, d.kv_rank, d.d_rope};
}

}  // namespace mla
