// Real files with one hyper-parameter changed: whatever the change, the model is refused with a message or it
// runs.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/forward_driver.h"
#include "support/paths.h"

namespace mla::test {
namespace {

class OneChange : public testing::TestWithParam<const char*> {};

std::shared_ptr<const Checkpoint> with(const Checkpoint& original, const std::string& key,
                                       const MetadataValue& value) {
  auto changed = std::make_shared<Checkpoint>(original);
  changed->metadata = Metadata(original.metadata.source());
  for (const auto& [name, old] : original.metadata.entries())
    changed->metadata.insert(name, name == key ? value : old);
  return changed;
}

TEST_P(OneChange, IsRefusedOrRuns) {
  const auto opened = open_checkpoint(golden(std::string("models/") + GetParam()));
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Checkpoint& original = **opened;
  const std::unique_ptr<Backend> backend = make_reference_backend();
  const std::vector<MetadataValue> values = {int64_t{0},
                                             int64_t{1},
                                             int64_t{2},
                                             int64_t{-1},
                                             int64_t{1} << 31,
                                             std::numeric_limits<int64_t>::max(),
                                             0.0,
                                             1e-30,
                                             1e30,
                                             std::monostate{},
                                             std::string("x"),
                                             false,
                                             std::vector<int64_t>{4, 4}};
  int n_refused = 0, n_ran = 0;
  for (const auto& [key, old] : original.metadata.entries()) {
    if (key.starts_with("tokenizer.") || key.starts_with("general.")) continue;
    for (const MetadataValue& value : values) {
      const Result<BoundModel> model = bind_model(with(original, key, value), *backend);
      if (!model.ok()) {
        ++n_refused;
        EXPECT_EQ(model.error().kind, ErrorKind::kInvalidFile) << key;
        continue;
      }
      ++n_ran;
      const std::vector<float> logits = logits_of(*model, std::vector<int32_t>{1, 2, 3});
      EXPECT_EQ(logits.size(), 3 * static_cast<size_t>(model->config.n_vocab)) << key;
    }
  }
  EXPECT_GT(n_refused, 50);
  EXPECT_GT(n_ran, 5);
}

INSTANTIATE_TEST_SUITE_P(Files, OneChange,
                         testing::Values("deepseek_v3/model.gguf", "deepseek_v2_lite/model-2d.gguf",
                                         "deepseek_v3", "llama3_rope/model.gguf", "qwen3/model.gguf",
                                         "gpt2/model.gguf", "falcon_7b/model.gguf", "kimi_k2", "smollm2",
                                         "gpt2", "falcon_bias"),
                         [](const auto& info) { return test_name({.name = info.param}); });

}  // namespace
}  // namespace mla::test
