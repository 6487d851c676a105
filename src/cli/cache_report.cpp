#include "cli/cache_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/terminal.h"

namespace mla::cli {

CacheDims cache_dims(const Config& c) {
  CacheDims dims;
  dims.n_layers = c.n_layers;
  dims.n_heads = c.n_heads;
  dims.n_kv_heads = c.n_kv_heads;
  const bool mla = c.attention == AttentionKind::kMla;
  dims.d_k = mla ? c.d_nope : c.d_head;
  dims.d_v = mla ? c.d_v : c.d_head;
  dims.kv_rank = mla ? c.kv_rank : 0;
  dims.d_rope = mla ? c.d_rope : 0;
  return dims;
}

Result<std::vector<CacheCost>> cache_schemes(const CacheDims& dims, CacheFormat format, int64_t groups, KeyWidth keys) {
  MLA_ASSIGN(CacheCost own, own_cache_cost(dims, format));
  std::vector<CacheCost> schemes = {std::move(own)};
  for (const int64_t n_kv_heads : {dims.n_heads, groups, int64_t{1}}) {
    if (n_kv_heads > dims.n_heads || dims.n_heads % n_kv_heads != 0) continue;
    MLA_ASSIGN(CacheCost cost, gqa_cache_cost(dims, n_kv_heads, format, keys));
    if (n_kv_heads == dims.n_heads && n_kv_heads == groups) cost.scheme = fmt::format("MHA = GQA-{}", groups);
    const bool listed = std::any_of(schemes.begin(), schemes.end(), [&](const CacheCost& s) { return s.formula == cost.formula; });
    if (!listed) schemes.push_back(std::move(cost));
  }
  return schemes;
}

std::string compare_line(const Config& config, RowFormat format, int64_t n_rows) {
  const Result<std::vector<CacheCost>> schemes = cache_schemes(cache_dims(config), format, 8, KeyWidth::kWithoutRope);
  if (!schemes.ok()) return "";
  std::string line = "the same cache as ";
  const CacheCost& own = schemes->front();
  for (const CacheCost& scheme : *schemes) {
    const double ratio = static_cast<double>(scheme.bytes_per_token) / static_cast<double>(own.bytes_per_token);
    if (&scheme != &own) line += " | ";
    line += fmt::format("{} {}", scheme.scheme, human_bytes(static_cast<double>(scheme.bytes(n_rows))));
    if (&scheme != &own) line += fmt::format(" ({}x)", short_number(ratio));
  }
  return line;
}

}  // namespace mla::cli
