// Who runs, in which order, on whose pages: seen through the engine, with answers that depend on every cached
// row.

#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "support/engine_test.h"

namespace mla {
namespace {

using test::fake_answer;

class SchedulerTest : public test::EngineTest {
 protected:
  SequenceId submit_as(const std::string& client, std::vector<int32_t> prompt, int64_t n_new) {
    return submit(Request{.prompt = std::move(prompt), .max_new_tokens = n_new, .client = client});
  }
  void expect_exact(SequenceId id, const std::vector<int32_t>& prompt, int64_t n_new) {
    EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {}, n_new)) << "sequence " << id;
  }
  static std::vector<int32_t> with_tail(std::vector<int32_t> prompt, int32_t tail) {
    prompt.insert(prompt.end(), {tail, tail, 1});
    return prompt;
  }
};

// -- what a step takes
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, NoStepTakesMorePromptThanItsBudgetWhileOthersAnswer) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 200 * kPageRows,
        .chunk = 64,
        .prefill_budget = 20,
        .max_batch_tokens = 100});
  std::vector<std::pair<SequenceId, std::vector<int32_t>>> all;
  int64_t n_mixed = 0;
  for (int i = 0; i < 300; ++i) {
    if (i % 5 == 0) {
      const auto prompt = random_ids(1 + static_cast<int64_t>(random_() % 400));
      all.emplace_back(submit(prompt, 25), prompt);
    }
    std::map<SequenceId, size_t> answering;
    for (const auto& [id, prompt] : all) {
      if (!status(id).finished && !answer(id).empty()) answering[id] = answer(id).size();
    }
    const StepReport report = step();
    if (answering.empty()) continue;
    EXPECT_LE(report.n_prompt_tokens, 20);
    n_mixed += report.n_prompt_tokens > 0 ? 1 : 0;
    for (const auto& [id, n] : answering)
      EXPECT_EQ(answer(id).size(), n + 1) << "a running stream is stalled";
  }
  EXPECT_GT(n_mixed, 100);
  run();
  for (const auto& [id, prompt] : all) expect_exact(id, prompt, 25);
  expect_no_leak();
}

TEST_F(SchedulerTest, WithoutAnswersAStepTakesWholeChunks) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 6000,
        .chunk = 200,
        .prefill_budget = 20,
        .max_batch_tokens = 300});
  submit(random_ids(1000), 1);
  EXPECT_EQ(step().n_prompt_tokens, 200);
  submit(random_ids(1000), 1);
  EXPECT_EQ(step().n_prompt_tokens, 300);
  run();
}

TEST_F(SchedulerTest, HalfOfTheBudgetIsForTheOldestPromptHalfForTheShortest) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 100 * kPageRows,
        .chunk = 64,
        .prefill_budget = 40,
        .max_batch_tokens = 100,
        .share_prefixes = false});
  const SequenceId stream = submit({1, 2}, 400);
  step();
  const SequenceId oldest = submit(random_ids(1000), 1), middle = submit(random_ids(500), 1);
  const SequenceId small = submit(random_ids(30), 1);
  step();
  step();
  EXPECT_TRUE(status(small).finished) << "20 tokens of each step are for the shortest";
  EXPECT_FALSE(status(middle).finished);
  int n_steps = 2;
  while (!status(oldest).finished) {
    submit(random_ids(19), 1);  // short ones never end to come
    step();
    ++n_steps;
  }
  EXPECT_LE(n_steps, 1000 / 20 + 1) << "the oldest has its half whatever else comes";
  EXPECT_FALSE(status(stream).finished);
  run();
  EXPECT_TRUE(status(middle).finished);
}

// -- fairness
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, TheClientServedLeastComesFirst) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 100 * kPageRows, .chunk = 32, .max_batch_tokens = 4});
  std::vector<SequenceId> of_many;
  for (int i = 0; i < 40; ++i) of_many.push_back(submit_as("many", random_ids(20), 20));
  for (int i = 0; i < 30; ++i) step();
  const SequenceId of_one = submit_as("one", random_ids(20), 20);
  for (int i = 0; i < 100 && !status(of_one).finished; ++i) step();
  EXPECT_TRUE(status(of_one).finished) << "it does not wait for all that another client has submitted";
  const auto n_finished =
      std::count_if(of_many.begin(), of_many.end(), [&](SequenceId id) { return status(id).finished; });
  EXPECT_LT(n_finished, 20);
  run();
  for (size_t i = 1; i < of_many.size(); ++i) EXPECT_TRUE(status(of_many[i]).finished);
}

TEST_F(SchedulerTest, TwoClientsThatAlwaysWaitGetEqualService) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 100 * kPageRows,
        .chunk = 32,
        .max_batch_tokens = 6,
        .share_prefixes = false});
  // One sends long prompts with short answers, and four times as many; the other short prompts with long
  // answers.
  std::vector<SequenceId> a, b;
  for (int i = 0; i < 200; ++i) a.push_back(submit_as("a", random_ids(60), 4));
  for (int i = 0; i < 50; ++i) b.push_back(submit_as("b", random_ids(6), 40));
  for (int i = 0; i < 900; ++i) step();
  const auto service = [&](const std::vector<SequenceId>& ids, int64_t n_prompt) {
    int64_t sum = 0;
    for (const SequenceId id : ids) {
      if (answer(id).empty()) continue;
      sum += n_prompt * ClientService::kPromptWeight +
             static_cast<int64_t>(answer(id).size()) * ClientService::kAnswerWeight;
    }
    return sum;
  };
  const int64_t of_a = service(a, 60), of_b = service(b, 6);
  EXPECT_FALSE(status(a.back()).finished);
  EXPECT_FALSE(status(b.back()).finished);
  // Sheng et al., theorem 4.4: they differ by no more than what runs at once.
  EXPECT_LT(std::abs(of_a - of_b), 6 * 90 * 2) << of_a << " and " << of_b;
  EXPECT_GT(of_a, 1500);
}

TEST_F(SchedulerTest, NobodyIsOvertakenForEver) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 100 * kPageRows, .chunk = 32, .max_batch_tokens = 1});
  submit_as("victim", random_ids(30), 300);
  for (int i = 0; i < 400; ++i) step();  // it has had much service
  const SequenceId again = submit_as("victim", random_ids(5), 2);
  int64_t n_others = 0;
  while (!status(again).finished) {  // always another new client, with no service at all
    submit_as("new " + std::to_string(n_others++), {1}, 1);
    submit_as("new " + std::to_string(n_others++), {1}, 1);
    step();
    ASSERT_LT(n_others, 4 * Scheduler::kMaxOvertaken) << "it starves";
  }
  run();
}

// -- prefixes that are being computed
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, RequestsThatComeTogetherComputeTheirPrefixOnce) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 200 * kPageRows,
        .chunk = 128,
        .max_batch_tokens = 256});
  const auto prefix = random_ids(15 * kPageRows + 10);
  std::vector<SequenceId> ids;
  for (int32_t i = 0; i < 32; ++i) ids.push_back(submit(with_tail(prefix, i), 5));
  int64_t n_prompt = 0;
  while (engine_->busy()) n_prompt += step().n_prompt_tokens;
  EXPECT_EQ(n_prompt, 15 * kPageRows + 32 * 13);
  for (int32_t i = 0; i < 32; ++i) {
    expect_exact(ids[static_cast<size_t>(i)], with_tail(prefix, i), 5);
    EXPECT_EQ(status(ids[static_cast<size_t>(i)]).n_cached, i == 0 ? 0 : 15 * kPageRows);
  }
  expect_no_leak();
}

TEST_F(SchedulerTest, OtherNamespacesNeitherShareNorWait) {
  make();
  const auto prompt = random_ids(3 * kPageRows);
  const auto submit_in = [&](const std::string& where) {
    return submit(Request{.prompt = prompt, .max_new_tokens = 3, .prefix_namespace = where});
  };
  submit_in("a");
  run();
  const SequenceId other = submit_in("b"), none = submit_in(""), same = submit_in("a");
  run();
  EXPECT_EQ(status(other).n_cached, 0);
  EXPECT_EQ(status(none).n_cached, 0);
  EXPECT_EQ(status(same).n_cached, 3 * kPageRows - 1);
  for (const SequenceId id : {other, none, same}) expect_exact(id, prompt, 3);
}

TEST_F(SchedulerTest, ALaterOneThatSharesNothingDoesNotWait) {
  make();
  const auto prefix = random_ids(10 * kPageRows);
  submit(with_tail(prefix, 1), 3);
  const SequenceId waits = submit(with_tail(prefix, 2), 3), other = submit(random_ids(5), 3);
  const StepReport report = step();
  EXPECT_EQ(report.n_waiting, 1);
  EXPECT_EQ(answer(other).size(), 1U);
  EXPECT_EQ(answer(waits).size(), 0U);
  run();
}

TEST_F(SchedulerTest, WhoeverWaitsForAPrefixGoesOnWhenItsMakerStops) {
  const auto prefix = random_ids(10 * kPageRows);
  for (const bool pause : {false, true}) {
    make();
    const SequenceId maker = submit(with_tail(prefix, 1), 3);
    const SequenceId second = submit(with_tail(prefix, 2), 3), third = submit(with_tail(prefix, 3), 3);
    for (int i = 0; i < 3; ++i) step();
    EXPECT_EQ(answer(second).size(), 0U);
    pause ? engine_->pause(maker) : engine_->cancel(maker);
    for (int i = 0; i < 40; ++i) step();
    expect_exact(second, with_tail(prefix, 2), 3);
    expect_exact(third, with_tail(prefix, 3), 3);
    EXPECT_GE(status(second).n_cached, kPageRows) << "what was computed is not lost";
    EXPECT_EQ(status(third).n_cached, 10 * kPageRows) << "and then it waited for the second";
    engine_->resume(maker);
    run();
    if (pause) expect_exact(maker, with_tail(prefix, 1), 3);
    expect_no_leak();
  }
}

TEST_F(SchedulerTest, ManyAnswersToOnePromptShareIt) {
  make();
  const auto prompt = random_ids(4 * kPageRows + 30);
  std::vector<SequenceId> choices;
  std::vector<std::vector<SampledToken>> got(8);
  for (uint64_t i = 0; i < 8; ++i) {
    Request request{
        .prompt = prompt,
        .sampling = {.temperature = 1.0F, .frequency_penalty = 0.4F, .seed = 100 + i, .n_logprobs = 3},
        .max_new_tokens = 12};
    request.on_token = [&tokens = got[i]](const SampledToken& t) {
      tokens.push_back(t);
      return true;
    };
    choices.push_back(engine_->submit(std::move(request)).value());
  }
  run();
  std::set<std::vector<int32_t>> different;
  for (uint64_t i = 0; i < 8; ++i) {
    SamplingParams sampling{.temperature = 1.0F, .frequency_penalty = 0.4F, .seed = 100 + i};
    std::vector<int32_t> said = prompt, tokens;
    for (const SampledToken& t : got[i]) {
      const SampledToken expected = log_probabilities(test::fake_logits(fake_.config, said), t.token, 3);
      EXPECT_EQ(t.logprob, expected.logprob);
      EXPECT_EQ(t.top[2].token, expected.top[2].token);
      said.push_back(t.token);
      tokens.push_back(t.token);
    }
    EXPECT_EQ(tokens, fake_answer(fake_.config, prompt, sampling, 12));
    EXPECT_EQ(status(choices[i]).n_cached, i == 0 ? 0 : 4 * kPageRows);
    different.insert(tokens);
  }
  EXPECT_EQ(different.size(), 8U);
  expect_no_leak();
}

// -- pausing
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, APausedSequenceKeepsItsPagesUntilTheyAreNeeded) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 8 * kPageRows,
        .chunk = 64,
        .max_batch_tokens = 128,
        .share_prefixes = false});
  const auto prompt = random_ids(2 * kPageRows);
  const SequenceId paused = submit(prompt, 60);
  for (int i = 0; i < 10; ++i) step();
  const size_t n = answer(paused).size();
  engine_->pause(paused);
  EXPECT_EQ(step().n_new_tokens, 0) << "nothing to do";
  EXPECT_EQ(engine_->cache().n_used(), 3);
  const auto large = random_ids(6 * kPageRows);  // does not fit beside it
  const SequenceId other = submit(large, 30);
  for (int i = 0; i < 60; ++i) step();
  expect_exact(other, large, 30);
  EXPECT_EQ(preemptions_, 1);
  EXPECT_EQ(answer(paused).size(), n);
  EXPECT_TRUE(engine_->busy());
  engine_->resume(paused);
  engine_->resume(paused);
  run();
  expect_exact(paused, prompt, 60);
  expect_no_leak();
}

TEST_F(SchedulerTest, WhoeverIsPausedGivesItsPagesBeforeAnyoneWhoRuns) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 6 * kPageRows,
        .chunk = 64,
        .max_batch_tokens = 128,
        .share_prefixes = false});
  const auto a = random_ids(kPageRows), b = random_ids(kPageRows), c = random_ids(kPageRows);
  const SequenceId oldest = submit(a, 200), second = submit(b, 120), youngest = submit(c, 120);
  step();
  engine_->pause(oldest);
  while (!status(second).finished || !status(youngest).finished) step();
  EXPECT_FALSE(engine_->status(oldest)->running) << "it is the oldest, but paused";
  EXPECT_EQ(preemptions_, 1);
  engine_->resume(oldest);
  run();
  expect_exact(oldest, a, 200);
  expect_exact(second, b, 120);
  expect_exact(youngest, c, 120);
}

TEST_F(SchedulerTest, CancelsWhateverState) {
  for (int state = 0; state < 5; ++state) {
    make(
        {.cache_format = RowFormat::kF32, .max_tokens = 12 * kPageRows, .chunk = 16, .max_batch_tokens = 32});
    const auto prefix = random_ids(4 * kPageRows);
    const SequenceId maker = submit(with_tail(prefix, 1), 30);
    const SequenceId follower = submit(with_tail(prefix, 2), 30), third = submit(random_ids(400), 100);
    SequenceId victim = maker;  // 0: computes a prefix that another waits for
    step();
    if (state == 1) victim = follower;  // waits for a prefix
    if (state == 2) victim = third;
    if (state == 3) engine_->pause(victim = maker);
    if (state == 4) engine_->pause(victim = follower);  // paused while it waits
    step();
    engine_->cancel(victim);
    EXPECT_TRUE(status(victim).finished);
    run();
    if (victim != maker) expect_exact(maker, with_tail(prefix, 1), 30);
    if (victim != follower) expect_exact(follower, with_tail(prefix, 2), 30);
    expect_no_leak();
  }
}

// -- everything at once
// -------------------------------------------------------------------------------------------------------------------

TEST_F(SchedulerTest, WhoeverIsPausedGivesItsPlaceToThoseThatWait) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 100 * kPageRows, .chunk = 32, .max_sequences = 2});
  const auto prompt = random_ids(40);
  const SequenceId alone = submit(prompt, 20);
  run();
  const SequenceId slow = submit(prompt, 20), slower = submit(prompt, 20);
  for (int i = 0; i < 5; ++i) step();
  engine_->pause(slow);
  engine_->pause(slower);
  const SequenceId waits = submit(random_ids(10), 20), waits_too = submit(random_ids(10), 20);
  for (int i = 0; i < 40; ++i) step();
  EXPECT_TRUE(status(waits).finished && status(waits_too).finished) << "clients that do not read hold up those that do";
  EXPECT_FALSE(status(slow).finished);
  engine_->resume(slow);
  engine_->resume(slower);
  run();
  EXPECT_EQ(answer(slow), answer(alone));
  EXPECT_EQ(answer(slower), answer(alone));
  expect_no_leak();
}

TEST_F(SchedulerTest, FewPlacesDoNotCutPromptsIntoSmallSteps) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 100 * kPageRows, .chunk = 32, .max_sequences = 1});
  const SequenceId first = submit(random_ids(96), 1), second = submit(random_ids(96), 1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(status(first).finished);
    EXPECT_EQ(step().n_running, i < 2 ? 1 : 0);
  }
  EXPECT_TRUE(status(first).finished);
  EXPECT_FALSE(status(second).running);
  run();
}

TEST_F(SchedulerTest, AStepIsEmptyOnlyWhenAllThatIsLeftIsPaused) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 20 * kPageRows,
        .chunk = 48,
        .prefill_budget = 24,
        .max_batch_tokens = 64});
  const std::vector<std::vector<int32_t>> beginnings{random_ids(5 * kPageRows),
                                                     random_ids(3 * kPageRows + 30)};
  struct Live {
    SequenceId id;
    std::vector<int32_t> expected;
    bool paused = false;
  };
  std::vector<Live> live;
  int64_t n_empty = 0, n_finished = 0;
  for (int op = 0; op < 8000; ++op) {
    const uint64_t kind = random_() % 16;
    if (kind == 0 && live.size() < 60) {
      std::vector<int32_t> prompt = beginnings[random_() % 2];
      prompt.resize(random_() % prompt.size());
      prompt.push_back(static_cast<int32_t>(random_() % 40));
      const int64_t n_new = 1 + static_cast<int64_t>(random_() % 100);
      const SequenceId id = submit(Request{.prompt = prompt,
                                           .max_new_tokens = n_new,
                                           .client = std::to_string(random_() % 3),
                                           .prefix_namespace = random_() % 2 == 0 ? "a" : "b"});
      live.push_back({id, fake_answer(fake_.config, prompt, {}, n_new)});
    } else if (kind < 4 && !live.empty()) {
      Live& one = live[random_() % live.size()];
      one.paused = kind > 1;
      one.paused ? engine_->pause(one.id) : engine_->resume(one.id);
      if (kind == 3 && random_() % 8 == 0) engine_->cancel(one.id);
    } else {
      const StepReport report = step();
      if (report.n_prompt_tokens + report.n_new_tokens == 0) {
        ++n_empty;
        for (const Live& one : live)
          ASSERT_TRUE(one.paused || status(one.id).finished) << "stalled at " << op;
      }
    }
    std::erase_if(live, [&](const Live& one) {
      const SequenceStatus now = status(one.id);
      if (!now.finished) return false;
      if (now.reason == FinishReason::kLength) {
        EXPECT_EQ(answer(one.id), one.expected);
      }
      ++n_finished;
      return true;
    });
  }
  EXPECT_GT(n_finished, 80);
  EXPECT_GT(n_empty, 0);
  EXPECT_GT(preemptions_, 20);
  for (const Live& one : live) engine_->resume(one.id);
  run();
  expect_no_leak();
}

}  // namespace
}  // namespace mla
