#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <string>

namespace mla {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(size_t n, uint32_t seed, float spread = 3.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::vector<float> logits(n);
  for (float& l : logits) l = spread * normal(random);
  return logits;
}

std::map<int32_t, double> distribution_of(const SamplingParams& params, const std::vector<float>& logits) {
  std::map<int32_t, double> result;
  for (const TokenProbability& t :
       Sampler(params, static_cast<int64_t>(logits.size())).distribution(logits)) {
    result[t.token] = t.probability;
  }
  return result;
}

// -- greedy and odd logits

TEST(Sampler, GreedyTakesTheHighestAndTheLowestIdOfEquals) {
  Sampler sampler({}, 5);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2, 3, 3}).token, 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-7, -7, -7, -7, -7}).token, 0);
}

TEST(Sampler, NaNIsNeverChosen) {
  const std::vector<float> logits = {kNaN, -5.0F, kNaN, -4.0F};
  EXPECT_EQ(Sampler({}, 4).sample(logits).token, 3);
  const auto possible = distribution_of({.temperature = 1.0F}, logits);
  ASSERT_EQ(possible.size(), 2U);
  EXPECT_NEAR(possible.at(3), 1.0 / (1.0 + std::exp(-1.0)), 1e-12);
}

TEST(Sampler, AllImpossibleGivesTokenZero) {
  for (const std::vector<float>& logits :
       {std::vector<float>{-kInf, -kInf, -kInf}, std::vector<float>{kNaN, kNaN, -kInf}}) {
    for (const float temperature : {0.0F, 1.0F}) {
      const SampledToken got =
          Sampler({.temperature = temperature, .top_p = 0.9F, .n_logprobs = 2}, 3).sample(logits);
      EXPECT_EQ(got.token, 0);
      EXPECT_EQ(got.logprob, -kInf);
      EXPECT_TRUE(got.top.empty());
    }
  }
}

TEST(Sampler, InfiniteAndHugeLogitsTakeAllTheMass) {
  const auto possible = distribution_of({.temperature = 1.0F, .top_p = 0.9F}, {1.0F, kInf, 3.0F, kInf});
  ASSERT_EQ(possible.size(), 2U);
  EXPECT_EQ(possible.at(1), 0.5);
  EXPECT_EQ(possible.at(3), 0.5);
  EXPECT_EQ(distribution_of({.temperature = 1e-30F}, {1.0F, 1e30F, -1e30F}).at(1), 1.0);
}

TEST(Sampler, LogitBiasBansAndForces) {
  const std::vector<float> logits = {0, 1, 9, 2};
  EXPECT_EQ(Sampler({.logit_bias = {{2, -kInf}}}, 4).sample(logits).token, 3);
  EXPECT_EQ(Sampler({.logit_bias = {{0, 100.0F}}}, 4).sample(logits).token, 0);
}

TEST(Sampler, RepetitionPenaltyReadsThePromptOthersTheAnswer) {
  const std::vector<float> logits = {2.0F, 1.9F, -1.0F};
  const std::vector<int32_t> prompt = {0};
  Sampler repetition({.repetition_penalty = 1.5F}, 3);
  EXPECT_EQ(repetition.sample(logits).token, 0);
  EXPECT_EQ(repetition.sample(logits).token, 1) << "0 was said: 2 / 1.5";
  Sampler from_prompt({.repetition_penalty = 1.5F}, 3);
  from_prompt.observe_prompt(prompt);
  EXPECT_EQ(from_prompt.sample(logits).token, 1);
  Sampler presence({.presence_penalty = 0.5F}, 3);
  presence.observe_prompt(prompt);
  EXPECT_EQ(presence.sample(logits).token, 0) << "the prompt does not count";
  EXPECT_EQ(presence.sample(logits).token, 1);
}

TEST(Sampler, FrequencyPenaltyGrowsWithEveryOccurrence) {
  Sampler sampler({.frequency_penalty = 0.5F}, 2);
  const std::vector<float> logits = {1.2F, 0.0F};
  std::vector<int32_t> said;
  for (int i = 0; i < 5; ++i) said.push_back(sampler.sample(logits).token);
  EXPECT_EQ(said, (std::vector<int32_t>{0, 0, 0, 1, 0})) << "1.2, 0.7, 0.2, -0.3; then -0.3 against -0.5";
}

TEST(Sampler, LogProbabilitiesOnlyWhenAskedFor) {
  const std::vector<float> logits = {1.0F, 1.0F, 0.0F};
  EXPECT_EQ(Sampler({}, 3).sample(logits).logprob, 0.0F);
  const SampledToken choice = Sampler({.n_logprobs = 0}, 3).sample(logits);
  EXPECT_NEAR(choice.logprob, -std::log(2.0 + std::exp(-1.0)), 1e-6);
  EXPECT_TRUE(choice.top.empty());
  const SampledToken all = Sampler({.n_logprobs = 3}, 3).sample(logits);
  ASSERT_EQ(all.top.size(), 3U);
  for (int32_t i = 0; i < 3; ++i)
    EXPECT_EQ(all.top[static_cast<size_t>(i)].token, i) << "equal ones in order of id";
}

// -- thresholds against full sorting

/// The plain way: sort everything, cut, normalise.
std::map<int32_t, double> sorted_reference(const SamplingParams& p, const std::vector<float>& logits) {
  std::vector<std::pair<float, int32_t>> order;
  for (size_t i = 0; i < logits.size(); ++i) order.emplace_back(-logits[i], static_cast<int32_t>(i));
  std::sort(order.begin(), order.end());
  if (p.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(p.top_k)));
  std::vector<double> weight;
  for (const auto& [minus, id] : order)
    weight.push_back(std::exp((static_cast<double>(order[0].first) - minus) / p.temperature));
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  size_t n = 0;
  for (double sum = 0.0; n < weight.size() && (n == 0 || (sum < p.top_p * total && weight[n] >= p.min_p));
       ++n)
    sum += weight[n];
  const double kept = std::accumulate(weight.begin(), weight.begin() + static_cast<std::ptrdiff_t>(n), 0.0);
  std::map<int32_t, double> result;
  for (size_t i = 0; i < n; ++i) result[order[i].second] = weight[i] / kept;
  return result;
}

TEST(Sampler, PartialSelectionEqualsFullSort) {
  const std::vector<SamplingParams> settings = {
      {.temperature = 0.7F, .top_p = 0.9F},  {.temperature = 1.3F, .top_p = 0.999F},
      {.temperature = 1.0F, .top_p = 0.0F},  {.temperature = 1.0F, .top_p = 0.5F, .min_p = 0.1F},
      {.temperature = 1.0F, .min_p = 0.05F}, {.temperature = 0.8F, .top_k = 40, .top_p = 0.95F}};
  uint32_t seed = 0;
  for (const size_t n_vocab : {1U, 2U, 63U, 1000U, 20000U}) {
    for (const float spread : {0.0F, 0.01F, 1.0F, 4.0F, 50.0F}) {
      const std::vector<float> logits = random_logits(n_vocab, ++seed, spread);
      for (const SamplingParams& p : settings) {
        if (spread < 1.0F && p.top_k > 0) continue;  // ties at the k-th: the next test
        SCOPED_TRACE(std::to_string(n_vocab) + " tokens, spread " + std::to_string(spread) + ", top_p " +
                     std::to_string(p.top_p));
        const auto expected = sorted_reference(p, logits), got = distribution_of(p, logits);
        // Where thousands of equal weights are summed, rounding may decide about the last one.
        ASSERT_NEAR(static_cast<double>(got.size()), static_cast<double>(expected.size()),
                    spread == 0.0F ? 1.0 : 0.0);
        if (spread == 0.0F) continue;
        for (const auto& [id, probability] : expected) ASSERT_NEAR(got.at(id), probability, 1e-9) << id;
      }
    }
  }
}

TEST(Sampler, TopKKeepsAllThatEqualTheLast) {
  EXPECT_EQ(distribution_of({.temperature = 1.0F, .top_k = 2}, {1, 5, 3, 3, 3, 0}).size(), 4U);
  EXPECT_EQ(distribution_of({.temperature = 1.0F, .top_k = 100}, {1, 5, 3}).size(), 3U);
  EXPECT_EQ(distribution_of({.temperature = 1.0F, .top_k = 2}, {-kInf, 5, -kInf}).size(), 1U);
}

// -- the draw

TEST(Sampler, DrawsWithTheRightFrequencies) {
  const std::vector<float> logits = random_logits(20, 5, 1.0F);
  Sampler sampler({.temperature = 1.5F, .seed = 1234}, 20);
  const std::vector<TokenProbability> expected = sampler.distribution(logits);
  std::vector<int> counts(20);
  const int n = 100000;
  for (int i = 0; i < n; ++i) ++counts[static_cast<size_t>(sampler.sample(logits).token)];
  double chi_square = 0.0;
  for (const TokenProbability& t : expected) {
    const double mean = n * t.probability, difference = counts[static_cast<size_t>(t.token)] - mean;
    chi_square += difference * difference / mean;
  }
  EXPECT_LT(chi_square, 43.8) << "the 99.9 % point of 19 degrees of freedom";
  EXPECT_GT(chi_square, 5.4) << "the 0.1 % point: too even to be random";
}

TEST(Sampler, StreamOfASeedIsUniform) {
  double sum = 0.0, with_neighbour_seed = 0.0, with_next_draw = 0.0;
  const uint64_t n = 100000;
  for (uint64_t i = 0; i < n; ++i) {
    const double u = uniform_draw(7, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    with_neighbour_seed += (u - 0.5) * (uniform_draw(8, i) - 0.5);
    with_next_draw += (u - 0.5) * (uniform_draw(7, i + 1) - 0.5);
  }
  EXPECT_NEAR(sum / n, 0.5, 0.004);
  EXPECT_NEAR(with_neighbour_seed / n, 0.0, 0.0011) << "4 standard errors";
  EXPECT_NEAR(with_next_draw / n, 0.0, 0.0011);
}

TEST(Sampler, SameSeedSameTokensOtherSeedOthers) {
  const auto text = [](uint64_t seed) {
    Sampler sampler({.temperature = 1.0F, .top_p = 0.95F, .seed = seed}, 500);
    std::vector<int32_t> tokens;
    for (uint32_t i = 0; i < 50; ++i) tokens.push_back(sampler.sample(random_logits(500, i, 2.0F)).token);
    return tokens;
  };
  EXPECT_EQ(text(3), text(3));
  EXPECT_NE(text(3), text(4));
}

TEST(Sampler, ACopyGoesOnWhereTheOriginalWas) {
  const std::vector<float> logits = random_logits(100, 9);
  Sampler original({.temperature = 1.0F, .frequency_penalty = 1.0F, .seed = 5}, 100);
  for (int i = 0; i < 10; ++i) original.sample(logits);
  Sampler copy = original;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(copy.sample(logits).token, original.sample(logits).token);
}

// -- a constraint

/// Digits 0 to 9, '-', something else, and an end.
TokenConstraint integer_constraint() {
  std::vector<TokenText> tokens;
  for (const char c : std::string("0123456789-x")) tokens.push_back({std::string(1, c), false});
  tokens.push_back({"<eos>", true});
  JsonGrammar grammar;
  grammar.forms.push_back({.kind = JsonGrammar::Kind::kInteger, .least = 10, .most = 99});
  grammar.alternatives = {0};
  grammar.choices = {{0, 1, 0}};
  EXPECT_TRUE(finish_grammar(grammar));
  return TokenConstraint({.documents = {{std::make_shared<const JsonGrammar>(std::move(grammar))}},
                          .tokens = std::make_shared<const TokenIndex>(std::move(tokens)),
                          .end_tokens = {12}});
}

TEST(Sampler, AConstraintLeavesOnlyWhatMayFollow) {
  std::vector<float> logits(13, 0.0F);
  logits[11] = 9.0F;  // 'x' is never possible,
  logits[12] = 5.0F;  // the end not before there are two digits,
  logits[0] = 4.0F;   // and the first is no 0
  logits[7] = 3.0F;
  Sampler sampler({.constraint = integer_constraint(), .n_logprobs = 1}, 13);
  const SampledToken first = sampler.sample(logits);
  EXPECT_EQ(first.token, 7);
  EXPECT_EQ(first.top.at(0).token, 11) << "log-probabilities are the model's own";
  EXPECT_LT(first.logprob, -5.0F);
  EXPECT_FALSE(sampler.finished());
  Sampler copy = sampler;
  EXPECT_EQ(sampler.sample(logits).token, 0);
  EXPECT_TRUE(sampler.finished());
  EXPECT_EQ(copy.sample(logits).token, 0) << "a copy stands where the original stood";
}

TEST(Sampler, StepsBehindTheConstraintSeeWhatItLeft) {
  std::vector<float> logits(13, 0.0F);
  logits[11] = 50.0F;
  for (const SamplingParams& steps : {SamplingParams{.temperature = 1.0F, .top_k = 1}, SamplingParams{.temperature = 1.0F, .top_p = 0.1F},
                                      SamplingParams{.temperature = 1.0F, .min_p = 1.0F}, SamplingParams{.temperature = 1.0F, .typical_p = 0.1F}}) {
    SamplingParams params = steps;
    params.constraint = integer_constraint();
    for (const TokenProbability& possible : Sampler(params, 13).distribution(logits)) {
      EXPECT_GE(possible.token, 1);
      EXPECT_LE(possible.token, 9);
    }
    EXPECT_FALSE(Sampler(params, 13).distribution(logits).empty());
  }
}

TEST(Sampler, WhereAConstraintLeavesNothingThereIsNoToken) {
  std::vector<float> logits(13, -kInf);
  logits[11] = 1.0F;
  for (const float temperature : {0.0F, 1.0F}) {
    Sampler sampler({.temperature = temperature, .constraint = integer_constraint()}, 13);
    EXPECT_EQ(sampler.sample(logits).token, -1);
    EXPECT_EQ(sampler.sample(std::vector<float>(13, 0.5F)).token / 10, 0) << "and nothing was counted";
  }
}

// -- validation

TEST(SamplingParams, AcceptsEveryParameterAtTheEndsOfItsRange) {
  EXPECT_TRUE(SamplingParams{}.validate(10).ok());
  const SamplingParams low{.top_p = 0,
                           .typical_p = 0,
                           .repetition_penalty = 1e-3F,
                           .presence_penalty = -2,
                           .frequency_penalty = -2,
                           .logit_bias = {{0, -kInf}}};
  const SamplingParams high{.temperature = 100,
                            .top_k = 1 << 30,
                            .min_p = 1,
                            .repetition_penalty = 10,
                            .presence_penalty = 2,
                            .frequency_penalty = 2,
                            .logit_bias = {{9, 100}},
                            .n_logprobs = 10};
  EXPECT_TRUE(low.validate(10).ok());
  EXPECT_TRUE(high.validate(10).ok());
}

TEST(SamplingParams, NamesTheParameterThatIsWrong) {
  const std::vector<std::pair<std::string, SamplingParams>> bad = {
      {"temperature", {.temperature = -0.1F}},
      {"temperature", {.temperature = kNaN}},
      {"temperature", {.temperature = kInf}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 1.01F}},
      {"top_p", {.top_p = kNaN}},
      {"min_p", {.min_p = -0.5F}},
      {"typical_p", {.typical_p = 2.0F}},
      {"repetition_penalty", {.repetition_penalty = 0.0F}},
      {"repetition_penalty", {.repetition_penalty = kInf}},
      {"presence_penalty", {.presence_penalty = 2.5F}},
      {"frequency_penalty", {.frequency_penalty = -2.5F}},
      {"logit_bias", {.logit_bias = {{10, 1.0F}}}},
      {"logit_bias", {.logit_bias = {{-1, 1.0F}}}},
      {"logit_bias", {.logit_bias = {{1, kInf}}}},
      {"logit_bias", {.logit_bias = {{1, kNaN}}}},
      {"n_logprobs", {.n_logprobs = -2}},
      {"n_logprobs", {.n_logprobs = 11}},
  };
  for (const auto& [name, params] : bad) {
    const Status status = params.validate(10);
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_EQ(status.error().message.find(name), 0U) << status.error().message;
    EXPECT_NE(status.error().message.find("expected"), std::string::npos) << status.error().message;
  }
}

// -- speed

TEST(Sampler, CommonSettingsCostLittleOnALargeVocabulary) {
  const std::vector<float> logits = random_logits(129280, 1, 3.0F);
  const std::vector<SamplingParams> settings = {{},
                                                {.temperature = 0.8F, .top_k = 40, .top_p = 0.95F},
                                                {.temperature = 0.7F, .top_p = 0.95F},
                                                {.temperature = 1.0F, .min_p = 0.05F},
                                                {.temperature = 1.0F}};
  const auto milliseconds = [](const auto& work) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      work();
      best = std::min(
          best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
  };
  const double full_sort = milliseconds([&] {
    std::vector<float> sorted = logits;
    std::sort(sorted.begin(), sorted.end());
  });
  for (const SamplingParams& p : settings) {
    Sampler sampler(p, 129280);
    const double cost = milliseconds([&] { sampler.sample(logits); });
    std::printf("T %.1f, top_k %d, top_p %.2f, min_p %.2f: %.3f ms\n", p.temperature, p.top_k, p.top_p,
                p.min_p, cost);
    EXPECT_LT(cost, full_sort / 2) << "sorting the vocabulary takes " << full_sort << " ms";
  }
}

}  // namespace
}  // namespace mla
