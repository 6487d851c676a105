// Loading a model: progress, sizes, tokenizer, and a real checkpoint's text.

#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "support/forward_driver.h"
#include "support/paths.h"

namespace mla::test {
namespace {

class ModelTest : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
};

TEST_F(ModelTest, ProgressReachesTheTotal) {
  std::vector<LoadProgress> reports;
  auto model = Model::load(golden("models/deepseek_v3_fp8"), *backend_,
                           [&](const LoadProgress& p) { reports.push_back(p); });
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_GT(reports.size(), 5U);
  for (size_t i = 1; i < reports.size(); ++i) EXPECT_GE(reports[i].bytes_done, reports[i - 1].bytes_done);
  EXPECT_EQ(reports.back().bytes_done, reports.back().bytes_total);
}

TEST_F(ModelTest, WeightBytesCountTheExpertsInUse) {
  auto model = Model::load(golden("models/deepseek_v3/model.gguf"), *backend_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  int64_t total = 0, experts = 0, parameters = 0;
  for (const TensorView& t : (*model)->checkpoint().tensors) {
    total += t.n_bytes();
    parameters += t.n_elements();
    if (t.name.find("_exps.") != std::string::npos) experts += t.n_bytes();
  }
  const RouterSpec& router = (*model)->config().router;
  const int64_t embedding = (*model)->checkpoint().find("token_embd.weight")->n_bytes();
  EXPECT_EQ((*model)->n_parameters(), parameters);
  EXPECT_EQ((*model)->total_weight_bytes(), total);
  EXPECT_EQ((*model)->active_weight_bytes(),
            total - embedding - experts + experts / router.n_experts * router.n_experts_used);
}

TEST_F(ModelTest, ATiedHeadIsTheEmbeddingOnce) {
  auto model = Model::load(golden("models/llama_gqa"), *backend_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_TRUE((*model)->config().tied_head);
  EXPECT_EQ((*model)->total_weight_bytes(), static_cast<int64_t>((*model)->checkpoint().tensor_bytes()));
  EXPECT_EQ((*model)->active_weight_bytes(), (*model)->total_weight_bytes());
}

TEST_F(ModelTest, LoadNamesWhatIsNoModel) {
  const auto model = Model::load(temp_dir("empty"), *backend_);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.error().kind, ErrorKind::kInvalidFile);
}

TEST_F(ModelTest, GgufCarriesItsTokenizer) {
  auto model = Model::load(golden("models/llama_gqa/model.gguf"), *backend_);
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_NE((*model)->tokenizer(), nullptr);
  EXPECT_EQ((*model)->tokenizer()->n_vocab(), (*model)->config().n_vocab);
}

// A trained checkpoint whose greedy text is published: from BOS alone, token by token.
TEST_F(ModelTest, Stories260kTellsItsStory) {
  MLA_SHARED_FILE_OR_SKIP(path, "data/weights/stories260K.gguf");
  auto loaded = Model::load(path, *backend_);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Model& model = **loaded;
  ASSERT_NE(model.tokenizer(), nullptr);
  const std::string want =
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, "
      "she saw a big, red ball. She wanted to play with it, but it was too high";

  ForwardDriver driver(model.config(), model.decoder(), *backend_);
  std::vector<int32_t> ids{model.tokenizer()->bos()};
  std::string text;
  while (ids.size() < 100 && text.size() < want.size()) {
    const std::vector<float> logits = driver.step({{0, {ids.back()}}});
    ids.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    text = model.tokenizer()->decode({ids.begin() + 1, ids.end()}).value();
  }
  EXPECT_EQ(text, want);
}

}  // namespace
}  // namespace mla::test
