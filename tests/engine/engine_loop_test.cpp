#include "engine/engine_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "grammar/json_schema.h"
#include "support/fake_model.h"

namespace mla {
namespace {

using test::fake_answer;
using test::FakeModel;

constexpr EngineOptions kOptions{
    .cache_format = RowFormat::kF32, .max_tokens = 40 * kPageRows, .chunk = 32, .max_batch_tokens = 96};

/// What becomes of one job; filled in on the loop's thread.
struct Outcome {
  std::vector<int32_t> tokens;
  int n_ends = 0;
  SequenceStatus status;
  std::optional<Error> error;
  std::promise<void> ended;
};

class EngineLoopTest : public testing::Test {
 protected:
  void start(EngineOptions options = kOptions, EngineLoopOptions loop_options = {}) {
    auto engine = Engine::create(fake_.model, options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    loop_ = EngineLoop::start(std::move(*engine), std::move(loop_options));
  }
  static EngineLoop::Job job(const std::shared_ptr<Outcome>& outcome, Request request) {
    request.on_token = [outcome, inner = std::move(request.on_token)](const SampledToken& t) {
      outcome->tokens.push_back(t.token);
      return !inner || inner(t);
    };
    return {std::move(request), [outcome](const SequenceStatus& status, const std::optional<Error>& error) {
              outcome->status = status;
              outcome->error = error;
              if (++outcome->n_ends == 1) outcome->ended.set_value();
            }};
  }
  Result<EngineLoop::Id> submit(const std::shared_ptr<Outcome>& outcome, Request request) {
    return loop_->submit(job(outcome, std::move(request)));
  }
  static void wait(const std::shared_ptr<Outcome>& outcome) { outcome->ended.get_future().wait(); }

  /// Runs `work` between two steps and waits for it.
  template <typename Work>
  void on_loop(Work work) {
    const auto done = std::make_shared<std::promise<void>>();
    loop_->run([&work, done](Engine& engine) {
      work(engine);
      done->set_value();
    });
    done->get_future().wait();
  }
  void expect_no_leak() {
    on_loop([](Engine& engine) {
      EXPECT_FALSE(engine.busy());
      EXPECT_EQ(engine.cache().n_used(), engine.n_reusable_pages());
      engine.drop_prefixes();
      EXPECT_EQ(engine.cache().n_free(), engine.cache().n_pages());
    });
  }
  std::vector<int32_t> random_ids(int64_t n) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i)
      ids.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(fake_.config.n_vocab)));
    return ids;
  }

  std::mt19937_64 random_{5};
  FakeModel fake_;
  std::unique_ptr<EngineLoop> loop_;
};

TEST_F(EngineLoopTest, AnswersManyThreadsAtOnceAsEachAlone) {
  start(kOptions, {.max_waiting = 1000});
  constexpr int kThreads = 4, kJobs = 12;
  std::vector<std::vector<std::vector<int32_t>>> prompts(kThreads);
  for (auto& of_thread : prompts) {
    for (int i = 0; i < kJobs; ++i)
      of_thread.push_back(random_ids(1 + static_cast<int64_t>(random_() % 150)));
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::shared_ptr<Outcome>> outcomes;
      for (const auto& prompt : prompts[static_cast<size_t>(t)]) {
        outcomes.push_back(std::make_shared<Outcome>());
        ASSERT_TRUE(submit(outcomes.back(), {.prompt = prompt, .max_new_tokens = 30}).ok());
      }
      for (size_t i = 0; i < outcomes.size(); ++i) {
        wait(outcomes[i]);
        EXPECT_EQ(outcomes[i]->tokens, fake_answer(fake_.config, prompts[static_cast<size_t>(t)][i], {}, 30));
        EXPECT_EQ(outcomes[i]->status.reason, FinishReason::kLength);
        EXPECT_FALSE(outcomes[i]->error);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect_no_leak();
}

TEST_F(EngineLoopTest, ChecksOnTheCallersThread) {
  start();
  const auto outcome = std::make_shared<Outcome>();
  const auto id = submit(outcome, {.prompt = {1, 999}});
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.error().kind, ErrorKind::kUsage);
  loop_.reset();
  EXPECT_EQ(outcome->n_ends, 0) << "a refused job has no end";
}

TEST_F(EngineLoopTest, RefusesWhatWouldWaitBeyondItsLimit) {
  EngineOptions options = kOptions;
  options.max_batch_tokens = 1;  // one sequence runs at once
  start(options, {.max_waiting = 3});
  std::promise<void> go;
  std::promise<void> held;
  loop_->run([&](Engine&) {
    held.set_value();
    go.get_future().wait();
  });
  held.get_future().wait();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  int n_busy = 0;
  for (int i = 0; i < 6; ++i) {  // one has a place, three wait
    outcomes.push_back(std::make_shared<Outcome>());
    const auto id = submit(outcomes.back(), {.prompt = {1, 2}, .max_new_tokens = 3});
    if (id.ok()) continue;
    EXPECT_EQ(id.error().kind, ErrorKind::kBusy);
    ++n_busy;
    outcomes.pop_back();
  }
  EXPECT_EQ(n_busy, 2);
  EXPECT_EQ(loop_->status().n_waiting, 4);
  go.set_value();
  for (const auto& outcome : outcomes) wait(outcome);
  EXPECT_TRUE(submit(std::make_shared<Outcome>(), {.prompt = {1}, .max_new_tokens = 1}).ok());
}

TEST_F(EngineLoopTest, ThoseThatWaitForASharedPrefixDoNotFillTheQueue) {
  EngineOptions options = kOptions;
  options.chunk = 4;
  // The loop stands still after its second and its fourth step.
  std::array<std::promise<void>, 2> stands, goes_on;
  int n_steps = 0;
  start(options, {.max_waiting = 2, .on_step = [&](const StepReport&, double) {
                    if (++n_steps != 2 && n_steps != 4) return;
                    const size_t stop = n_steps == 2 ? 0 : 1;
                    stands.at(stop).set_value();
                    goes_on.at(stop).get_future().wait();
                  }});
  const std::vector<int32_t> prompt(5 * kPageRows, 7);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  const auto submit_more = [&](int n) {
    for (int i = 0; i < n; ++i) {
      outcomes.push_back(std::make_shared<Outcome>());
      EXPECT_TRUE(submit(outcomes.back(), {.prompt = prompt, .max_new_tokens = 2}).ok()) << outcomes.size();
    }
  };
  submit_more(1);
  for (size_t stop = 0; stop < 2; ++stop) {
    stands.at(stop).get_future().wait();
    submit_more(5);
    EXPECT_EQ(loop_->status().n_running, 1);
    EXPECT_EQ(loop_->status().n_waiting, stop == 0 ? 5 : 10);
    goes_on.at(stop).set_value();
  }
  for (const auto& outcome : outcomes) wait(outcome);
  loop_.reset();  // jobs end before their step is reported, to what lives here
}

TEST_F(EngineLoopTest, StopAcceptingFinishesWhatWasAccepted) {
  start();
  const auto outcome = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(outcome, {.prompt = {1, 2, 3}, .max_new_tokens = 50}).ok());
  loop_->stop_accepting();
  const auto late = submit(std::make_shared<Outcome>(), {.prompt = {1}});
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().kind, ErrorKind::kBusy);
  wait(outcome);
  EXPECT_EQ(outcome->tokens.size(), 50U);
}

TEST_F(EngineLoopTest, DestructionEndsEveryJobOnceAsCancelled) {
  start();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 20; ++i) {
    outcomes.push_back(std::make_shared<Outcome>());
    ASSERT_TRUE(submit(outcomes.back(), {.prompt = random_ids(100), .max_new_tokens = 1500}).ok());
  }
  loop_.reset();
  for (const auto& outcome : outcomes) {
    EXPECT_EQ(outcome->n_ends, 1);
    EXPECT_EQ(outcome->status.reason, FinishReason::kCancelled);
  }
}

TEST_F(EngineLoopTest, CancelFromACallbackAndFromOutsideEndsOnce) {
  start();
  const auto self = std::make_shared<Outcome>(), other = std::make_shared<Outcome>();
  std::promise<EngineLoop::Id> own_id;
  auto id_of_self = own_id.get_future().share();
  Request request{.prompt = {1, 2}, .max_new_tokens = 1000};
  request.on_token = [&, id_of_self](const SampledToken&) {
    loop_->cancel(id_of_self.get());
    return true;
  };
  own_id.set_value(submit(self, std::move(request)).value());
  wait(self);
  EXPECT_EQ(self->tokens.size(), 1U) << "cancelled within one step";
  EXPECT_EQ(self->status.reason, FinishReason::kCancelled);

  const auto id = submit(other, {.prompt = {1, 2}, .max_new_tokens = 1900}).value();
  loop_->cancel(id);
  loop_->cancel(id);
  wait(other);
  loop_->cancel(id);
  expect_no_leak();
  EXPECT_EQ(other->n_ends, 1);
}

TEST_F(EngineLoopTest, APausedJobGetsNoTokensAndOthersGoOn) {
  start();
  const auto slow = std::make_shared<Outcome>();
  std::promise<EngineLoop::Id> own_id;
  auto id_of_slow = own_id.get_future().share();
  Request request{.prompt = {1, 2}, .max_new_tokens = 10};
  request.on_token = [&, id_of_slow, n = 0](const SampledToken&) mutable {
    if (++n == 3) loop_->pause(id_of_slow.get());
    return true;
  };
  const auto id = submit(slow, std::move(request)).value();
  own_id.set_value(id);
  const auto other = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(other, {.prompt = {3, 4}, .max_new_tokens = 300}).ok());
  wait(other);
  on_loop([&](Engine&) { EXPECT_EQ(slow->tokens.size(), 3U); });
  loop_->resume(id);
  wait(slow);
  EXPECT_EQ(slow->tokens, fake_answer(fake_.config, std::vector<int32_t>{1, 2}, {}, 10));
  loop_->pause(id);
  loop_->resume(id);
}

TEST_F(EngineLoopTest, AStepWithoutATokenLetsTheNextBegin) {
  EngineOptions one_place = kOptions;
  one_place.max_sequences = 1;
  start(one_place);
  // Two tokens spell the answer's beginning, and none goes on: the third step chooses nothing and ends the sequence.
  std::vector<TokenText> tokens(static_cast<size_t>(fake_.config.n_vocab));
  tokens[0].bytes = "1";
  tokens[1].bytes = ",";
  auto grammar = compile_json_schema(nlohmann::ordered_json{{"const", 112}});
  ASSERT_TRUE(grammar.ok());
  Request stuck{.prompt = {1, 2}, .max_new_tokens = 10};
  stuck.sampling.constraint = TokenConstraint({.documents = {{*grammar}}, .tokens = std::make_shared<const TokenIndex>(tokens), .end_tokens = {2}});
  const auto first = std::make_shared<Outcome>(), second = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(first, std::move(stuck)).ok());
  ASSERT_TRUE(submit(second, {.prompt = {3, 4}, .max_new_tokens = 5}).ok());
  wait(first);
  EXPECT_EQ(first->status.reason, FinishReason::kNoToken);
  EXPECT_EQ(first->tokens, (std::vector<int32_t>{0, 0}));
  wait(second);
  EXPECT_EQ(second->tokens.size(), 5U);
}

TEST_F(EngineLoopTest, AStepThatLacksMemoryOnceIsTriedAgain) {
  start();
  const auto outcome = std::make_shared<Outcome>();
  on_loop([&](Engine&) { fake_.backend.fail_scratch_calls = 1; });
  const auto prompt = random_ids(50);
  ASSERT_TRUE(submit(outcome, {.prompt = prompt, .max_new_tokens = 10}).ok());
  wait(outcome);
  EXPECT_FALSE(outcome->error);
  EXPECT_EQ(outcome->tokens, fake_answer(fake_.config, prompt, {}, 10));
}

TEST_F(EngineLoopTest, AStepThatLacksMemoryAgainEndsTheYoungest) {
  start();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  on_loop([&](Engine&) {
    fake_.backend.fail_scratch_calls = 2;
    for (int i = 0; i < 3; ++i) {
      outcomes.push_back(std::make_shared<Outcome>());
      ASSERT_TRUE(submit(outcomes.back(), {.prompt = {1, 2, 3}, .max_new_tokens = 10}).ok());
    }
  });
  for (const auto& outcome : outcomes) wait(outcome);
  EXPECT_FALSE(outcomes[0]->error);
  EXPECT_FALSE(outcomes[1]->error);
  ASSERT_TRUE(outcomes[2]->error);
  EXPECT_EQ(outcomes[2]->error->kind, ErrorKind::kResource);
  EXPECT_EQ(outcomes[2]->status.reason, FinishReason::kCancelled);
  EXPECT_EQ(outcomes[1]->tokens.size(), 10U);

  on_loop([&](Engine&) { fake_.backend.fail_scratch_calls = 1000000; });
  const auto hopeless = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(hopeless, {.prompt = {1}, .max_new_tokens = 10}).ok());
  wait(hopeless);
  EXPECT_TRUE(hopeless->error) << "it does not spin";
}

TEST_F(EngineLoopTest, ACallbackThatThrowsEndsItsOwnJobWithAnError) {
  start();
  const auto other = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(other, {.prompt = {1, 2}, .max_new_tokens = 200}).ok());
  const auto broken = std::make_shared<Outcome>();
  Request request{.prompt = {1, 2}, .max_new_tokens = 10};
  request.on_token = [](const SampledToken&) -> bool { throw std::runtime_error("a bug of the caller's"); };
  ASSERT_TRUE(submit(broken, std::move(request)).ok());
  wait(broken);
  EXPECT_TRUE(broken->status.finished);
  ASSERT_TRUE(broken->error);
  EXPECT_EQ(broken->error->kind, ErrorKind::kFailure);
  EXPECT_NE(broken->error->message.find("a bug of the caller's"), std::string::npos);
  wait(other);
  EXPECT_FALSE(other->error);
  EXPECT_EQ(other->tokens.size(), 200U);
}

TEST_F(EngineLoopTest, ReportsStepsAndStatus) {
  std::atomic<int64_t> n_new = 0, n_prompt = 0;
  start(kOptions, {.on_step = [&](const StepReport& report, double seconds) {
          n_new += report.n_new_tokens;
          n_prompt += report.n_prompt_tokens;
          EXPECT_GE(seconds, 0.0);
        }});
  const auto outcome = std::make_shared<Outcome>();
  ASSERT_TRUE(submit(outcome, {.prompt = random_ids(2 * kPageRows), .max_new_tokens = 10}).ok());
  wait(outcome);
  on_loop([](Engine&) {});
  on_loop([](Engine&) {});
  EXPECT_EQ(n_new, 10);
  EXPECT_EQ(n_prompt, 2 * kPageRows);
  const EngineLoopStatus status = loop_->status();
  EXPECT_EQ(status.n_running, 0);
  EXPECT_EQ(status.n_waiting, 0);
  EXPECT_EQ(status.n_pages, 40);
  EXPECT_EQ(status.n_used_pages, 2);
  EXPECT_EQ(status.n_reusable_pages, 2);
  EXPECT_EQ(loop_->max_sequence_tokens(), 2000);
}

// -- everything at once
// -------------------------------------------------------------------------------------------------------------------

/// What one of the threads below asks for, and what must come of it.
struct Asked {
  std::shared_ptr<Outcome> outcome = std::make_shared<Outcome>();
  EngineLoop::Id id = 0;
  std::vector<int32_t> expected;
  bool cancelled = false;
};

/// Submits, cancels, pauses and resumes at random, with prompts that begin alike, as one client in one of two
/// namespaces.
class RandomClient {
 public:
  RandomClient(EngineLoop& loop, const Config& config, uint64_t seed,
               std::vector<std::vector<int32_t>> beginnings)
      : loop_(loop), config_(config), random_(seed), beginnings_(std::move(beginnings)) {}

  void act() {
    const uint64_t kind = random_() % 10;
    if (kind < 4 || all_.empty()) return ask();
    Asked& one = all_[random_() % all_.size()];
    if (kind == 4) {
      one.cancelled = true;
      loop_.cancel(one.id);
    } else if (kind < 7) {
      loop_.pause(one.id);
    } else if (kind < 9) {
      loop_.resume(one.id);
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 500));
    }
  }
  /// Returns how many were answered to the end.
  int64_t finish() {
    int64_t n_whole = 0;
    for (Asked& one : all_) loop_.resume(one.id);
    for (Asked& one : all_) {
      one.outcome->ended.get_future().wait();
      EXPECT_EQ(one.outcome->n_ends, 1);
      EXPECT_FALSE(one.outcome->error);
      const std::vector<int32_t>& got = one.outcome->tokens;
      const bool whole = one.outcome->status.reason == FinishReason::kLength;
      EXPECT_TRUE(whole || one.cancelled);
      if (got.size() > one.expected.size()) {
        ADD_FAILURE() << "job " << one.id << " says too much";
        continue;
      }
      EXPECT_TRUE(std::equal(got.begin(), got.end(), one.expected.begin())) << "job " << one.id;
      if (whole) {
        EXPECT_EQ(got.size(), one.expected.size());
      }
      n_whole += whole ? 1 : 0;
    }
    return n_whole;
  }

 private:
  void ask() {
    std::vector<int32_t> prompt = beginnings_[random_() % beginnings_.size()];
    prompt.resize(random_() % prompt.size());
    for (uint64_t n = 1 + random_() % 20; n > 0; --n)
      prompt.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(config_.n_vocab)));
    const int64_t n_new = 1 + static_cast<int64_t>(random_() % 100);
    const SamplingParams sampling{.temperature = random_() % 2 == 0 ? 0.0F : 1.0F,
                                  .repetition_penalty = random_() % 3 == 0 ? 1.2F : 1.0F,
                                  .seed = random_()};
    Asked one;
    one.expected = fake_answer(config_, prompt, sampling, n_new);
    EngineLoop::Job job{
        {.prompt = prompt,
         .sampling = sampling,
         .max_new_tokens = n_new,
         .client = std::to_string(random_() % 3),
         .prefix_namespace = random_() % 2 == 0 ? "a" : "b"},
        [outcome = one.outcome](const SequenceStatus& status, const std::optional<Error>& error) {
          outcome->status = status;
          outcome->error = error;
          if (++outcome->n_ends == 1) outcome->ended.set_value();
        }};
    job.request.on_token = [outcome = one.outcome](const SampledToken& t) {
      outcome->tokens.push_back(t.token);
      return true;
    };
    auto id = loop_.submit(std::move(job));
    if (!id.ok()) {
      EXPECT_EQ(id.error().kind, ErrorKind::kBusy);
      return;
    }
    one.id = *id;
    all_.push_back(std::move(one));
  }

  EngineLoop& loop_;
  const Config& config_;
  std::mt19937_64 random_;
  std::vector<std::vector<int32_t>> beginnings_;
  std::vector<Asked> all_;
};

TEST_F(EngineLoopTest, RandomClientsOfAPoolTooSmallGetExactAnswersAndLeakNothing) {
  std::atomic<int64_t> n_preemptions = 0;
  start({.cache_format = RowFormat::kF32,
         .max_tokens = 20 * kPageRows,
         .chunk = 48,
         .prefill_budget = 24,
         .max_batch_tokens = 64},
        {.max_waiting = 200,
         .on_step = [&](const StepReport& report, double) { n_preemptions += report.n_preemptions; }});
  const std::vector<std::vector<int32_t>> beginnings{random_ids(5 * kPageRows),
                                                     random_ids(3 * kPageRows + 30), random_ids(40)};
  std::atomic<int64_t> n_whole = 0;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      RandomClient client(*loop_, fake_.config, 1000 + t, beginnings);
      for (int i = 0; i < 400; ++i) client.act();
      n_whole += client.finish();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(n_whole, 50);
  EXPECT_GT(n_preemptions, 0);
  expect_no_leak();
}

}  // namespace
}  // namespace mla
