#include "cache/arithmetic.h"

#include <gtest/gtest.h>

#include <limits>

namespace mla {
namespace {

CacheDims dims_of(std::string_view name) {
  return find_named_model(name).value().dims;
}

const PublicFigure& figure(const std::vector<PublicFigure>& figures, std::string_view claim) {
  for (const PublicFigure& f : figures) {
    if (f.claim == claim) return f;
  }
  ADD_FAILURE() << "no figure " << claim;
  return figures.front();
}

TEST(CacheArithmetic, DeepSeekV3AgainstMhaIs57Times) {
  const CacheDims v3 = dims_of("DeepSeek-V3");
  const CacheCost mha = gqa_cache_cost(v3, v3.n_heads, RowFormat::kBF16).value();
  const CacheCost mla = mla_cache_cost(v3, RowFormat::kBF16).value();
  EXPECT_EQ(mha.scheme, "MHA");
  EXPECT_EQ(mha.bytes_per_token, 3997696);
  EXPECT_EQ(mha.formula, "61 layers x 128 KV heads x (128 + 128) x 2 B");
  EXPECT_EQ(mla.scheme, "MLA");
  EXPECT_EQ(mla.bytes_per_token, 70272);
  EXPECT_EQ(mla.elements_per_token, 35136);
  EXPECT_EQ(mla.formula, "61 layers x (512 + 64) x 2 B");

  const auto figures = public_figures();
  const FigureReading& plain = figure(figures, "56.9x").readings.at(0);
  EXPECT_EQ(plain.before, 3997696.0);
  EXPECT_EQ(plain.after, 70272.0);
  EXPECT_NEAR(plain.ratio(), 56.9, 0.05);
  const FigureReading& with_rope = figure(figures, "71.1x").readings.at(0);
  EXPECT_EQ(with_rope.before, 4997120.0);
  EXPECT_EQ(with_rope.after, 70272.0);
  EXPECT_NEAR(with_rope.ratio(), 71.1, 0.05);
}

TEST(CacheArithmetic, NinetyThreePercentNeedsMlaAndSixBits) {
  const CacheCost old = own_cache_cost(dims_of("DeepSeek-67B"), RowFormat::kBF16).value();
  EXPECT_EQ(old.scheme, "GQA-8");
  EXPECT_EQ(old.elements_per_token, 194560);
  EXPECT_EQ(old.bytes_per_token, 389120);
  const CacheCost latents = mla_cache_cost(dims_of("V2"), CacheFormat::average_bits(6)).value();
  EXPECT_EQ(latents.elements_per_token, 34560);
  EXPECT_EQ(latents.bytes_per_token, 25920);

  const auto figures = public_figures();
  const PublicFigure& f = figure(figures, "93.3 %");
  ASSERT_EQ(f.readings.size(), 3U);
  EXPECT_EQ(f.readings[0].before, 389120.0);
  EXPECT_EQ(f.readings[0].after, 25920.0);
  EXPECT_NEAR(f.readings[0].saving_percent(), 93.3, 0.05);
  EXPECT_EQ(f.readings[1].after, 60.0 * 400);
  EXPECT_NEAR(f.readings[1].saving_percent(), 93.8, 0.05) << "rows that run here";
  EXPECT_EQ(f.readings[2].after, 69120.0);
  EXPECT_NEAR(f.readings[2].saving_percent(), 82.2, 0.05) << "MLA alone";
}

TEST(CacheArithmetic, NinetyTwoPointEightMixesUnits) {
  const auto figures = public_figures();
  const PublicFigure& f = figure(figures, "92.8 %");
  ASSERT_EQ(f.readings.size(), 2U);
  EXPECT_EQ(f.readings[0].before, 480.0);
  EXPECT_EQ(f.readings[0].after, 34.56);
  EXPECT_NEAR(f.readings[0].saving_percent(), 92.8, 1e-9);
  EXPECT_EQ(f.readings[1].before, 491520.0);
  EXPECT_EQ(f.readings[1].after, 34560.0);
  EXPECT_NEAR(f.readings[1].saving_percent(), 92.97, 0.005) << "the same sizes, bytes on both sides";
}

TEST(CacheArithmetic, CountsWhatRowLayoutStores) {
  for (const NamedModel& model : named_models()) {
    const CacheDims& d = model.dims;
    for (const RowFormatInfo& info : row_formats()) {
      const RowFormat format = info.format;
      for (int64_t n_kv_heads : {int64_t{1}, int64_t{3}, d.n_heads}) {
        EXPECT_EQ(gqa_cache_cost(d, n_kv_heads, format).value().bytes_per_token,
                  d.n_layers * RowLayout::gqa(format, n_kv_heads, d.d_k, d.d_v).row_bytes())
            << model.name << ", " << n_kv_heads << " KV heads, " << row_format_name(format);
      }
      if (!d.has_mla()) continue;
      EXPECT_EQ(mla_cache_cost(d, format).value().bytes_per_token,
                d.n_layers * RowLayout::mla(format, d.kv_rank, d.d_rope).row_bytes())
          << model.name;
    }
  }
  // 512 one-byte latents and one f32 scale, 64 bf16: 644 bytes a layer.
  const CacheCost int8 = mla_cache_cost(dims_of("V3"), RowFormat::kInt8).value();
  EXPECT_EQ(int8.bytes_per_token, 61 * 644);
  EXPECT_EQ(int8.formula, "61 layers x (512 x 1 B + 64 x 2 B + 4 B of scale and padding)");
  // 61 x (8 scales of 2 bytes, 512 x 6 or 4 bits, 64 bf16).
  EXPECT_EQ(mla_cache_cost(dims_of("V3"), RowFormat::kInt6).value().bytes_per_token, 61 * (16 + 384 + 128));
  const CacheCost int4 = mla_cache_cost(dims_of("V3"), RowFormat::kInt4).value();
  EXPECT_EQ(int4.bytes_per_token, 61 * (16 + 256 + 128));
  EXPECT_EQ(int4.formula, "61 layers x (512 x 4 bits / 8 + 64 x 2 B + 16 B of scale and padding)");
  const CacheCost odd = gqa_cache_cost({1, 2, 2, 5, 7, 0, 0}, 2, RowFormat::kInt8).value();
  EXPECT_EQ(odd.bytes_per_token, 2 * (8 + 8 + 4 + 4)) << "5 and 7 bytes padded to 8, a scale each";
}

// What a formula says, worked out, is what the row takes.
TEST(CacheArithmetic, FormulasNameEveryByte) {
  const CacheDims dims{3, 2, 2, 5, 7, 9, 1};
  const auto gqa = [&](RowFormat f) { return gqa_cache_cost(dims, 2, f).value(); };
  EXPECT_EQ(gqa(RowFormat::kF32).formula, "3 layers x 2 KV heads x (5 + 7) x 4 B");
  EXPECT_EQ(gqa(RowFormat::kF32).bytes_per_token, 3 * 2 * 12 * 4);
  EXPECT_EQ(gqa(RowFormat::kBF16).formula,
            "3 layers x 2 KV heads x (5 + 7) x 2 B + 8 B of scales and padding a layer");
  EXPECT_EQ(gqa(RowFormat::kBF16).bytes_per_token, 3 * (2 * 12 * 2 + 8));
  EXPECT_EQ(gqa(RowFormat::kInt8).formula,
            "3 layers x 2 KV heads x (5 + 7) x 1 B + 24 B of scales and padding a layer");
  EXPECT_EQ(gqa(RowFormat::kInt8).bytes_per_token, 3 * (2 * 12 + 24));
  const auto mla = [&](CacheFormat f) { return mla_cache_cost(dims, f).value(); };
  EXPECT_EQ(mla(RowFormat::kBF16).formula, "3 layers x (9 x 2 B + 1 x 2 B + 4 B of scale and padding)");
  EXPECT_EQ(mla(RowFormat::kBF16).bytes_per_token, 3 * (18 + 2 + 4));
  EXPECT_EQ(mla(RowFormat::kInt8).formula, "3 layers x (9 x 1 B + 1 x 2 B + 9 B of scale and padding)");
  EXPECT_EQ(mla(RowFormat::kInt8).bytes_per_token, 3 * (9 + 2 + 9));
  EXPECT_EQ(mla(RowFormat::kInt4).formula, "3 layers x (9 x 4 bits / 8 + 1 x 2 B + 17 B of scale and padding)");
  EXPECT_EQ(mla(RowFormat::kInt4).bytes_per_token, 3 * (4 + 16 + 4)) << "a scale and a block of 32, each to 4 bytes";
  EXPECT_EQ(mla(CacheFormat::average_bits(6)).formula, "3 layers x (9 + 1) x 6 bits / 8");
  EXPECT_EQ(mla(CacheFormat::average_bits(6)).bytes_per_token, 23) << "22.5 bytes, rounded up";
}

TEST(CacheArithmetic, KnowsTheModelsByTheirUsualNames) {
  EXPECT_EQ(named_models().size(), 19U);
  EXPECT_EQ(find_named_model("deepseek_v3").value().name, "DeepSeek-V3");
  EXPECT_EQ(find_named_model("r1").value().name, "DeepSeek-V3");
  EXPECT_EQ(find_named_model("v2 lite").value().name, "DeepSeek-V2-Lite");
  EXPECT_EQ(find_named_model("gpt2").value().name, "GPT-2");
  EXPECT_EQ(find_named_model("llama-3-70b").value().name, "Llama-3-70B");
  const auto unknown = find_named_model("gpt-5");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().kind, ErrorKind::kUsage);
  EXPECT_NE(unknown.error().message.find("Kimi-K2"), std::string::npos);
}

TEST(CacheArithmetic, BytesOfKnownModels) {
  const auto own = [](std::string_view name) {
    return own_cache_cost(dims_of(name), RowFormat::kBF16).value().bytes_per_token;
  };
  EXPECT_EQ(own("V2-Lite"), 27 * 576 * 2);
  EXPECT_EQ(own("Kimi-K2"), 70272);
  EXPECT_EQ(own("GPT-2"), 36864);         // 12 x 2 x 768 x 2 B
  EXPECT_EQ(own("GPT-2-XL"), 307200);     // 48 x 2 x 1600 x 2 B
  EXPECT_EQ(own("Llama-2-7B"), 524288);   // 512 KiB
  EXPECT_EQ(own("Llama-3-8B"), 131072);   // 128 KiB
  EXPECT_EQ(own("Llama-3-70B"), 327680);  // 320 KiB
  EXPECT_EQ(own("Falcon-7B"), 8192);      // 32 x 2 x 64 x 2 B
  EXPECT_EQ(own_cache_cost(dims_of("Falcon-7B"), RowFormat::kBF16).value().scheme, "MQA");
}

TEST(CacheArithmetic, RefusesDimensionsThatCannotBe) {
  const CacheDims v3 = dims_of("V3");
  for (int64_t n : {int64_t{0}, int64_t{-8}, int64_t{129}}) {
    const auto cost = gqa_cache_cost(v3, n, RowFormat::kBF16);
    ASSERT_FALSE(cost.ok()) << n;
    EXPECT_EQ(cost.error().kind, ErrorKind::kUsage);
    EXPECT_NE(cost.error().message.find(std::to_string(n)), std::string::npos) << cost.error().message;
  }
  EXPECT_FALSE(mla_cache_cost(dims_of("GPT-2"), RowFormat::kBF16).ok()) << "a model without latents";
  for (double bits : {0.0, -1.0, 65.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_FALSE(mla_cache_cost(v3, CacheFormat::average_bits(bits)).ok()) << bits;
  }
  CacheDims bad = v3;
  bad.n_layers = 0;
  EXPECT_FALSE(mla_cache_cost(bad, RowFormat::kBF16).ok());
  bad = v3;
  bad.kv_rank = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(mla_cache_cost(bad, RowFormat::kBF16).ok());
  bad = {1 << 24, 1 << 24, 1, 1 << 24, 1 << 24, 0, 0};
  EXPECT_FALSE(gqa_cache_cost(bad, 1 << 24, RowFormat::kF32).ok()) << "2^73 elements";
  EXPECT_FALSE(gqa_cache_cost(bad, 1 << 13, CacheFormat::average_bits(64)).ok())
      << "2^62 elements, 2^65 bytes";
  EXPECT_FALSE(gqa_cache_cost(bad, 1 << 13, RowFormat::kF32).ok());
  // The largest that a file may describe, in its longest context: refused, so that nothing overflows later.
  bad = {1024, 1 << 14, 1 << 14, 1 << 14, 1 << 14, 0, 0};
  EXPECT_FALSE(own_cache_cost(bad, RowFormat::kF32).ok());
  bad = {1023, 1 << 11, 1 << 11, 1 << 9, 1 << 9, 0, 0};
  const CacheCost large = own_cache_cost(bad, RowFormat::kBF16).value();
  EXPECT_EQ(large.bytes(int64_t{1} << 31), large.bytes_per_token << 31);
  EXPECT_GT(large.bytes(int64_t{1} << 31), 0);
}

}  // namespace
}  // namespace mla
