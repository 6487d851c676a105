// Prompts whose tokens' log-probabilities are told, against Engine::evaluate().

#include <gtest/gtest.h>

#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include "sampling/sampler.h"
#include "support/engine_test.h"

namespace mla {
namespace {

using test::kOptions;

class ScoringTest : public test::EngineTest {
 protected:
  using Scores = std::vector<SampledToken>;

  /// What is to be told of a prompt: the log-probabilities of every token but the first.
  Scores expected(const std::vector<int32_t>& ids, int32_t n_top) {
    Scores scores;
    const auto n_vocab = static_cast<size_t>(fake_.config.n_vocab);
    const Status status = engine_->evaluate(ids, 0, [&](int64_t, std::span<const float> logits) {
      for (size_t row = 0; row * n_vocab < logits.size() && scores.size() + 1 < ids.size(); ++row)
        scores.push_back(log_probabilities(logits.subspan(row * n_vocab, n_vocab), ids[scores.size() + 1], n_top));
      return Status();
    });
    EXPECT_TRUE(status.ok());
    return scores;
  }
  SequenceId submit_scored(const std::vector<int32_t>& ids, int64_t n_new, int32_t n_top, std::shared_ptr<Scores> scores) {
    Request request{.prompt = ids, .max_new_tokens = n_new, .prompt_logprobs = n_top};
    request.on_prompt_token = [scores](const SampledToken& token) { scores->push_back(token); };
    return submit(std::move(request));
  }
  static void expect_equal(const Scores& got, const Scores& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].token, want[i].token) << i;
      EXPECT_EQ(got[i].logprob, want[i].logprob) << i;
      ASSERT_EQ(got[i].top.size(), want[i].top.size()) << i;
      for (size_t k = 0; k < got[i].top.size(); ++k) EXPECT_EQ(got[i].top[k].token, want[i].top[k].token) << i << ", " << k;
    }
  }
};

TEST_F(ScoringTest, TellsWhatAnEvaluationGivesInStepsOfAnySize) {
  for (const int64_t chunk : {1, 7, 32, 200}) {
    EngineOptions options = kOptions;
    options.chunk = chunk;
    make(options);
    for (const int64_t n : {int64_t{1}, int64_t{2}, kPageRows, int64_t{150}}) {
      const auto ids = random_ids(n);
      const Scores want = expected(ids, 3);
      const auto scores = std::make_shared<Scores>(), alone = std::make_shared<Scores>();
      const SequenceId answered = submit_scored(ids, 5, 3, scores), only_scored = submit_scored(ids, 0, 3, alone),
                       plain = submit(ids, 5);
      run();
      expect_equal(*scores, want);
      expect_equal(*alone, want);
      EXPECT_EQ(answer(answered), answer(plain)) << n << " tokens, chunk " << chunk;
      EXPECT_TRUE(answer(only_scored).empty());
      EXPECT_EQ(status(only_scored).reason, FinishReason::kLength);
      EXPECT_EQ(status(only_scored).n_generated, 0);
    }
    expect_no_leak();
  }
}

TEST_F(ScoringTest, RowsInSharedPagesAreComputedAgain) {
  make();
  const auto ids = random_ids(5 * kPageRows);
  submit(ids, 1);
  run();
  const auto scores = std::make_shared<Scores>();
  const SequenceId id = submit_scored(ids, 2, 0, scores);
  run();
  EXPECT_EQ(scores->size(), ids.size() - 1);
  EXPECT_EQ(status(id).n_cached, 0);
}

TEST_F(ScoringTest, APromptAsLongAsTheContextCanBeScored) {
  make();
  const auto n = static_cast<int64_t>(engine_->max_sequence_tokens());
  const auto ids = random_ids(n);
  const auto scores = std::make_shared<Scores>();
  submit_scored(ids, 0, 0, scores);
  run();
  EXPECT_EQ(scores->size(), ids.size() - 1);
  EXPECT_FALSE(engine_->check({.prompt = ids, .max_new_tokens = 0}).ok()) << "nothing is asked for";
}

TEST_F(ScoringTest, WhatWasToldIsNotToldAgainAfterPreemption) {
  EngineOptions options = kOptions;
  options.max_tokens = 8 * kPageRows;
  options.chunk = 16;
  make(options);
  std::vector<std::vector<int32_t>> prompts;
  std::vector<Scores> want;
  std::vector<std::shared_ptr<Scores>> scores;
  for (int i = 0; i < 4; ++i) {
    prompts.push_back(random_ids(2 * kPageRows + 10 * i));
    want.push_back(expected(prompts.back(), 1));
  }
  std::vector<SequenceId> ids;
  for (const auto& prompt : prompts) {
    scores.push_back(std::make_shared<Scores>());
    ids.push_back(submit_scored(prompt, 3 * kPageRows, 1, scores.back()));
  }
  for (int i = 0; i < 3; ++i) step();
  engine_->pause(ids[0]);  // the first to give its pages back, in the middle of its prompt
  for (int i = 0; i < 200; ++i) step();
  engine_->resume(ids[0]);
  run();
  EXPECT_GT(preemptions_, 0);
  for (size_t i = 0; i < prompts.size(); ++i) {
    SCOPED_TRACE(i);
    expect_equal(*scores[i], want[i]);
    EXPECT_EQ(answer(ids[i]).size(), static_cast<size_t>(3 * kPageRows));
  }
}

TEST_F(ScoringTest, ALongPromptDoesNotHoldUpAnAnswer) {
  EngineOptions options = kOptions;
  options.prefill_budget = 8;
  make(options);
  const SequenceId running = submit(random_ids(4), 200);
  step();
  const auto scores = std::make_shared<Scores>();
  submit_scored(random_ids(100), 0, 0, scores);
  while (scores->size() < 99) {
    const size_t before = answer(running).size(), told = scores->size();
    step();
    EXPECT_EQ(answer(running).size(), before + 1);
    EXPECT_LE(scores->size(), told + 8);
  }
}

TEST_F(ScoringTest, ACallbackMayCancelOrThrow) {
  make();
  const auto ids = random_ids(50);
  int n_told = 0;
  SequenceId cancels = 0;
  Request request{.prompt = ids, .max_new_tokens = 3};
  request.on_prompt_token = [&](const SampledToken&) {
    if (++n_told == 10) engine_->cancel(cancels);
  };
  cancels = submit(std::move(request));
  run();
  EXPECT_EQ(n_told, 10);
  EXPECT_EQ(status(cancels).reason, FinishReason::kCancelled);

  Request throwing{.prompt = ids, .max_new_tokens = 3};
  throwing.on_prompt_token = [](const SampledToken&) { throw std::runtime_error("no"); };
  const SequenceId thrown = submit(std::move(throwing)), other = submit(random_ids(5), 3);
  EXPECT_THROW(static_cast<void>(engine_->step()), std::runtime_error);
  EXPECT_EQ(status(thrown).reason, FinishReason::kCancelled);
  run();
  EXPECT_EQ(answer(other).size(), 3U);
  expect_no_leak();
}

}  // namespace
}  // namespace mla
