#include "model/synth/attention_variants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/thread_pool.h"
#include "model/model.h"
#include "model/synth/synth.h"

namespace mla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<AttentionVariant> variants_of(const char* shape, SameSize same = SameSize::kFeedForward) {
  return attention_variants(find_shape(shape).value(), same).value();
}

std::vector<std::string> names_of(const std::vector<AttentionVariant>& variants) {
  std::vector<std::string> names;
  for (const AttentionVariant& v : variants) names.push_back(v.name);
  return names;
}

TEST(AttentionVariants, DifferInAttentionAlone) {
  const ModelShape lite = find_shape("deepseek-v2-lite").value();
  const std::vector<AttentionVariant> variants = variants_of("deepseek-v2-lite");
  ASSERT_THAT(names_of(variants), ElementsAre("MHA", "GQA-8", "MQA", "MLA"));
  for (const AttentionVariant& v : variants) {
    SCOPED_TRACE(v.name);
    EXPECT_EQ(v.shape.dims.n_layers, 27);
    EXPECT_EQ(v.shape.dims.n_heads, 16);
    EXPECT_EQ(v.shape.d_model, lite.d_model);
    EXPECT_EQ(v.shape.d_ff, lite.d_ff);
    EXPECT_EQ(v.shape.n_vocab, lite.n_vocab);
    EXPECT_EQ(v.shape.experts.n, 0);
  }
  EXPECT_EQ(variants[0].shape.dims.n_kv_heads, 16);
  EXPECT_EQ(variants[1].shape.dims.n_kv_heads, 8);
  EXPECT_EQ(variants[2].shape.dims.n_kv_heads, 1);
  EXPECT_TRUE(variants[3].shape.dims.has_mla());
}

TEST(AttentionVariants, CountParametersByTheFormulasOfTheirProjections) {
  const std::vector<AttentionVariant> variants = variants_of("deepseek-v2-lite");
  const int64_t d = 2048, layers = 27, heads = 16 * 128;
  const int64_t outside = 2 * 102400 * d + d + layers * (2 * d + 3 * d * 10944);  // embedding, head, norms, feed-forward
  EXPECT_EQ(variants[0].n_parameters, outside + layers * 4 * d * heads);
  EXPECT_EQ(variants[1].n_parameters, outside + layers * (2 * d * heads + 2 * d * 8 * 128));
  EXPECT_EQ(variants[2].n_parameters, outside + layers * (2 * d * heads + 2 * d * 128));
  EXPECT_EQ(variants[3].n_parameters,
            outside + layers * (d * 16 * 192 + d * 576 + 512 + 2 * 512 * heads + heads * d));
}

TEST(AttentionVariants, CanHaveTheSameNumberOfParameters) {
  for (const char* shape : {"deepseek-v2-lite", "deepseek-v3", "tiny-mla"}) {
    const std::vector<AttentionVariant> before = variants_of(shape), after = variants_of(shape, SameSize::kParameters);
    int64_t most = 0;
    for (const AttentionVariant& v : before) most = std::max(most, v.n_parameters);
    for (size_t i = 0; i < after.size(); ++i) {
      SCOPED_TRACE(std::string(shape) + " " + after[i].name);
      EXPECT_NEAR(static_cast<double>(after[i].n_parameters) / static_cast<double>(most), 1.0, 0.015);
      EXPECT_GE(after[i].shape.d_ff, before[i].shape.d_ff);
    }
    EXPECT_GT(after[2].shape.d_ff, before[2].shape.d_ff) << "MQA has the smallest projections";
  }
}

TEST(AttentionVariants, TakeGroupsThatDivideTheHeads) {
  EXPECT_THAT(names_of(variants_of("glm-4.7-flash")), ElementsAre("MHA", "GQA-5", "MQA", "MLA")) << "20 heads";
  EXPECT_THAT(names_of(variants_of("tiny-mla")), ElementsAre("MHA", "GQA-2", "MQA", "MLA")) << "4 heads";
  ModelShape prime = find_shape("tiny-mla").value();
  prime.dims.n_heads = prime.dims.n_kv_heads = 3;
  EXPECT_THAT(names_of(attention_variants(prime, SameSize::kFeedForward).value()), ElementsAre("MHA", "MQA", "MLA"));
}

TEST(AttentionVariants, NeedALatent) {
  const auto variants = attention_variants(find_shape("llama-3-8b").value(), SameSize::kFeedForward);
  ASSERT_FALSE(variants.ok());
  EXPECT_EQ(variants.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(variants.error().message, HasSubstr("llama-3-8b has no latent attention"));
}

// What the arithmetic says about the caches must be what the loaded models do.
TEST(AttentionVariants, LoadWithTheRowsThatTheArithmeticCounts) {
  ThreadPool threads(1);
  for (const char* shape : {"tiny-mla", "tiny-mla-lite"}) {
    for (const AttentionVariant& v : variants_of(shape)) {
      SCOPED_TRACE(std::string(shape) + " " + v.name);
      const SynthPlan plan = plan_synth(v.shape, DType::kQ8_0, 1).value();
      EXPECT_EQ(plan.n_parameters(), v.n_parameters);
      const std::unique_ptr<Backend> backend = make_reference_backend();
      const auto model = Model::load(make_synth_checkpoint(plan, threads).value(), *backend);
      ASSERT_TRUE(model.ok()) << model.error().message;
      const Config& c = model.value()->config();
      EXPECT_EQ(c.n_layers * c.row_layout(RowFormat::kBF16).row_bytes(),
                own_cache_cost(v.shape.dims, RowFormat::kBF16).value().bytes_per_token);
    }
  }
}

}  // namespace
}  // namespace mla
