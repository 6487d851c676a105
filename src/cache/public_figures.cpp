#include <fmt/format.h>

#include "cache/arithmetic.h"

namespace mla {
namespace {

CacheDims dims_of(std::string_view name) {
  return find_named_model(name).value().dims;
}

FigureReading compare(std::string assumptions, const CacheCost& before, const CacheCost& after) {
  return {std::move(assumptions),
          fmt::format("{}: {}; {}: {}", before.scheme, before.formula, after.scheme, after.formula),
          static_cast<double>(before.bytes_per_token), static_cast<double>(after.bytes_per_token), "B/token"};
}

PublicFigure v3_against_mha(std::string claim, KeyWidth keys, std::string assumptions) {
  const CacheDims v3 = dims_of("DeepSeek-V3");
  const CacheCost mha = gqa_cache_cost(v3, v3.n_heads, RowFormat::kBF16, keys).value();
  const CacheCost mla = mla_cache_cost(v3, RowFormat::kBF16).value();
  return {std::move(claim),
          "DeepSeek-V3: the cache of MHA with the same heads over the latent cache",
          {compare(std::move(assumptions), mha, mla)}};
}

/// DeepSeek-V2 report, abstract and section 3.2.3: "reduces the KV cache by 93.3%" compares two models.
PublicFigure v2_against_67b() {
  const CacheDims v2 = dims_of("DeepSeek-V2"), old = dims_of("DeepSeek-67B");
  const CacheCost before = own_cache_cost(old, RowFormat::kBF16).value();
  return {"93.3 %",
          "DeepSeek-V2 saves 93.3 % of DeepSeek-67B's cache (DeepSeek-V2 report)",
          {compare("DeepSeek-67B (95 layers, GQA with 8 KV heads of 128) at 16 bits; V2's latents quantised "
                   "to 6 bits on average, as "
                   "its deployment did: MLA and quantisation together",
                   before, mla_cache_cost(v2, CacheFormat::average_bits(6)).value()),
           compare("DeepSeek-67B at 16 bits; V2 with this engine's int4 rows, which are 5.6 bits on average: 4-bit latents, their "
                   "scales, and the RoPE part in bf16 (--cache int4)",
                   before, mla_cache_cost(v2, RowFormat::kInt4).value()),
           compare("both at 16 bits: MLA alone, between two models that differ in layers and heads", before,
                   mla_cache_cost(v2, RowFormat::kBF16).value())}};
}

/// The configuration class published with DeepSeek-V2 has defaults (30 layers, 32 heads of 128) that belong
/// to no released model; kv_lora_rank 512 and qk_rope_head_dim 64 are the real ones.
PublicFigure configuration_defaults() {
  const CacheDims defaults{30, 32, 32, 128, 128, 512, 64};
  const CacheCost mha = gqa_cache_cost(defaults, 32, RowFormat::kBF16).value();  // 491,520 B = 480 KiB
  const CacheCost mla = mla_cache_cost(defaults, RowFormat::kBF16).value();      // 34,560 B
  const int64_t v2_elements =
      mla_cache_cost(dims_of("DeepSeek-V2"), RowFormat::kBF16).value().elements_per_token;  // 34,560 too
  const FigureReading mixed{fmt::format("MHA of the defaults as {} B / 1024 = 480 (KiB); the latents as {} / "
                                        "1000 = 34.56, which are the elements of the real "
                                        "60-layer V2 and, by coincidence, the bytes of the 30-layer default: "
                                        "bytes against elements, 1024 against 1000",
                                        mha.bytes_per_token, v2_elements),
                            "1 - 34.56 / 480", static_cast<double>(mha.bytes_per_token) / 1024.0,
                            static_cast<double>(v2_elements) / 1000.0, "K (mixed units)"};
  return {"92.8 %",
          "the configuration file's default sizes (30 layers, 32 heads of 128), which no released model has",
          {mixed, compare("the same defaults, bytes on both sides", mha, mla)}};
}

}  // namespace

std::vector<PublicFigure> public_figures() {
  return {v3_against_mha("56.9x", KeyWidth::kWithoutRope,
                         "16 bits; keys of 128, without the 64 RoPE dimensions that MLA adds to them"),
          v3_against_mha("71.1x", KeyWidth::kWithRope,
                         "16 bits; keys of 128 + 64, as the expanded form would cache them"),
          v2_against_67b(), configuration_defaults()};
}

}  // namespace mla
