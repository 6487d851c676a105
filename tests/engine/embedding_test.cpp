// Requests for embeddings: on the fake model exactly, on real ones against transformers' last_hidden_state.

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "engine/engine.h"
#include "support/fake_model.h"
#include "support/golden.h"
#include "support/paths.h"

namespace mla {
namespace {

using test::fake_embedding;
using test::FakeModel;

class EmbeddingTest : public testing::Test {
 protected:
  void make(EngineOptions options) {
    options.cache_format = RowFormat::kF32;
    auto engine = Engine::create(fake_.model, options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
  }
  SequenceId submit(std::vector<int32_t> ids, Pooling pooling, std::vector<float>& out) {
    Request request{.prompt = std::move(ids), .max_new_tokens = 0, .pooling = pooling};
    request.on_embedding = [&out](std::span<const float> values) {
      EXPECT_TRUE(out.empty()) << "called twice";
      out.assign(values.begin(), values.end());
    };
    const auto id = engine_->submit(std::move(request));
    EXPECT_TRUE(id.ok()) << (id.ok() ? "" : id.error().message);
    return id.ok() ? *id : 0;
  }
  int64_t run() {
    int64_t n_preemptions = 0;
    while (engine_->busy()) {
      const auto report = engine_->step();
      EXPECT_TRUE(report.ok());
      n_preemptions += report->n_preemptions;
    }
    return n_preemptions;
  }
  std::vector<int32_t> random_ids(int64_t n) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i)
      ids.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(fake_.config.n_vocab)));
    return ids;
  }
  /// Sums in another order differ by rounding.
  void expect_near(const std::vector<float>& got, const std::vector<float>& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-4F) << i;
  }

  std::mt19937_64 random_{3};
  FakeModel fake_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(EmbeddingTest, PoolsTheLastTokenOrAllInChunksOfAnySize) {
  for (const int64_t chunk : {1, 7, 64, 500}) {
    make({.max_tokens = 1000, .chunk = chunk, .max_batch_tokens = 500, .share_prefixes = false});
    for (const int64_t n : {int64_t{1}, kPageRows, int64_t{150}}) {
      const auto ids = random_ids(n);
      std::vector<float> last, mean;
      const SequenceId id = submit(ids, Pooling::kLast, last);
      submit(ids, Pooling::kMean, mean);
      run();
      EXPECT_EQ(last, fake_embedding(fake_.config, ids, false)) << n << " tokens, chunk " << chunk;
      expect_near(mean, fake_embedding(fake_.config, ids, true));
      EXPECT_EQ(engine_->status(id)->reason, FinishReason::kStop);
      EXPECT_EQ(engine_->status(id)->n_generated, 0);
    }
    EXPECT_EQ(engine_->cache().n_used(), 0);
  }
}

TEST_F(EmbeddingTest, TakesNoMoreOfAStepThanAPromptWhileOthersAnswer) {
  make({.max_tokens = 4000, .chunk = 64, .prefill_budget = 16, .max_batch_tokens = 128});
  int n_tokens = 0;
  Request request{.prompt = {1, 2, 3}, .max_new_tokens = 200};
  request.on_token = [&](const SampledToken&) { return ++n_tokens > 0; };
  ASSERT_TRUE(engine_->submit(std::move(request)).ok());
  ASSERT_TRUE(engine_->step().ok());
  const auto ids = random_ids(600);
  std::vector<float> mean;
  submit(ids, Pooling::kMean, mean);
  while (mean.empty()) {
    const int before = n_tokens;
    const auto report = engine_->step();
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(n_tokens, before + 1);
    EXPECT_LE(report->n_prompt_tokens, 16);
  }
  EXPECT_EQ(n_tokens, 1 + (600 + 15) / 16);
  expect_near(mean, fake_embedding(fake_.config, ids, true));
  run();
}

TEST_F(EmbeddingTest, SharedPagesServeTheLastTokenButNotAMean) {
  make({.max_tokens = 4000});
  const auto ids = random_ids(3 * kPageRows + 5);
  std::vector<float> first, last, mean;
  submit(ids, Pooling::kMean, first);
  run();
  const SequenceId a = submit(ids, Pooling::kLast, last), b = submit(ids, Pooling::kMean, mean);
  run();
  EXPECT_EQ(engine_->status(a)->n_cached, 3 * kPageRows);
  EXPECT_EQ(engine_->status(b)->n_cached, 0);
  EXPECT_EQ(last, fake_embedding(fake_.config, ids, false));
  EXPECT_EQ(mean, first);
}

TEST_F(EmbeddingTest, APreemptedMeanCountsNoTokenTwice) {
  make({.max_tokens = 8 * kPageRows, .chunk = 32, .prefill_budget = 32, .max_batch_tokens = 64});
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> means(4);
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(engine_->submit({.prompt = random_ids(20), .max_new_tokens = 250}).ok());
  for (std::vector<float>& mean : means) {
    texts.push_back(random_ids(4 * kPageRows));
    submit(texts.back(), Pooling::kMean, mean);
  }
  EXPECT_GT(run(), 0);
  for (size_t i = 0; i < means.size(); ++i)
    expect_near(means[i], fake_embedding(fake_.config, texts[i], true));
}

TEST_F(EmbeddingTest, FillsTheContextAndTheCacheAndNoMore) {
  make({.max_tokens = 2 * kPageRows});
  std::vector<float> last;
  const auto ids = random_ids(2 * kPageRows);
  submit(ids, Pooling::kLast, last);
  run();
  EXPECT_EQ(last, fake_embedding(fake_.config, ids, false));
  const auto refused = engine_->submit({.prompt = random_ids(2 * kPageRows + 1), .pooling = Pooling::kLast});
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("the text has 129 tokens"), std::string::npos)
      << refused.error().message;
}

TEST_F(EmbeddingTest, CancelledMidwayCallsNobody) {
  make({.max_tokens = 1000, .chunk = 16, .share_prefixes = false});
  std::vector<float> mean;
  const SequenceId id = submit(random_ids(100), Pooling::kMean, mean);
  ASSERT_TRUE(engine_->step().ok());
  engine_->cancel(id);
  run();
  EXPECT_TRUE(mean.empty());
  EXPECT_EQ(engine_->cache().n_used(), 0);
}

class EmbeddingModel : public testing::TestWithParam<const char*> {};

TEST_P(EmbeddingModel, MatchesTransformersLastHiddenState) {
  const std::string folder = std::string("models/") + GetParam();
  const auto backend = make_reference_backend();
  const auto model = Model::load(test::golden(folder), *backend);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto golden = test::Golden::load(folder + "/hidden.safetensors");
  const auto ids = golden.i32("ids");
  const auto hidden = golden.f32("hidden");  // [n_tokens, d_model]
  const size_t d_model = hidden.size() / ids.size();
  const auto engine = Engine::create(*model, {.cache_format = RowFormat::kF32, .chunk = 5}).value();

  float range = 0.0F;
  for (const float h : hidden) range = std::max(range, std::abs(h));
  for (const size_t n : {size_t{1}, size_t{5}, ids.size()}) {
    std::vector<float> mean(d_model);
    for (size_t i = 0; i < n * d_model; ++i) mean[i % d_model] += hidden[i] / static_cast<float>(n);
    for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
      std::vector<float> got;
      Request request{.prompt = {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n)},
                      .pooling = pooling};
      request.on_embedding = [&](std::span<const float> values) { got.assign(values.begin(), values.end()); };
      ASSERT_TRUE(engine->submit(std::move(request)).ok());
      while (engine->busy()) ASSERT_TRUE(engine->step().ok());
      ASSERT_EQ(got.size(), d_model);
      for (size_t i = 0; i < d_model; ++i) {
        const float want = pooling == Pooling::kMean ? mean[i] : hidden[(n - 1) * d_model + i];
        EXPECT_NEAR(got[i], want, 1e-4F * range) << "dimension " << i << " of " << n << " tokens";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, EmbeddingModel,
                         testing::Values("deepseek_v2_lite", "llama_gqa", "gpt2", "falcon_7b"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace mla
