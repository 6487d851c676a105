// Files made by other programs: a trained GGUF checkpoint, GGUF vocabularies, and the goldens of the model
// room.

#include <gtest/gtest.h>

#include <filesystem>

#include "io/checkpoint.h"
#include "support/paths.h"

namespace mla {
namespace {

TEST(RealFiles, Stories260K) {
  MLA_SHARED_FILE_OR_SKIP(path, "data/weights/stories260K.gguf");
  const auto opened = open_checkpoint(path);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Checkpoint& checkpoint = **opened;
  EXPECT_EQ(checkpoint.metadata.string("general.architecture").value(), "llama");
  EXPECT_EQ(checkpoint.metadata.integer("llama.embedding_length").value(), 64);
  EXPECT_EQ(checkpoint.metadata.strings("tokenizer.ggml.tokens").value()->size(), 512U);
  const TensorView* embedding = checkpoint.find("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape, (std::vector<int64_t>{512, 64}));
  EXPECT_EQ(embedding->dtype, DType::kF32);
}

TEST(RealFiles, Vocabularies) {
  struct Vocabulary {
    const char* file;
    const char* model;
    size_t tokens;
  };
  for (const Vocabulary& v : {Vocabulary{"deepseek-llm", "gpt2", 102'400},
                              {"gpt-2", "gpt2", 50'257},
                              {"llama-spm", "llama", 32'000}}) {
    MLA_SHARED_FILE_OR_SKIP(path, std::string("data/tokenizers/ggml-vocab-") + v.file + ".gguf");
    const auto opened = open_checkpoint(path, true);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_EQ((*opened)->metadata.string("tokenizer.ggml.model").value(), v.model);
    EXPECT_EQ((*opened)->metadata.strings("tokenizer.ggml.tokens").value()->size(), v.tokens);
    EXPECT_FALSE(open_checkpoint(path).ok()) << "a vocabulary is no model";
  }
}

TEST(RealFiles, EveryGoldenModelOpens) {
  int n_opened = 0;
  for (const auto& folder : std::filesystem::directory_iterator(test::golden("models"))) {
    if (!folder.is_directory()) continue;
    for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
      if (file.path().extension() != ".gguf") continue;
      const auto opened = open_checkpoint(file.path());
      EXPECT_TRUE(opened.ok()) << opened.error().message;
      ++n_opened;
    }
    if (!std::filesystem::exists(folder.path() / "config.json")) continue;  // GGUF files only
    const auto opened = open_checkpoint(folder.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_TRUE((*opened)->metadata.has("model_type"));
    for (const TensorView& view : (*opened)->tensors) {
      EXPECT_EQ(view.dtype == DType::kF8E4M3, view.block_scale != nullptr) << view.name;
    }
    ++n_opened;
  }
  EXPECT_GT(n_opened, 20);
}

}  // namespace
}  // namespace mla
