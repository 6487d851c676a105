#include "model/synth/attention_variants.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/synth/plan.h"

namespace mla {
namespace {

constexpr int64_t kWantedGroups = 8;
/// Feed-forwards are widened by whole blocks of the common quantised types.
constexpr int64_t kWidthStep = 32;

int64_t count_parameters(const ModelShape& shape) {
  int64_t n = 0;
  for (const SynthTensor& t : synth_tensors(shape, DType::kF32)) n += t.n_elements();
  return n;
}

/// The largest number of groups up to 8 that divides the heads and is neither MHA nor MQA; 0 without one.
int64_t groups_for(int64_t n_heads) {
  for (int64_t groups = std::min(kWantedGroups, n_heads - 1); groups > 1; --groups) {
    if (n_heads % groups == 0) return groups;
  }
  return 0;
}

ModelShape with_kv_heads(ModelShape shape, int64_t n_kv_heads) {
  shape.architecture = "llama";
  shape.q_rank = 0;
  CacheDims& d = shape.dims;
  d = {d.n_layers, d.n_heads, n_kv_heads, d.d_v, d.d_v, 0, 0};
  return shape;
}

/// Widens every feed-forward until its decoder has as many parameters as the largest one, to the nearest step.
void equalise_parameters(std::vector<AttentionVariant>& variants) {
  int64_t most = 0;
  for (const AttentionVariant& v : variants) most = std::max(most, v.n_parameters);
  for (AttentionVariant& v : variants) {
    const int64_t per_step = 3 * v.shape.d_model * v.shape.dims.n_layers * kWidthStep;  // gate, up and down
    v.shape.d_ff += (most - v.n_parameters + per_step / 2) / per_step * kWidthStep;
    v.n_parameters = count_parameters(v.shape);
  }
}

}  // namespace

Result<std::vector<AttentionVariant>> attention_variants(const ModelShape& shape, SameSize same) {
  if (!shape.dims.has_mla()) {
    return Error::usage(fmt::format("{} has no latent attention to compare with; try deepseek-v2-lite, deepseek-v3 or kimi-k2",
                                    shape.name));
  }
  ModelShape dense = shape;
  dense.experts = {};
  std::vector<AttentionVariant> variants;
  const int64_t n_heads = dense.dims.n_heads, groups = groups_for(n_heads);
  variants.push_back({"MHA", with_kv_heads(dense, n_heads)});
  if (groups > 0) variants.push_back({fmt::format("GQA-{}", groups), with_kv_heads(dense, groups)});
  variants.push_back({"MQA", with_kv_heads(dense, 1)});
  variants.push_back({"MLA", dense});
  for (AttentionVariant& v : variants) v.n_parameters = count_parameters(v.shape);
  if (same == SameSize::kParameters) equalise_parameters(variants);
  return variants;
}

}  // namespace mla
