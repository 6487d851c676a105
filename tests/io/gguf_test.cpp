#include "io/gguf.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/gguf_builder.h"
#include "support/paths.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using test::GgufBuilder;
using test::save;
using testing::HasSubstr;

/// Part `number` (from 1) of a model in `count` parts with one tensor each, t1, t2...
GgufBuilder part(int number, int count, int n_tensors) {
  GgufBuilder b;
  if (number == 1) b.string("general.architecture", "test");
  b.u16("split.no", static_cast<uint16_t>(number - 1)).u16("split.count", static_cast<uint16_t>(count));
  b.i32("split.tensors.count", n_tensors);
  return b.zeros("t" + std::to_string(number), DType::kF32, {static_cast<uint64_t>(number)});
}

fs::path part_path(const fs::path& folder, int number, int count) {
  return folder / fmt::format("model-{:05}-of-{:05}.gguf", number, count);
}

/// A folder with a model in three parts.
fs::path three_parts() {
  const fs::path folder = test::temp_dir("split");
  for (int i = 1; i <= 3; ++i) save(part_path(folder, i, 3), part(i, 3, 3).bytes());
  return folder;
}

void expect_refused(const fs::path& path, const std::vector<std::string>& named) {
  const auto opened = open_checkpoint(path);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().kind, ErrorKind::kInvalidFile);
  for (const std::string& name : named) EXPECT_THAT(opened.error().message, HasSubstr(name));
}

TEST(GgufSplit, AnyPartOpensTheWholeModelInOrder) {
  const fs::path folder = three_parts();
  for (int given = 1; given <= 3; ++given) {
    const auto opened = open_checkpoint(part_path(folder, given, 3));
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    ASSERT_EQ((*opened)->files.size(), 3U);
    EXPECT_EQ((*opened)->files[2]->path(), part_path(folder, 3, 3));
    EXPECT_EQ((*opened)->find("t3")->shape, (std::vector<int64_t>{3}));
    EXPECT_EQ((*opened)->metadata.string("general.architecture").value(), "test");
  }
}

TEST(GgufSplit, AVocabularyNeedsOnlyTheFirstPart) {
  const fs::path folder = three_parts();
  fs::remove(part_path(folder, 2, 3));
  const auto opened = open_checkpoint(part_path(folder, 3, 3), true);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ((*opened)->metadata.string("general.architecture").value(), "test");
  EXPECT_EQ((*opened)->files.size(), 1U);
}

TEST(GgufSplit, AWholeFileMayHaveAnyName) {
  const fs::path folder = test::temp_dir("split");
  const fs::path path = part_path(folder, 2, 3);
  EXPECT_TRUE(open_checkpoint(save(path, GgufBuilder().zeros("t", DType::kF32, {1}).bytes())).ok());
  EXPECT_TRUE(open_checkpoint(save(path, part(1, 1, 1).bytes())).ok());
}

TEST(GgufSplit, GG26_MissingPart) {
  const fs::path folder = three_parts();
  fs::remove(part_path(folder, 2, 3));
  expect_refused(part_path(folder, 1, 3), {part_path(folder, 2, 3).string(), "part 2 of 3", "No such file"});
}

TEST(GgufSplit, GG26_WrongOrder) {
  const fs::path folder = three_parts();
  save(part_path(folder, 2, 3), part(3, 3, 3).bytes());
  save(part_path(folder, 3, 3), part(2, 3, 3).bytes());
  expect_refused(part_path(folder, 1, 3),
                 {part_path(folder, 2, 3).string(), "name says part 2 of 3", "metadata part 3 of 3"});
  expect_refused(part_path(folder, 3, 3),
                 {part_path(folder, 3, 3).string(), "name says part 3 of 3", "metadata part 2 of 3"});
}

TEST(GgufSplit, GG26_RenamedPart) {
  const fs::path folder = three_parts();
  const fs::path renamed = folder / "part-one.gguf";
  fs::rename(part_path(folder, 1, 3), renamed);
  expect_refused(renamed, {renamed.string(), "part 1 of 3", "-00001-of-00003.gguf"});
}

TEST(GgufSplit, GG26_MixedModels) {
  const fs::path folder = three_parts();
  save(part_path(folder, 2, 3), part(2, 3, 7).bytes());
  expect_refused(part_path(folder, 1, 3),
                 {part_path(folder, 2, 3).string(), "split.tensors.count", "different models"});

  save(part_path(folder, 2, 3), part(2, 3, 3).string("general.architecture", "other").bytes());
  expect_refused(part_path(folder, 1, 3), {"general.architecture", "different models"});

  save(part_path(folder, 2, 3), part(2, 3, 3).zeros("t1", DType::kF32, {1}).bytes());
  expect_refused(part_path(folder, 1, 3), {part_path(folder, 2, 3).string(), "tensor 't1' is also in"});

  save(part_path(folder, 2, 3), part(2, 3, 3).zeros("extra", DType::kF32, {1}).bytes());
  expect_refused(part_path(folder, 1, 3), {"hold 4 tensors", "'split.tensors.count' is 3"});
}

TEST(GgufSplit, GG26_ImpossibleNumbers) {
  const fs::path path = test::temp_dir("split") / "m.gguf";
  const auto numbered = [](uint16_t number, int32_t count) {
    return GgufBuilder()
        .u16("split.no", number)
        .i32("split.count", count)
        .zeros("t", DType::kF32, {1})
        .bytes();
  };
  expect_refused(save(path, numbered(3, 3)), {path.string(), "'split.no' is 3", "'split.count' 3"});
  expect_refused(save(path, numbered(0, -1)), {path.string(), "'split.count' -1"});
  expect_refused(save(path, GgufBuilder().string("split.count", "3").zeros("t", DType::kF32, {1}).bytes()),
                 {path.string(), "'split.count' is a text"});
}

TEST(Gguf, AFileWithoutTensorsIsAVocabularyOnly) {
  const fs::path path =
      save(test::temp_dir("vocab") / "v.gguf", GgufBuilder().strings("tokens", {"a"}).bytes());
  EXPECT_TRUE(open_checkpoint(path, true).ok());
  expect_refused(path, {path.string(), "no tensors"});
}

}  // namespace
}  // namespace mla
