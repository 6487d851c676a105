#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "support/fake_model.h"

namespace mla::test {

inline constexpr EngineOptions kOptions{
    .cache_format = RowFormat::kF32, .max_tokens = 40 * kPageRows, .chunk = 32, .max_batch_tokens = 96};

/// An engine on the fake model; answers are gathered as they come.
class EngineTest : public testing::Test {
 protected:
  void make(EngineOptions options = kOptions) {
    auto engine = Engine::create(fake_.model, options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
  }

  std::vector<int32_t> random_ids(int64_t n) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; ++i)
      ids.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(fake_.config.n_vocab)));
    return ids;
  }

  /// Submits and gathers the answer in answers_.
  SequenceId submit(std::vector<int32_t> prompt, int64_t n_new, SamplingParams sampling = {},
                    std::vector<int32_t> stops = {}) {
    return submit(Request{.prompt = std::move(prompt),
                          .sampling = std::move(sampling),
                          .max_new_tokens = n_new,
                          .stop_tokens = std::move(stops)});
  }
  SequenceId submit(Request request) {
    auto tokens = std::make_shared<std::vector<int32_t>>();
    request.on_token = [tokens](const SampledToken& t) {
      tokens->push_back(t.token);
      return true;
    };
    const auto id = engine_->submit(std::move(request));
    EXPECT_TRUE(id.ok()) << (id.ok() ? "" : id.error().message);
    answers_[*id] = tokens;
    return *id;
  }
  const std::vector<int32_t>& answer(SequenceId id) { return *answers_.at(id); }

  StepReport step() {
    const auto report = engine_->step();
    EXPECT_TRUE(report.ok()) << report.error().message;
    preemptions_ += report->n_preemptions;
    return *report;
  }
  void run(int max_steps = 100000) {
    for (int i = 0; i < max_steps && engine_->busy(); ++i) {
      const auto report = engine_->step();
      ASSERT_TRUE(report.ok()) << report.error().message;
      preemptions_ += report->n_preemptions;
    }
    ASSERT_FALSE(engine_->busy()) << "not finished after " << max_steps << " steps";
  }
  SequenceStatus status(SequenceId id) { return engine_->status(id).value(); }

  /// Nothing but the prefix index may hold a page, and it gives them all back.
  void expect_no_leak() {
    EXPECT_EQ(engine_->cache().n_used(), engine_->n_reusable_pages());
    engine_->drop_prefixes();
    EXPECT_EQ(engine_->cache().n_free(), engine_->cache().n_pages());
  }

  std::mt19937_64 random_{77};
  FakeModel fake_;
  std::unique_ptr<Engine> engine_;
  std::map<SequenceId, std::shared_ptr<std::vector<int32_t>>> answers_;
  int64_t preemptions_ = 0;
};

}  // namespace mla::test
