#include "io/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "io/gguf_file.h"
#include "support/gguf_builder.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

/// Deterministic bytes for tensor `t`.
std::vector<std::byte> data_of(const GgufTensor& tensor, size_t t) {
  int64_t n = 1;
  for (const int64_t d : tensor.shape) n *= d;
  std::vector<std::byte> data(static_cast<size_t>(dtype_bytes(tensor.dtype, n)));
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + t * 31 + 1);
  return data;
}

/// Writes every tensor's data_of() in pieces of `piece` bytes.
void write(const fs::path& path, const GgufHeader& header, size_t piece) {
  auto writer = GgufWriter::create(path, header);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (size_t t = 0; t < header.tensors.size(); ++t) {
    const std::vector<std::byte> data = data_of(header.tensors[t], t);
    for (size_t at = 0; at < data.size(); at += piece) {
      const Status status = (*writer).append(std::span(data).subspan(at, std::min(piece, data.size() - at)));
      ASSERT_TRUE(status.ok()) << status.error().message;
    }
  }
  const uint64_t bytes = (*writer).file_bytes();
  ASSERT_TRUE((*writer).finish().ok());
  EXPECT_EQ(fs::file_size(path), bytes);
}

GgufFile read(const fs::path& path, std::shared_ptr<MappedFile>& mapping) {
  mapping = MappedFile::open(path).value();
  auto file = read_gguf_file(*mapping);
  EXPECT_TRUE(file.ok()) << file.error().message;
  return std::move(file).value();
}

std::vector<GgufPair> every_type() {
  return {{"u8", uint8_t{255}},
          {"i8", int8_t{-128}},
          {"u16", uint16_t{65535}},
          {"i16", int16_t{-32768}},
          {"u32", uint32_t{4294967295U}},
          {"i32", int32_t{-5}},
          {"f32", 0.1F},
          {"yes", true},
          {"no", false},
          {"text", std::string("zw\xC3\xB6lf")},
          {"empty text", std::string()},
          {"u64", uint64_t{1} << 40},
          {"large u64", std::numeric_limits<uint64_t>::max()},
          {"i64", std::numeric_limits<int64_t>::min()},
          {"f64", 1e300},
          {"u8s", std::vector<uint8_t>{0, 255}},
          {"i8s", std::vector<int8_t>{-1, 1}},
          {"u16s", std::vector<uint16_t>{1, 65535}},
          {"i16s", std::vector<int16_t>{-3, 4}},
          {"u32s", std::vector<uint32_t>{7, 4294967295U}},
          {"i32s", std::vector<int32_t>{-1, 2, -3}},
          {"f32s", std::vector<float>{0.5F, -0.25F}},
          {"bools", std::vector<bool>{true, false, true}},
          {"texts", std::vector<std::string>{"a", "", "c d"}},
          {"none", std::vector<std::string>()},
          {"u64s", std::vector<uint64_t>{1, uint64_t{1} << 50}},
          {"i64s", std::vector<int64_t>{-1, int64_t{1} << 50}},
          {"f64s", std::vector<double>{1e-300, 2.0}}};
}

TEST(GgufWriter, EveryMetadataTypeComesBack) {
  const fs::path path = test::temp_dir("gguf") / "meta.gguf";
  write(path, {.pairs = every_type()}, 1);
  std::shared_ptr<MappedFile> mapping;
  const GgufFile file = read(path, mapping);
  EXPECT_EQ(file.metadata.entries().size(), every_type().size());
  for (const GgufPair& pair : every_type()) {
    const MetadataValue* got = file.metadata.find(pair.key);
    ASSERT_NE(got, nullptr) << pair.key;
    EXPECT_TRUE(*got == metadata_value(pair.value)) << pair.key;
  }
  EXPECT_EQ(file.metadata.integer("i32").value(), -5);
  EXPECT_EQ(file.metadata.strings("texts").value()->at(2), "c d");
}

TEST(GgufWriter, ManyTensorsInPiecesOfAnySizeComeBackAligned) {
  GgufHeader header;
  for (int i = 0; i < 300; ++i) {
    header.tensors.push_back({"f32." + std::to_string(i), DType::kF32, {i % 3 + 1, i % 7 + 1}});
    header.tensors.push_back({"q4." + std::to_string(i), DType::kQ4_0, {2, i % 5 + 1, 32 * (i % 2 + 1)}});
  }
  for (const uint64_t alignment : {uint64_t{32}, uint64_t{8}, uint64_t{4096}}) {
    header.alignment = alignment;
    const fs::path path = test::temp_dir("gguf") / "tensors.gguf";
    write(path, header, alignment == 32 ? 5 : 100'000);
    std::shared_ptr<MappedFile> mapping;
    const GgufFile file = read(path, mapping);
    ASSERT_EQ(file.tensors.size(), header.tensors.size());
    EXPECT_EQ(file.metadata.has("general.alignment"), alignment != 32);
    for (size_t t = 0; t < file.tensors.size(); ++t) {
      const TensorView& view = file.tensors[t];
      ASSERT_EQ(view.name, header.tensors[t].name);
      ASSERT_EQ(view.dtype, header.tensors[t].dtype);
      ASSERT_EQ(view.shape, header.tensors[t].shape);
      ASSERT_EQ(static_cast<uint64_t>(view.data - mapping->bytes().data()) % alignment, 0U);
      const std::vector<std::byte> want = data_of(header.tensors[t], t);
      ASSERT_EQ(std::memcmp(view.data, want.data(), want.size()), 0) << view.name;
    }
  }
}

// The builder of the reader's tests was written from the format's description, apart from the writer.
TEST(GgufWriter, WritesTheBytesOfAnIndependentBuilder) {
  const GgufHeader header{.pairs = {{"general.architecture", std::string("llama")},
                                    {"llama.block_count", uint32_t{2}},
                                    {"list", std::vector<int32_t>{1, -2}},
                                    {"names", std::vector<std::string>{"x", "yz"}},
                                    {"flag", true},
                                    {"factor", 0.5F}},
                          .tensors = {{"a", DType::kF32, {3, 5}}, {"b", DType::kQ8_0, {2, 64}}}};
  const fs::path path = test::temp_dir("gguf") / "same.gguf";
  write(path, header, 17);

  test::GgufBuilder builder;
  builder.string("general.architecture", "llama").u32("llama.block_count", 2).i32s("list", {1, -2});
  builder.strings("names", {"x", "yz"}).boolean("flag", true).f32("factor", 0.5F);
  for (size_t t = 0; t < 2; ++t) {
    const GgufTensor& tensor = header.tensors[t];
    const std::vector<std::byte> data = data_of(tensor, t);
    builder.tensor({tensor.name, *ggml_from_dtype(tensor.dtype),
                    std::vector<uint64_t>(tensor.shape.rbegin(), tensor.shape.rend()),
                    std::string(reinterpret_cast<const char*>(data.data()), data.size())});
  }
  std::string want = builder.bytes();
  want.resize((want.size() + 31) / 32 * 32);  // the writer pads after the last tensor too
  EXPECT_EQ(test::read_file(path), want);
}

TEST(GgufWriter, RefusesWhatNoFileCanHold) {
  const auto refused = [](GgufHeader header) {
    const fs::path folder = test::temp_dir("gguf");
    const auto writer = GgufWriter::create(folder / "bad.gguf", header);
    EXPECT_FALSE(writer.ok());
    EXPECT_TRUE(fs::is_empty(folder));
    return writer.ok() ? std::string() : writer.error().message;
  };
  const auto tensor = [](std::string name, DType dtype, std::vector<int64_t> shape) {
    return GgufHeader{.tensors = {{std::move(name), dtype, std::move(shape)}}};
  };
  EXPECT_THAT(refused(tensor("w", DType::kQ4_K, {2, 128})), HasSubstr("multiple of 256"));
  EXPECT_THAT(refused(tensor("w", DType::kF8E4M3, {2, 128})), HasSubstr("no such type"));
  EXPECT_THAT(refused(tensor("", DType::kF32, {2})), HasSubstr("name"));
  EXPECT_THAT(refused(tensor("w", DType::kF32, {})), HasSubstr("dimensions"));
  EXPECT_THAT(refused(tensor("w", DType::kF32, {1, 1, 1, 1, 1})), HasSubstr("dimensions"));
  EXPECT_THAT(refused(tensor("w", DType::kF32, {0, 4})), HasSubstr("positive"));
  EXPECT_THAT(refused(tensor("w", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40})), HasSubstr("63 bits"));
  EXPECT_THAT(
      refused({.tensors = {{"w", DType::kF32, {int64_t{1} << 60}}, {"v", DType::kF32, {int64_t{1} << 60}}}}),
      HasSubstr("63 bits"));
  EXPECT_THAT(refused({.tensors = {{"w", DType::kF32, {1}}, {"w", DType::kF32, {2}}}}),
              HasSubstr("same name"));
  EXPECT_THAT(refused({.pairs = {{"k", true}, {"k", false}}}), HasSubstr("twice"));
  EXPECT_THAT(refused({.pairs = {{"general.alignment", uint32_t{64}}}}), HasSubstr("general.alignment"));
  EXPECT_THAT(refused({.alignment = 48}), HasSubstr("power of two"));
}

TEST(GgufWriter, CountsTheDataOfEveryTensor) {
  const fs::path folder = test::temp_dir("gguf");
  const std::vector<std::byte> data(64);
  {
    auto writer = GgufWriter::create(folder / "short.gguf", {.tensors = {{"w", DType::kF32, {10}}}});
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    EXPECT_THAT((*writer).append(data).error().message, HasSubstr("has 40 left"));
    ASSERT_TRUE((*writer).append(std::span(data).first(36)).ok());
    EXPECT_EQ((*writer).finish().error().kind, ErrorKind::kFailure);
    ASSERT_TRUE((*writer).append(std::span(data).first(4)).ok());
    EXPECT_FALSE((*writer).append(std::span(data).first(1)).ok());
  }
  EXPECT_TRUE(fs::is_empty(folder)) << "without finish() there is no file";
}

}  // namespace
}  // namespace mla
