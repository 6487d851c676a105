// Every step of the sampler against transformers' logits processors (tests/golden/README.md,
// sampling/processors.json).

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "sampling/sampler.h"
#include "support/paths.h"

namespace mla {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

class SamplingGolden : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream in(test::golden("sampling/processors.json"));
    ASSERT_TRUE(in.is_open());
    golden_ = nlohmann::json::parse(in);
  }
  std::vector<float> logits(const std::string& name) const {
    std::vector<float> values;
    for (const auto& v : golden_["logits"][name]) values.push_back(v.is_null() ? -kInf : v.get<float>());
    return values;
  }
  nlohmann::json golden_;
};

SamplingParams params_of(const nlohmann::json& steps) {
  SamplingParams p;
  p.temperature = 1.0F;
  const std::map<std::string, float*> numbers = {{"temperature", &p.temperature},
                                                 {"top_p", &p.top_p},
                                                 {"min_p", &p.min_p},
                                                 {"typical_p", &p.typical_p},
                                                 {"repetition_penalty", &p.repetition_penalty},
                                                 {"presence_penalty", &p.presence_penalty},
                                                 {"frequency_penalty", &p.frequency_penalty}};
  for (const auto& step : steps) {
    const std::string name = step.begin().key();
    const auto& value = step.begin().value();
    if (numbers.contains(name)) {
      *numbers.at(name) = value.get<float>();
    } else if (name == "top_k") {
      p.top_k = value.get<int32_t>();
    } else {
      EXPECT_EQ(name, "logit_bias");
      for (const auto& [token, bias] : value.items())
        p.logit_bias.emplace_back(std::stoi(token), bias.get<float>());
    }
  }
  return p;
}

/// Makes `history` the sampler's answer so far: logits that leave one choice force each token in turn.
Sampler after(const SamplingParams& params, const std::vector<int32_t>& history, size_t n_vocab) {
  Sampler sampler(params, static_cast<int64_t>(n_vocab));
  for (const int32_t token : history) {
    std::vector<float> forced(n_vocab, -kInf);
    forced[static_cast<size_t>(token)] = 0.0F;
    EXPECT_EQ(sampler.sample(forced).token, token);
  }
  return sampler;
}

TEST_F(SamplingGolden, EveryStepLeavesWhatTransformersLeaves) {
  const auto history = golden_["history"].get<std::vector<int32_t>>();
  for (const auto& c : golden_["cases"]) {
    SCOPED_TRACE(c["logits"].dump() + " " + c["steps"].dump());
    const std::vector<float> values = logits(c["logits"]);
    std::map<int32_t, double> ours;
    for (const TokenProbability& t :
         after(params_of(c["steps"]), history, values.size()).distribution(values))
      ours[t.token] = t.probability;

    const auto kept = c["kept"].get<std::vector<int32_t>>();
    const auto probabilities = c["probabilities"].get<std::vector<double>>();
    ASSERT_EQ(ours.size(), kept.size());
    for (size_t i = 0; i < kept.size(); ++i) {
      ASSERT_TRUE(ours.contains(kept[i])) << "token " << kept[i];
      // The parameters are f32 here and f64 there; the far logits (hundreds) magnify the difference.
      EXPECT_NEAR(ours[kept[i]], probabilities[i], 2e-5 * probabilities[i] + 1e-300) << "token " << kept[i];
    }
  }
  EXPECT_GT(golden_["cases"].size(), 100U);
}

TEST_F(SamplingGolden, LogProbabilitiesAreTheModelsOwn) {
  for (const auto& [name, expected] : golden_["log_probabilities"].items()) {
    SCOPED_TRACE(name);
    const auto ids = expected["top_ids"].get<std::vector<int32_t>>();
    const auto values = expected["top_log_probabilities"].get<std::vector<double>>();
    // None of these settings may change a log-probability.
    const SamplingParams params{.temperature = 0.3F,
                                .top_k = 2,
                                .logit_bias = {{ids[3], 1000.0F}},
                                .n_logprobs = static_cast<int32_t>(ids.size())};
    const SampledToken got = Sampler(params, 32).sample(logits(name));
    EXPECT_EQ(got.token, ids[3]);
    EXPECT_NEAR(got.logprob, values[3], 1e-6 * std::fabs(values[3]) + 1e-6);
    ASSERT_EQ(got.top.size(), ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(got.top[i].token, ids[i]);
      EXPECT_NEAR(got.top[i].logprob, values[i], 1e-6 * std::fabs(values[i]) + 1e-6);
    }
  }
}

}  // namespace
}  // namespace mla
