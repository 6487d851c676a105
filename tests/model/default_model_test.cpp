// The model that ships, against what transformers computes for its dequantised weights
// (models/expected.json).

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "cpu/cpu_backend.h"
#include "support/forward_driver.h"
#include "support/paths.h"

namespace mla::test {
namespace {

const std::filesystem::path kFolder = source_dir() / "models";

/// The numbers of a float32 array in NumPy's format: "\x93NUMPY", version, length of the header, header,
/// data.
std::vector<float> read_npy(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  if (bytes.size() < 10 || bytes.find("'<f4'") > 128)
    throw std::runtime_error(path.string() + ": no float32 array");
  const size_t begin =
      10 + static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  std::vector<float> values((bytes.size() - begin) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
  return values;
}

class DefaultModel : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(exists(kFolder / "expected.json")) << "the model that ships is missing";
    expected_ = nlohmann::json::parse(std::ifstream(kFolder / "expected.json"));
    ASSERT_FALSE(expected_.at("greedy").empty());
    backend_ = make_reference_backend();
    model_ = open_and_bind(kFolder / expected_.at("model").get<std::string>(), *backend_);
  }

  nlohmann::json expected_;
  std::unique_ptr<Backend> backend_;
  BoundModel model_;
};

TEST_F(DefaultModel, IsADeepseekV3WithAllItsParts) {
  const Config& c = model_.config;
  EXPECT_EQ(c.architecture, "deepseek_v3");
  EXPECT_EQ(c.attention, AttentionKind::kMla);
  EXPECT_GT(c.q_rank, 0);
  EXPECT_TRUE(c.has_experts());
  EXPECT_GT(c.n_dense_layers, 0);
  EXPECT_GT(c.n_shared_experts, 0);
  EXPECT_TRUE(c.router_bias);
  EXPECT_EQ(c.router.score, RouterScore::kSigmoid);
}

TEST_F(DefaultModel, SpeaksTheTokensOfItsTraining) {
  const auto tokenizer = read_tokenizer(*model_.checkpoint);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  for (const nlohmann::json& run : expected_.at("greedy")) {
    EXPECT_EQ((*tokenizer)->encode(run.at("prompt").get<std::string>(), {.add_bos = true}),
              run.at("prompt_ids").get<std::vector<int32_t>>());
    EXPECT_EQ((*tokenizer)->decode(run.at("ids").get<std::vector<int32_t>>(), /*special=*/true).value(), run.at("text"));
  }
}

TEST_F(DefaultModel, MatchesTransformersLogitsOnEveryInstructionSet) {
  const auto ids = expected_.at("logits").at("ids").get<std::vector<int32_t>>();
  const std::vector<float> want = read_npy(kFolder / expected_.at("logits").at("file").get<std::string>());
  for (Isa isa : available_isas()) {
    auto cpu = make_cpu_backend({.n_threads = 2, .isa = isa});
    ASSERT_TRUE(cpu.ok()) << cpu.error().message;
    const BoundModel model = open_and_bind(kFolder / expected_.at("model").get<std::string>(), **cpu);
    EXPECT_LE(logit_error(logits_of(model, ids), want), 1e-3) << isa_name(isa);
  }
}

TEST_F(DefaultModel, MatchesTransformersLogits) {
  const auto ids = expected_.at("logits").at("ids").get<std::vector<int32_t>>();
  const std::vector<float> want = read_npy(kFolder / expected_.at("logits").at("file").get<std::string>());
  for (MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    EXPECT_LE(logit_error(logits_of(model_, ids, {.form = form}), want), 1e-4) << mla_form_name(form);
  }
}

// One forward over prompt and continuation: every token of the continuation is the best one after those
// before it.
TEST_F(DefaultModel, ChoosesTransformersTokens) {
  for (const nlohmann::json& run : expected_.at("greedy")) {
    auto ids = run.at("prompt_ids").get<std::vector<int32_t>>();
    const size_t n_prompt = ids.size();
    const auto chosen = run.at("ids").get<std::vector<int32_t>>();
    ids.insert(ids.end(), chosen.begin(), chosen.end());
    const std::vector<float> logits = logits_of(model_, ids);
    const auto n_vocab = model_.config.n_vocab;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const auto row = logits.begin() + static_cast<int64_t>(n_prompt + i - 1) * n_vocab;
      ASSERT_EQ(std::max_element(row, row + n_vocab) - row, chosen[i]) << run.at("prompt") << ", token " << i;
    }
  }
}

}  // namespace
}  // namespace mla::test
