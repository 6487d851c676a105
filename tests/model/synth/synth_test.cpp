#include "model/synth/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "support/forward_driver.h"
#include "support/paths.h"

namespace mla {
namespace {

namespace fs = std::filesystem;
using test::BoundModel;

SynthPlan plan_of(std::string_view name, DType quant, uint64_t seed = 1) {
  return plan_synth(find_shape(name).value(), quant, seed).value();
}

fs::path written(const SynthPlan& plan) {
  ThreadPool threads(2);
  const fs::path path = test::temp_dir("synth") / "model.gguf";
  const auto bytes = write_synth_gguf(plan, path, threads);
  EXPECT_TRUE(bytes.ok()) << bytes.error().message;
  EXPECT_EQ(bytes.value(), fs::file_size(path));
  return path;
}

std::unique_ptr<Backend> fast_backend() {
  return make_cpu_backend({.n_threads = 2, .isa = choose_isa().value()}).value();
}

struct Case {
  std::string shape;
  DType quant;
};

class EveryQuant : public testing::TestWithParam<Case> {};

// From the shape to logits: the file is read, bound and run, by the specification and by the fast backend.
TEST_P(EveryQuant, LoadsAndGivesTheSameLogitsOnBothBackends) {
  const fs::path path = written(plan_of(GetParam().shape, GetParam().quant));
  const auto reference = make_reference_backend();
  const auto cpu = fast_backend();
  const BoundModel slow = test::open_and_bind(path, *reference), fast = test::open_and_bind(path, *cpu);
  const std::vector<int32_t> ids = {256, 84, 104, 101, 32, 500, 3, 77, 411, 0, 260};
  const std::vector<float> want = test::logits_of(slow, ids);
  EXPECT_LT(test::logit_error(test::logits_of(fast, ids), want), 1e-3);
  EXPECT_LT(test::logit_error(test::logits_of(fast, ids, {}, 4), want), 1e-3) << "in chunks";

  // Logits that a trained head could give: neither all alike nor exploded.
  double squares = 0.0;
  for (const float x : want) {
    ASSERT_TRUE(std::isfinite(x));
    squares += double{x} * x;
  }
  const double rms = std::sqrt(squares / static_cast<double>(want.size()));
  EXPECT_GT(rms, 0.3);
  EXPECT_LT(rms, 3.0);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const DType quant : synth_dtypes()) {
    for (const char* shape : {"tiny-mla", "tiny-mla-lite", "tiny-gqa"}) all.push_back({shape, quant});
  }
  return all;
}

std::string test_name(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.shape + "_" + std::string(dtype_info(info.param.quant).name);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Quants, EveryQuant, testing::ValuesIn(cases()), test_name);

TEST(Synth, TheSameSeedGivesTheSameFile) {
  const std::string first = test::read_file(written(plan_of("tiny-mla", DType::kQ4_K)));
  EXPECT_TRUE(first == test::read_file(written(plan_of("tiny-mla", DType::kQ4_K))));
  EXPECT_FALSE(first == test::read_file(written(plan_of("tiny-mla", DType::kQ4_K, 2))));
}

TEST(Synth, InMemoryIsWhatTheFileHolds) {
  const SynthPlan plan = plan_of("tiny-mla-lite", DType::kQ4_0);
  const auto file = open_checkpoint(written(plan)).value();
  ThreadPool threads(2);
  const auto memory = make_synth_checkpoint(plan, threads);
  ASSERT_TRUE(memory.ok()) << memory.error().message;
  EXPECT_TRUE((*memory)->metadata.entries() == file->metadata.entries());
  ASSERT_EQ((*memory)->tensors.size(), file->tensors.size());
  for (const TensorView& want : file->tensors) {
    const TensorView* got = (*memory)->find(want.name);
    ASSERT_NE(got, nullptr) << want.name;
    ASSERT_EQ(got->dtype, want.dtype);
    ASSERT_EQ(got->shape, want.shape);
    ASSERT_EQ(std::memcmp(got->data, want.data, static_cast<size_t>(want.n_bytes())), 0) << want.name;
  }
}

TEST(Synth, ModelRunsFromMemory) {
  const SynthPlan plan = plan_of("tiny-gqa", DType::kQ8_0);
  ThreadPool threads(2);
  const auto backend = fast_backend();
  const auto model = Model::load(make_synth_checkpoint(plan, threads).value(), *backend);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->n_parameters(), plan.n_parameters());
  test::ForwardDriver driver((*model)->config(), (*model)->decoder(), *backend);
  for (const float x : driver.step({{0, (*model)->tokenizer()->encode("hello")}}))
    ASSERT_TRUE(std::isfinite(x));
}

TEST(Synth, ProgressReachesTheTotalAndCanCancel) {
  const SynthPlan plan = plan_of("tiny-mla", DType::kF32);
  ThreadPool threads(1);
  const fs::path folder = test::temp_dir("synth");
  uint64_t last = 0, total = 0;
  const auto count = [&](uint64_t done, uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
    return true;
  };
  ASSERT_TRUE(write_synth_gguf(plan, folder / "a.gguf", threads, count).ok());
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, plan.tensor_bytes());

  const auto stopped =
      write_synth_gguf(plan, folder / "b.gguf", threads, [](uint64_t, uint64_t) { return false; });
  EXPECT_EQ(stopped.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(make_synth_checkpoint(plan, threads, [](uint64_t, uint64_t) { return false; }).error().kind,
            ErrorKind::kCancelled);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 1);
}

TEST(Synth, AFullDiskIsAResourceError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  ThreadPool threads(1);
  const auto result = write_synth_gguf(plan_of("tiny-gqa", DType::kQ4_0), "/dev/full", threads);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().kind, ErrorKind::kResource);
}

}  // namespace
}  // namespace mla
