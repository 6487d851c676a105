#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>

#include "support/engine_test.h"

namespace mla {
namespace {

using test::EngineTest;
using test::fake_answer;
using test::fake_config;
using test::FakeModel;
using test::kOptions;

// -- one sequence
// ------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, AnswersAsTheModelAloneWould) {
  make();
  for (const int64_t n_prompt :
       {int64_t{1}, int64_t{31}, int64_t{32}, int64_t{33}, kPageRows, 2 * kPageRows + 1}) {
    const auto prompt = random_ids(n_prompt);
    const SequenceId id = submit(prompt, 70);
    run();
    EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {}, 70)) << n_prompt;
    EXPECT_EQ(status(id).reason, FinishReason::kLength);
    EXPECT_EQ(status(id).n_prompt, n_prompt);
    EXPECT_EQ(status(id).n_generated, 70);
    EXPECT_GT(status(id).ttft_seconds, 0.0);
  }
  expect_no_leak();
}

TEST_F(EngineTest, ChunkedPrefillEqualsWhole) {
  const auto prompt = random_ids(300);
  std::vector<int32_t> whole;
  for (const int64_t chunk : {1000, 64, 63, 7, 1}) {
    make({.cache_format = RowFormat::kF32, .max_tokens = 1000, .chunk = chunk, .max_batch_tokens = 1000});
    const SequenceId id = submit(prompt, 20, {.temperature = 1.0F, .seed = 3});
    run();
    if (whole.empty()) whole = answer(id);
    EXPECT_EQ(answer(id), whole) << "chunk " << chunk;
  }
  EXPECT_EQ(whole, fake_answer(fake_.config, prompt, {.temperature = 1.0F, .seed = 3}, 20));
}

TEST_F(EngineTest, AStopTokenEndsTheSequenceAndIsReported) {
  make();
  const auto prompt = random_ids(5);
  const auto free_run = fake_answer(fake_.config, prompt, {}, 50);
  const int32_t stop = free_run[10];
  const SequenceId id = submit(prompt, 50, {}, {stop});
  run();
  EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {}, 50, std::vector{stop}));
  EXPECT_EQ(answer(id).back(), stop);
  EXPECT_EQ(status(id).reason, FinishReason::kStop);
  EXPECT_EQ(status(id).n_generated, static_cast<int64_t>(answer(id).size()));
}

TEST_F(EngineTest, ACallbackThatSaysNoEndsTheSequence) {
  make();
  int n = 0;
  Request request{.prompt = random_ids(3), .max_new_tokens = 50};
  request.on_token = [&](const SampledToken&) { return ++n < 4; };
  const SequenceId id = engine_->submit(std::move(request)).value();
  run();
  EXPECT_EQ(n, 4);
  EXPECT_EQ(status(id).reason, FinishReason::kStop);
  EXPECT_EQ(status(id).n_generated, 4);
  expect_no_leak();
}

TEST_F(EngineTest, EndsWhereTheContextEnds) {
  fake_.config = fake_config(40, 50);
  FakeModel small(fake_.config);
  auto engine = Engine::create(small.model, {.cache_format = RowFormat::kF32});
  ASSERT_TRUE(engine.ok());
  engine_ = std::move(*engine);
  EXPECT_EQ(engine_->max_sequence_tokens(), 50);
  const auto prompt = random_ids(45);
  const SequenceId id = submit(prompt, 1000);
  run();
  EXPECT_EQ(answer(id), fake_answer(small.config, prompt, {}, 1000));
  EXPECT_EQ(answer(id).size(), 5U);
  EXPECT_EQ(status(id).reason, FinishReason::kLength);
  engine_.reset();
}

TEST_F(EngineTest, LogprobsArriveWithTheTokens) {
  make();
  const auto prompt = random_ids(4);
  std::vector<SampledToken> got;
  Request request{.prompt = prompt, .sampling = {.n_logprobs = 2}, .max_new_tokens = 3};
  request.on_token = [&](const SampledToken& t) {
    got.push_back(t);
    return true;
  };
  ASSERT_TRUE(engine_->submit(std::move(request)).ok());
  run();
  ASSERT_EQ(got.size(), 3U);
  std::vector<int32_t> tokens = prompt;
  for (const SampledToken& t : got) {
    const SampledToken expected = log_probabilities(test::fake_logits(fake_.config, tokens), t.token, 2);
    EXPECT_EQ(t.logprob, expected.logprob);
    ASSERT_EQ(t.top.size(), 2U);
    EXPECT_EQ(t.top[0].token, t.token) << "greedy";
    EXPECT_EQ(t.top[1].logprob, expected.top[1].logprob);
    tokens.push_back(t.token);
  }
}

// -- many sequences
// ----------------------------------------------------------------------------------------------------

TEST_F(EngineTest, SixtyFourRaggedSequencesAnswerAsEachAlone) {
  make(
      {.cache_format = RowFormat::kF32, .max_tokens = 400 * kPageRows, .chunk = 50, .max_batch_tokens = 200});
  struct Expected {
    SequenceId id;
    std::vector<int32_t> answer;
  };
  std::vector<Expected> all;
  for (int i = 0; i < 64; ++i) {
    const auto prompt = random_ids(1 + static_cast<int64_t>(random_() % 190));
    const int64_t n_new = 1 + static_cast<int64_t>(random_() % 40);
    SamplingParams sampling{.seed = static_cast<uint64_t>(i)};
    if (i % 2 == 1) sampling.temperature = 0.9F;
    if (i % 4 == 3) sampling.frequency_penalty = 0.5F;
    all.push_back({submit(prompt, n_new, sampling), fake_answer(fake_.config, prompt, sampling, n_new)});
  }
  run();
  for (const Expected& e : all) EXPECT_EQ(answer(e.id), e.answer) << "sequence " << e.id;
  expect_no_leak();
}

TEST_F(EngineTest, OneForwardMixesDecodesAndPromptChunks) {
  make();
  const SequenceId first = submit(random_ids(10), 30);
  ASSERT_TRUE(engine_->step().ok());
  submit(random_ids(200), 5);
  const auto report = engine_->step();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->n_new_tokens, 1);
  EXPECT_EQ(report->n_prompt_tokens, 32);
  EXPECT_EQ(report->n_running, 2);
  EXPECT_EQ(fake_.decoder->calls.back().n_tokens, 33);
  EXPECT_EQ(fake_.decoder->calls.back().n_sequences, 2);
  EXPECT_EQ(answer(first).size(), 2U) << "it answers on while another's prompt is computed";
  run();
}

TEST_F(EngineTest, NoStepExceedsItsBudget) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 100 * kPageRows, .chunk = 16, .max_batch_tokens = 24});
  for (int i = 0; i < 40; ++i) submit(random_ids(1 + static_cast<int64_t>(random_() % 60)), 10);
  run();
  for (const auto& call : fake_.decoder->calls) EXPECT_LE(call.n_tokens, 24);
}

TEST_F(EngineTest, ALongPromptDoesNotStarveShortOnesNorTheyIt) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 100 * kPageRows,
        .chunk = 32,
        .max_batch_tokens = 64,
        .share_prefixes = false});
  const SequenceId long_one = submit(random_ids(1500), 1);
  int long_steps = 0;
  std::vector<SequenceId> short_ones;
  while (!status(long_one).finished) {
    for (int i = 0; i < 2; ++i)
      short_ones.push_back(submit(random_ids(30), 1));  // nearly the budget of every step
    ASSERT_TRUE(engine_->step().ok());
    ASSERT_LT(++long_steps, 1000) << "the long prompt starves";
    EXPECT_TRUE(long_steps < 10 || status(short_ones[0]).finished) << "a short prompt waits for a long one";
  }
  for (const SequenceId id : short_ones) engine_->cancel(id);
}

TEST_F(EngineTest, ASeedGivesTheSameTokensUnderDifferentBatchMates) {
  const auto prompt = random_ids(90);
  const SamplingParams sampling{.temperature = 1.2F, .top_p = 0.95F, .seed = 42};
  std::vector<std::vector<int32_t>> greedy, sampled;
  for (const int n_mates : {0, 1, 7, 30}) {
    make();
    for (int i = 0; i < n_mates / 2; ++i)
      submit(random_ids(1 + i * 9), 15, {.temperature = 1.0F, .seed = random_()});
    const SequenceId a = submit(prompt, 40, sampling), b = submit(prompt, 40);
    for (int i = n_mates / 2; i < n_mates; ++i)
      submit(random_ids(1 + i * 9), 15, {.temperature = 1.0F, .seed = random_()});
    run();
    sampled.push_back(answer(a));
    greedy.push_back(answer(b));
  }
  for (size_t i = 1; i < sampled.size(); ++i) {
    EXPECT_EQ(sampled[i], sampled[0]);
    EXPECT_EQ(greedy[i], greedy[0]);
  }
  EXPECT_NE(sampled[0], greedy[0]);
}

// -- pages run out
// -----------------------------------------------------------------------------------------------------

TEST_F(EngineTest, WaitsInOrderWhenThePoolIsFull) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 4 * kPageRows,
        .chunk = 512,
        .max_batch_tokens = 512,
        .share_prefixes = false});
  const SequenceId a = submit(random_ids(2 * kPageRows), 20);  // 3 pages
  const SequenceId b = submit(random_ids(kPageRows), 20);      // 2 pages: does not fit beside a
  const SequenceId c = submit(random_ids(3), 2);               // would fit, but came after b
  auto report = engine_->step();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->n_running, 1);
  EXPECT_EQ(report->n_waiting, 2);
  while (!status(a).finished) ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(answer(b).size(), 0U);
  EXPECT_EQ(answer(c).size(), 0U);
  run();
  EXPECT_EQ(answer(b).size(), 20U);
  EXPECT_EQ(answer(c).size(), 2U);
  EXPECT_EQ(preemptions_, 0);
  expect_no_leak();
}

TEST_F(EngineTest, PreemptedSequencesResumeExactly) {
  for (const bool share : {false, true}) {
    make({.cache_format = RowFormat::kF32,
          .max_tokens = 10 * kPageRows,
          .chunk = 64,
          .max_batch_tokens = 128,
          .share_prefixes = share});
    preemptions_ = 0;
    struct Expected {
      SequenceId id;
      std::vector<int32_t> answer;
    };
    std::vector<Expected> all;
    for (int i = 0; i < 6; ++i) {  // each fits with its prompt, but they grow to 6 x 4 pages
      const auto prompt = random_ids(40);
      const SamplingParams sampling{.temperature = i % 2 == 0 ? 0.0F : 1.0F,
                                    .repetition_penalty = 1.1F,
                                    .presence_penalty = 0.3F,
                                    .seed = 9};
      all.push_back({submit(prompt, 200, sampling), fake_answer(fake_.config, prompt, sampling, 200)});
    }
    run();
    EXPECT_GT(preemptions_, 0);
    for (const Expected& e : all) {
      EXPECT_EQ(answer(e.id), e.answer) << "sequence " << e.id << (share ? ", sharing" : "");
      EXPECT_EQ(status(e.id).n_cached, 0) << "its own pages found again are not a shared prefix";
    }
    expect_no_leak();
  }
}

TEST_F(EngineTest, WaitingCopiesNoPages) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 9 * kPageRows, .chunk = 512, .max_batch_tokens = 512});
  const auto known = random_ids(2 * kPageRows);
  submit(known, 1);
  run();
  submit(random_ids(5 * kPageRows), 30);
  ASSERT_TRUE(engine_->step().ok());
  auto prompt = known;  // its second page begins like a known one
  prompt.resize(static_cast<size_t>(4 * kPageRows), 3);
  const size_t differs = static_cast<size_t>(kPageRows) + 20;
  prompt[differs] = (prompt[differs] + 1) % 40;
  const SequenceId id = submit(prompt, 5);
  for (int i = 0; i < 10; ++i) {
    const auto report = engine_->step();
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->n_waiting, 1);
  }
  EXPECT_EQ(fake_.backend.n_copies, 0);
  run();
  EXPECT_GT(fake_.backend.n_copies, 0);
  EXPECT_EQ(status(id).n_cached, kPageRows + 20);
  EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {}, 5));
  expect_no_leak();
}

TEST_F(EngineTest, ReusablePagesGiveWayToRunningSequences) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 6 * kPageRows, .chunk = 512, .max_batch_tokens = 512});
  submit(random_ids(4 * kPageRows), 3);
  run();
  EXPECT_EQ(engine_->n_reusable_pages(), 4);
  const auto prompt = random_ids(5 * kPageRows);
  const SequenceId id = submit(prompt, 10);
  run();
  EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {}, 10));
  EXPECT_EQ(preemptions_, 0);
  expect_no_leak();
}

// -- prefixes
// ----------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, SharedPrefixesGiveTheSameTokensAndAreCounted) {
  make();
  const auto system_prompt = random_ids(3 * kPageRows + 20);
  const auto with_tail = [&](int32_t tail) {
    auto prompt = system_prompt;
    prompt.insert(prompt.end(), {tail, tail, 1});
    return prompt;
  };
  const SequenceId first = submit(with_tail(5), 10);
  run();
  EXPECT_EQ(status(first).n_cached, 0);
  const SequenceId second = submit(with_tail(6), 10), again = submit(with_tail(5), 10);
  const size_t forwards = fake_.decoder->calls.size();
  run();
  EXPECT_EQ(status(second).n_cached, 3 * kPageRows) << "whole pages only: the fourth page was never full";
  EXPECT_EQ(fake_.decoder->calls[forwards].n_tokens, 2 * 23);
  EXPECT_EQ(answer(second), fake_answer(fake_.config, with_tail(6), {}, 10));
  EXPECT_EQ(answer(again), answer(first));
  expect_no_leak();
}

TEST_F(EngineTest, APartlyEqualPageIsCopied) {
  make();
  const auto prompt = random_ids(2 * kPageRows + 1);
  submit(prompt, 2);
  run();
  auto other = prompt;
  other[static_cast<size_t>(kPageRows) + 40] = (other[static_cast<size_t>(kPageRows) + 40] + 1) % 40;
  const SequenceId id = submit(other, 10), same = submit(prompt, 10);
  run();
  EXPECT_EQ(status(id).n_cached, kPageRows + 40);
  EXPECT_EQ(answer(id), fake_answer(fake_.config, other, {}, 10));
  EXPECT_EQ(status(same).n_cached, 2 * kPageRows);
  EXPECT_EQ(answer(same), fake_answer(fake_.config, prompt, {}, 10))
      << "the page that was copied is as it was";
  expect_no_leak();
}

TEST_F(EngineTest, TheLastTokenIsAlwaysComputed) {
  make();
  const auto prompt = random_ids(2 * kPageRows);
  const SequenceId first = submit(prompt, 5);
  run();
  const SequenceId second = submit(prompt, 5);
  run();
  EXPECT_EQ(status(second).n_cached, 2 * kPageRows - 1) << "a page and a copy of 63 rows";
  EXPECT_EQ(answer(second), answer(first));
}

TEST_F(EngineTest, ARunningSequencesPromptIsSharedToo) {
  make();
  const auto prompt = random_ids(kPageRows + 10);
  submit(prompt, 100);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine_->step().ok());
  const SequenceId second = submit(prompt, 5);
  ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(status(second).n_cached, kPageRows);
  run();
}

TEST_F(EngineTest, SharesNothingWhenToldSo) {
  EngineOptions options = kOptions;
  options.share_prefixes = false;
  make(options);
  const auto prompt = random_ids(3 * kPageRows);
  submit(prompt, 5);
  run();
  EXPECT_EQ(engine_->cache().n_used(), 0);
  const SequenceId second = submit(prompt, 5);
  run();
  EXPECT_EQ(status(second).n_cached, 0);
}

// -- cancellation
// ------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, CancelInEveryStateReleasesEverything) {
  make({.cache_format = RowFormat::kF32,
        .max_tokens = 5 * kPageRows,
        .chunk = 16,
        .max_batch_tokens = 32,
        .share_prefixes = false});
  const SequenceId decoding = submit(random_ids(4), 100);
  ASSERT_TRUE(engine_->step().ok());
  const SequenceId mid_prompt = submit(random_ids(100), 5), waiting = submit(random_ids(300), 5);
  ASSERT_TRUE(engine_->step().ok());
  ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(answer(mid_prompt).size(), 0U);
  for (const SequenceId id : {waiting, mid_prompt, decoding}) {
    EXPECT_TRUE(engine_->busy());
    engine_->cancel(id);
    EXPECT_TRUE(status(id).finished);
    EXPECT_EQ(status(id).reason, FinishReason::kCancelled);
    engine_->cancel(id);  // twice does nothing
    EXPECT_EQ(status(id).reason, FinishReason::kCancelled);
  }
  EXPECT_FALSE(engine_->busy());
  EXPECT_EQ(engine_->cache().n_free(), engine_->cache().n_pages());
  engine_->cancel(12345);
  const SequenceId finished = submit(random_ids(4), 1);
  run();
  engine_->cancel(finished);
  EXPECT_EQ(status(finished).reason, FinishReason::kLength) << "a finished sequence stays as it ended";
}

TEST_F(EngineTest, ACallbackMayCancelItselfAndOthersAndSubmit) {
  make();
  const SequenceId victim = submit(random_ids(5), 50);
  SequenceId self = 0, child = 0;
  Request request{.prompt = random_ids(5), .max_new_tokens = 50};
  request.on_token = [&](const SampledToken&) {
    engine_->cancel(victim);
    child = engine_->submit({.prompt = {1, 2, 3}, .max_new_tokens = 2}).value();
    engine_->cancel(self);
    return true;
  };
  self = engine_->submit(std::move(request)).value();
  const SequenceId later = submit(random_ids(5), 50);
  run();
  EXPECT_EQ(status(self).reason, FinishReason::kCancelled);
  EXPECT_EQ(status(self).n_generated, 1);
  EXPECT_EQ(status(victim).reason, FinishReason::kCancelled);
  EXPECT_EQ(status(child).n_generated, 2);
  EXPECT_EQ(answer(later).size(), 50U);
  expect_no_leak();
}

TEST_F(EngineTest, ACallbackThatThrowsEndsItsSequenceAlone) {
  make();
  const auto throwing = [&](auto exception, int at) {
    Request request{.prompt = random_ids(5), .max_new_tokens = 50};
    request.on_token = [exception, at, n = 0](const SampledToken&) mutable -> bool {
      if (++n < at) return true;
      throw exception;
    };
    return engine_->submit(std::move(request)).value();
  };
  const auto prompt = random_ids(7);
  const SequenceId other = submit(prompt, 20), no_memory = throwing(std::bad_alloc(), 2);
  const SequenceId broken = throwing(std::runtime_error("a bug of the caller's"), 3);
  const SequenceId last = throwing(std::runtime_error("a bug of the caller's"), 3);
  int n_errors = 0, n_exceptions = 0;
  while (engine_->busy()) {
    try {
      const auto report = engine_->step();
      if (report.ok()) continue;
      EXPECT_EQ(report.error().kind, ErrorKind::kResource);
      ++n_errors;
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "a bug of the caller's");
      ++n_exceptions;
    }
  }
  EXPECT_EQ(n_errors, 1);
  EXPECT_EQ(n_exceptions, 1) << "two in one step, of which one can leave it";
  for (const SequenceId id : {no_memory, broken, last}) {
    EXPECT_EQ(status(id).reason, FinishReason::kCancelled);
    EXPECT_EQ(status(id).n_generated, id == no_memory ? 2 : 3);
  }
  EXPECT_EQ(answer(other), fake_answer(fake_.config, prompt, {}, 20));
  expect_no_leak();
}

// -- memory
// --------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, AStepWithoutMemoryCanBeTriedAgain) {
  make();
  const auto prompt = random_ids(100);
  const SequenceId id = submit(prompt, 20, {.temperature = 1.0F, .seed = 8});
  for (int i = 0; engine_->busy(); ++i) {
    fake_.backend.fail_scratch = i % 3 == 1;
    const size_t before = answer(id).size();
    const auto report = engine_->step();
    EXPECT_EQ(report.ok(), !fake_.backend.fail_scratch);
    if (report.ok()) continue;
    EXPECT_EQ(report.error().kind, ErrorKind::kResource);
    EXPECT_EQ(answer(id).size(), before);
  }
  EXPECT_EQ(answer(id), fake_answer(fake_.config, prompt, {.temperature = 1.0F, .seed = 8}, 20));
  expect_no_leak();
}

// -- refusals
// ------------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, RefusesWhatCanNeverRun) {
  make();
  const auto refused = [&](Request request, const std::string& expected) {
    const auto id = engine_->submit(std::move(request));
    ASSERT_FALSE(id.ok()) << expected;
    EXPECT_EQ(id.error().kind, ErrorKind::kUsage);
    EXPECT_NE(id.error().message.find(expected), std::string::npos) << id.error().message;
  };
  refused({}, "prompt is empty");
  refused({.prompt = {1, 40}}, "prompt position 1 is token 40");
  refused({.prompt = {-1}}, "token -1");
  refused({.prompt = {1}, .sampling = {.top_p = 2.0F}}, "top_p");
  refused({.prompt = {1}, .max_new_tokens = 0}, "max_new_tokens = 0");
  refused({.prompt = {1}, .stop_tokens = {99}}, "stop token 0 is token 99");
  refused({.prompt = random_ids(2000)}, "context is 2000 tokens");
  EXPECT_TRUE(engine_->submit({.prompt = random_ids(1999), .max_new_tokens = 5}).ok());
  EXPECT_FALSE(engine_->status(999).ok());

  make({.cache_format = RowFormat::kF32, .max_tokens = 100});
  refused({.prompt = random_ids(128)}, "cache holds 128 tokens");
  EXPECT_TRUE(engine_->submit({.prompt = random_ids(127)}).ok());
  run();
}

TEST_F(EngineTest, RefusesOptionsOutOfRange) {
  for (const EngineOptions& options :
       {EngineOptions{.max_tokens = -1}, EngineOptions{.chunk = 0}, EngineOptions{.max_batch_tokens = 0}}) {
    const auto engine = Engine::create(fake_.model, options);
    ASSERT_FALSE(engine.ok());
    EXPECT_EQ(engine.error().kind, ErrorKind::kUsage);
  }
  const auto huge = Engine::create(fake_.model, {.max_tokens = int64_t{1} << 50});
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().kind, ErrorKind::kResource);
}

// -- evaluation
// ----------------------------------------------------------------------------------------------------------

TEST_F(EngineTest, EvaluateGivesEveryRowWhateverTheChunk) {
  make();
  const auto ids = random_ids(150);
  submit(ids, 4);  // pages of equal tokens exist; they must not be used
  run();
  const int64_t used = engine_->cache().n_used();
  for (const int64_t chunk : {0, 1, 7, 64, 1000}) {
    int64_t next = 0;
    const Status status =
        engine_->evaluate(ids, chunk, [&](int64_t first, std::span<const float> logits) -> Status {
          EXPECT_EQ(first, next);
          for (size_t at = 0; at < logits.size(); at += 40, ++next) {
            const auto expected =
                test::fake_logits(fake_.config, std::span(ids).first(static_cast<size_t>(next) + 1));
            EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                                   logits.begin() + static_cast<std::ptrdiff_t>(at)))
                << "row " << next;
          }
          return {};
        });
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(next, 150);
    EXPECT_EQ(engine_->cache().n_used(), used);
  }
}

TEST_F(EngineTest, EvaluateReportsWhatItCannotDo) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 4 * kPageRows});
  const auto nothing = [](int64_t, std::span<const float>) -> Status { return {}; };
  EXPECT_EQ(engine_->evaluate({}, 0, nothing).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(engine_->evaluate(std::vector<int32_t>{41}, 0, nothing).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(engine_->evaluate(std::vector<int32_t>{1}, -1, nothing).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(engine_->evaluate(random_ids(257), 0, nothing).error().kind, ErrorKind::kUsage);
  const auto refuse = [](int64_t, std::span<const float>) -> Status { return Error::cancelled("enough"); };
  EXPECT_EQ(engine_->evaluate(random_ids(200), 10, refuse).error().message, "enough");
  EXPECT_EQ(engine_->cache().n_used(), 0);

  const SequenceId id = submit(random_ids(100), 20);
  ASSERT_TRUE(engine_->step().ok());
  const Status full = engine_->evaluate(random_ids(200), 0, nothing);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().kind, ErrorKind::kResource);
  EXPECT_TRUE(engine_->evaluate(random_ids(100), 0, nothing).ok());
  run();
  EXPECT_EQ(answer(id).size(), 20U);
}

// -- everything at once
// --------------------------------------------------------------------------------------------------

TEST_F(EngineTest, RandomSubmitStepCancelLeaksNothingAndChangesNoAnswer) {
  for (const bool share : {true, false}) {
    make({.cache_format = RowFormat::kF32,
          .max_tokens = 24 * kPageRows,
          .chunk = 24,
          .max_batch_tokens = 48,
          .share_prefixes = share});
    struct Live {
      SequenceId id;
      std::vector<int32_t> expected;
      bool cancelled;
    };
    std::vector<Live> all;
    std::vector<std::vector<int32_t>> prompts;
    for (int op = 0; op < 4000; ++op) {
      const int kind = static_cast<int>(random_() % 20);
      if (kind == 0 && engine_->busy() + all.size() < 400) {
        auto prompt = random_ids(1 + static_cast<int64_t>(random_() % 250));
        if (!prompts.empty() && random_() % 2 == 0) {  // begins like an earlier one
          const auto& old = prompts[random_() % prompts.size()];
          prompt.insert(prompt.begin(), old.begin(),
                        old.begin() + static_cast<std::ptrdiff_t>(random_() % (old.size() + 1)));
        }
        prompts.push_back(prompt);
        const int64_t n_new = 1 + static_cast<int64_t>(random_() % 120);
        const SamplingParams sampling{
            .temperature = random_() % 2 == 0 ? 0.0F : 1.0F, .frequency_penalty = 0.2F, .seed = random_()};
        const SequenceId id = submit(prompt, n_new, sampling);
        all.push_back({id, fake_answer(fake_.config, prompt, sampling, n_new), false});
      } else if (kind == 1 && !all.empty() && random_() % 4 == 0) {
        Live& l = all[random_() % all.size()];
        l.cancelled = l.cancelled || !status(l.id).finished;
        engine_->cancel(l.id);
      } else {
        const auto report = engine_->step();
        ASSERT_TRUE(report.ok());
        preemptions_ += report->n_preemptions;
      }
    }
    run();
    int64_t n_whole = 0;
    for (const Live& l : all) {
      const auto& got = answer(l.id);
      ASSERT_LE(got.size(), l.expected.size());
      EXPECT_TRUE(std::equal(got.begin(), got.end(), l.expected.begin())) << "sequence " << l.id;
      if (l.cancelled) continue;
      EXPECT_EQ(got.size(), l.expected.size());
      ++n_whole;
    }
    EXPECT_GT(n_whole, 50);
    EXPECT_GT(preemptions_, 0);
    expect_no_leak();
  }
}

}  // namespace
}  // namespace mla
