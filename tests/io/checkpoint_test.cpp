#include "io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/gguf_builder.h"
#include "support/paths.h"
#include "support/safetensors_builder.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using test::GgufBuilder;
using test::SafetensorsBuilder;
using test::save;
using testing::HasSubstr;

/// Expects a refusal that names the path and says `reason`.
void expect_refused(const fs::path& path, const std::string& reason) {
  const auto checkpoint = open_checkpoint(path);
  ASSERT_FALSE(checkpoint.ok()) << path;
  EXPECT_EQ(checkpoint.error().kind, ErrorKind::kInvalidFile);
  EXPECT_THAT(checkpoint.error().message, HasSubstr(path.string()));
  EXPECT_THAT(checkpoint.error().message, HasSubstr(reason));
}

TEST(Checkpoint, FindsTensorsAndCountsBytes) {
  const fs::path path =
      save(test::temp_dir("ckpt") / "m.gguf",
           GgufBuilder().zeros("a", DType::kF32, {3}).zeros("b", DType::kQ8_0, {64, 2}).bytes());
  const auto checkpoint = open_checkpoint(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint.value()->path, path);
  EXPECT_EQ(checkpoint.value()->tensor_bytes(), 12U + 136U);
  ASSERT_NE(checkpoint.value()->find("b"), nullptr);
  EXPECT_EQ(checkpoint.value()->find("b")->name, "b");
  EXPECT_EQ(checkpoint.value()->find("c"), nullptr);
}

TEST(Checkpoint, FormatIsReadFromTheContentNotTheName) {
  const fs::path folder = test::temp_dir("ckpt");
  const auto gguf =
      open_checkpoint(save(folder / "model.bin", GgufBuilder().zeros("a", DType::kF32, {3}).bytes()));
  ASSERT_TRUE(gguf.ok());
  EXPECT_EQ(gguf.value()->format, CheckpointFormat::kGguf);
  save(folder / "config.json", "{}");
  const auto safetensors =
      open_checkpoint(save(folder / "weights", SafetensorsBuilder().f32("a", {1}, {1}).bytes()));
  ASSERT_TRUE(safetensors.ok()) << safetensors.error().message;
  EXPECT_EQ(safetensors.value()->format, CheckpointFormat::kHuggingFace);
}

TEST(Checkpoint, SaysWhatAForeignFileLooksLike) {
  const fs::path folder = test::temp_dir("ckpt");
  using namespace std::string_literals;
  expect_refused(save(folder / "a", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
                 "git lfs pull");
  expect_refused(save(folder / "model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
                 "git lfs pull");
  expect_refused(save(folder / "b", "PK\x03\x04 and so on"), "zip");
  expect_refused(save(folder / "c", "\x80\x02}q\x01"), "pickled");
  expect_refused(save(folder / "d", "<!DOCTYPE html><title>404</title>"), "web page");
  expect_refused(save(folder / "e", "tjgg\1\0\0\0"s), "before GGUF");
  expect_refused(save(folder / "f", "{\"model_type\": \"llama\"}"), "JSON");
  expect_refused(save(folder / "g", "\x1b[2Jhello"), "'\\x1b[2J'");
  expect_refused(save(folder / "h", ""), "empty");
  expect_refused(save(folder / "i", "FUGG\0\0\0\3"s), "byte-swapped");
  expect_refused(folder / "nothing", "No such file");
}

}  // namespace
}  // namespace mla
