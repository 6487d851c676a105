// What docs/seeds.md promises, on the model that ships and the processor's own kernels.

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "base/cpu_features.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "support/paths.h"

namespace mla {
namespace {

class Seeds : public testing::TestWithParam<std::tuple<Isa, RowFormat>> {
 protected:
  struct Answer {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
    bool operator==(const Answer&) const = default;
  };

  void SetUp() override {
    backend_ = make_cpu_backend({.n_threads = 2, .isa = std::get<0>(GetParam())}).value();
    auto model = Model::load(test::source_dir() / "models" / "mla-default.gguf", *backend_);
    ASSERT_TRUE(model.ok()) << model.error().message;
    model_ = std::move(*model);
  }
  static std::vector<int32_t> ids(int64_t n, int64_t from) {
    std::vector<int32_t> result;
    for (int64_t i = 0; i < n; ++i) result.push_back(static_cast<int32_t>(300 + (from + i * i * 7) % 3000));
    return result;
  }
  /// One request beside `n_mates` others.
  Answer answer(const SamplingParams& sampling, int64_t chunk, int n_mates) {
    const auto engine = Engine::create(model_, {.cache_format = std::get<1>(GetParam()),
                                                .max_tokens = 8192,
                                                .chunk = chunk,
                                                .share_prefixes = false})
                            .value();
    for (int i = 0; i < n_mates; ++i)
      EXPECT_TRUE(engine->submit({.prompt = ids(10 + 5 * i, i), .max_new_tokens = 30}).ok());
    Answer got;
    Request request{.prompt = ids(90, 11), .sampling = sampling, .max_new_tokens = 24};
    request.sampling.n_logprobs = 0;
    request.on_token = [&](const SampledToken& t) {
      got.tokens.push_back(t.token);
      got.logprobs.push_back(t.logprob);
      return true;
    };
    EXPECT_TRUE(engine->submit(std::move(request)).ok());
    while (engine->busy()) EXPECT_TRUE(engine->step().ok());
    return got;
  }

  std::unique_ptr<Backend> backend_;
  std::shared_ptr<const Model> model_;
};

TEST_P(Seeds, TheSameScheduleGivesTheSameBits) {
  const SamplingParams sampling{.temperature = 0.8F, .top_p = 0.9F, .seed = 5};
  const Answer alone = answer(sampling, 512, 0), beside = answer(sampling, 32, 9);
  EXPECT_EQ(answer(sampling, 512, 0), alone);
  EXPECT_EQ(answer(sampling, 32, 9), beside);
  SamplingParams other = sampling;
  other.seed = 6;
  EXPECT_NE(answer(other, 512, 0).tokens, alone.tokens);
}

TEST_P(Seeds, AnotherScheduleDiffersByRoundingAlone) {
  const Answer alone = answer({}, 512, 0), beside = answer({}, 32, 9);
  ASSERT_EQ(alone.tokens.size(), beside.tokens.size());
  for (size_t i = 0; i < alone.tokens.size() && alone.tokens[i] == beside.tokens[i]; ++i)
    EXPECT_NEAR(alone.logprobs[i], beside.logprobs[i], 0.03) << "token " << i;
  EXPECT_EQ(alone.tokens.front(), beside.tokens.front());
}

INSTANTIATE_TEST_SUITE_P(OfThisMachine, Seeds,
                         testing::Combine(testing::ValuesIn(available_isas()),
                                          testing::Values(RowFormat::kF32, RowFormat::kBF16)),
                         [](const auto& info) {
                           return std::string(isa_name(std::get<0>(info.param))) +
                                  (std::get<1>(info.param) == RowFormat::kF32 ? "_f32" : "_bf16");
                         });

}  // namespace
}  // namespace mla
