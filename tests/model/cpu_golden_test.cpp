// The goldens on the cpu backend, on every instruction set of this machine: against transformers and against
// itself.

#include <gtest/gtest.h>

#include "base/cpu_features.h"
#include "cpu/cpu_backend.h"
#include "support/forward_driver.h"
#include "support/golden.h"

namespace mla::test {
namespace {

constexpr double kCpuTolerance = 1e-3;  // of the range of the logits

class CpuGolden : public testing::TestWithParam<std::tuple<GoldenCase, Isa>> {
 protected:
  CpuGolden()
      : backend_(make(2)),
        model_(open_and_bind(std::get<0>(GetParam()).checkpoint, *backend_)),
        ids_(Golden::load(std::get<0>(GetParam()).golden).i32("ids")),
        want_(Golden::load(std::get<0>(GetParam()).golden).f32("logits")) {}

  static std::unique_ptr<Backend> make(int n_threads) {
    auto backend = make_cpu_backend({.n_threads = n_threads, .isa = std::get<1>(GetParam())});
    if (!backend.ok()) throw std::runtime_error(backend.error().message);
    return std::move(backend).value();
  }

  std::unique_ptr<Backend> backend_;
  BoundModel model_;
  std::vector<int32_t> ids_;
  std::vector<float> want_;  // [n_tokens, n_vocab]
};

TEST_P(CpuGolden, MatchesTransformers) {
  EXPECT_LE(logit_error(logits_of(model_, ids_), want_), kCpuTolerance);
}

TEST_P(CpuGolden, BothFormsOfMlaMatch) {
  for (MlaForm form :
       {MlaForm::kExpanded, MlaForm::kAbsorbed}) {  // the others have one form: the same run twice
    EXPECT_LE(logit_error(logits_of(model_, ids_, {.form = form}), want_), kCpuTolerance)
        << mla_form_name(form);
  }
}

TEST_P(CpuGolden, ChunksMatch) {
  for (int64_t chunk : {1, 6}) {
    EXPECT_LE(logit_error(logits_of(model_, ids_, {}, chunk), want_), kCpuTolerance) << "chunks of " << chunk;
  }
}

// A sequence that decodes beside one that is being prefilled.
TEST_P(CpuGolden, SequencesOfABatchDoNotSeeEachOther) {
  const auto n_vocab = static_cast<size_t>(model_.config.n_vocab);
  const std::vector<int32_t> other(ids_.rbegin(), ids_.rbegin() + 13);
  ForwardDriver driver(model_);
  driver.step({{0, {ids_.begin(), ids_.begin() + 11}}, {1, {other.begin(), other.begin() + 2}}});
  const auto mixed = driver.step({{1, {other.begin() + 2, other.end()}}, {0, {ids_[11]}}});
  EXPECT_LE(logit_error(std::span(mixed).last(n_vocab), std::span(want_).subspan(11 * n_vocab, n_vocab)),
            kCpuTolerance);
}

TEST_P(CpuGolden, ThreadsDoNotChangeABit) {
  const std::unique_ptr<Backend> alone = make(1);
  const BoundModel model = open_and_bind(std::get<0>(GetParam()).checkpoint, *alone);
  EXPECT_EQ(logits_of(model_, ids_), logits_of(model, ids_));
}

INSTANTIATE_TEST_SUITE_P(Goldens, CpuGolden,
                         testing::Combine(testing::ValuesIn(golden_cases()),
                                          testing::ValuesIn(available_isas())),
                         [](const auto& info) {
                           return test_name(std::get<0>(info.param)) + "_" +
                                  std::string(isa_name(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace mla::test
