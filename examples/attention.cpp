// The attention family on plain arrays: one latent cache read in both forms of multi-head latent attention,
// against ordinary attention over the keys and values that the latents stand for; and what each of them would
// cache.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "mla/mla.h"

namespace {

constexpr int kTokens = 100, kHeads = 4, kRank = 32, kNope = 16, kRope = 8, kV = 16;

std::vector<float> random_values(size_t n, float spread) {
  static std::mt19937 random(1);
  std::vector<float> values(n);
  for (float& x : values)
    x = spread * (2.0F * static_cast<float>(random()) / static_cast<float>(random.max()) - 1.0F);
  return values;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float largest = 0.0F;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

/// Keys [kTokens, kHeads, kNope + kRope] and values [kTokens, kHeads, kV] of all heads, from the latents.
void expand(const std::vector<float>& rows, const std::vector<float>& k_up, const std::vector<float>& v_up,
            std::vector<float>& keys, std::vector<float>& values) {
  for (int t = 0; t < kTokens; ++t) {
    const float* latent = &rows[static_cast<size_t>(t * (kRank + kRope))];
    for (int h = 0; h < kHeads; ++h) {
      for (int d = 0; d < kNope; ++d) {
        float sum = 0.0F;
        for (int c = 0; c < kRank; ++c)
          sum += latent[c] * k_up[static_cast<size_t>((h * kRank + c) * kNope + d)];
        keys.push_back(sum);
      }
      keys.insert(keys.end(), latent + kRank, latent + kRank + kRope);  // one rotated key for all heads
      for (int d = 0; d < kV; ++d) {
        float sum = 0.0F;
        for (int c = 0; c < kRank; ++c)
          sum += latent[c] * v_up[static_cast<size_t>((h * kV + d) * kRank + c)];
        values.push_back(sum);
      }
    }
  }
}

int print_cache_sizes() {
  const auto v3 = mla::known_cache_shape("DeepSeek-V3");
  if (!v3.ok()) return 1;
  const auto as_mha = mla::cache_size_with_kv_heads(*v3, v3->n_heads, mla::CacheElement::kBF16);
  const auto as_mla = mla::cache_size(*v3, mla::CacheElement::kBF16);
  for (const auto& size : {as_mha, as_mla}) {
    if (!size.ok()) return 1;
    std::printf("DeepSeek-V3 as %s: %s = %lld bytes per token\n", size->scheme.c_str(), size->formula.c_str(),
                static_cast<long long>(size->bytes_per_token));
  }
  return 0;
}

}  // namespace

int main() {
  const auto q = random_values(kTokens * kHeads * (kNope + kRope), 1.0F);
  const auto rows =
      random_values(kTokens * (kRank + kRope), 1.0F);  // what the cache keeps: [latent | rotated key]
  const auto k_up = random_values(kHeads * kRank * kNope, 0.2F),
             v_up = random_values(kHeads * kV * kRank, 0.2F);
  std::vector<float> keys, values;
  expand(rows, k_up, v_up, keys, values);

  auto ops = mla::AttentionOps::create();
  if (!ops.ok()) {
    std::fprintf(stderr, "attention: %s\n", ops.error().message.c_str());
    return 1;
  }
  const mla::AttentionShape mha{.n_queries = kTokens,
                                .n_keys = kTokens,
                                .n_heads = kHeads,
                                .n_kv_heads = kHeads,
                                .d_k = kNope + kRope,
                                .d_v = kV,
                                .causal = true};
  const mla::LatentAttentionShape latent{.n_queries = kTokens,
                                         .n_rows = kTokens,
                                         .n_heads = kHeads,
                                         .kv_rank = kRank,
                                         .d_nope = kNope,
                                         .d_rope = kRope,
                                         .d_v = kV};
  std::vector<float> ordinary(kTokens * kHeads * kV), expanded(ordinary.size()), absorbed(ordinary.size());
  for (const mla::Status& status :
       {ops->dot_product(mha, q, keys, values, ordinary),
        ops->latent(latent, {q, rows, k_up, v_up}, expanded, mla::LatentForm::kExpanded),
        ops->latent(latent, {q, rows, k_up, v_up}, absorbed, mla::LatentForm::kAbsorbed)}) {
    if (status.ok()) continue;
    std::fprintf(stderr, "attention: %s\n", status.error().message.c_str());
    return 1;
  }
  const float to_expanded = largest_difference(ordinary, expanded),
              to_absorbed = largest_difference(ordinary, absorbed);
  std::printf("%d tokens, %d heads, causal: largest difference from ordinary attention\n", kTokens, kHeads);
  std::printf("  latents, expanded: %.1e\n  latents, absorbed: %.1e\n", to_expanded, to_absorbed);
  std::printf("values kept per token: %d as keys and values, %d as latents\n\n",
              kHeads * (kNope + kRope + kV), kRank + kRope);
  if (print_cache_sizes() != 0) return 1;
  return std::max(to_expanded, to_absorbed) < 1e-4F ? 0 : 1;
}
