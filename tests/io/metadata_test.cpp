#include "io/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mla {
namespace {
using testing::AllOf;
using testing::HasSubstr;

Metadata sample() {
  Metadata m("model.gguf");
  m.insert("int", int64_t{-7});
  m.insert("huge", ~uint64_t{0});
  m.insert("float", 2.5);
  m.insert("flag", true);
  m.insert("text", std::string("x"));
  m.insert("null", std::monostate());
  m.insert("ints", std::vector<int64_t>{1, 2});
  m.insert("floats", std::vector<double>{0.5});
  m.insert("texts", std::vector<std::string>{"a"});
  m.insert("empty", std::vector<std::string>{});
  return m;
}

/// Expects an error that names the file and the key and says `reason`.
template <typename T>
void expect_error(const Result<T>& result, const std::string& key, const std::string& reason) {
  ASSERT_FALSE(result.ok()) << key;
  EXPECT_EQ(result.error().kind, ErrorKind::kInvalidFile);
  EXPECT_THAT(result.error().message,
              AllOf(HasSubstr("model.gguf"), HasSubstr("'" + key + "'"), HasSubstr(reason)));
}

TEST(Metadata, KeysAreUnique) {
  Metadata m = sample();
  EXPECT_FALSE(m.insert("int", int64_t{8}));
  EXPECT_EQ(m.integer("int").value(), -7);
}

TEST(Metadata, NullAndAbsentAreTheSame) {
  const Metadata m = sample();
  EXPECT_FALSE(m.has("null"));
  EXPECT_EQ(m.find("nothing"), nullptr);
  expect_error(m.integer("null"), "null", "missing");
  expect_error(m.string("nothing"), "nothing", "missing");
  expect_error(m.integers("nothing"), "nothing", "missing");
  EXPECT_EQ(m.strings("nothing").value(), nullptr);
}

TEST(Metadata, TypesAreChecked) {
  const Metadata m = sample();
  EXPECT_EQ(m.number("int").value(), -7.0);
  EXPECT_EQ(m.number("huge").value(), 0x1p64);
  EXPECT_EQ(m.numbers("ints").value(), (std::vector<double>{1, 2}));
  EXPECT_TRUE(m.integers("empty").value().empty());
  expect_error(m.integer("float"), "float", "a float, expected an integer");
  expect_error(m.integer("huge"), "huge", "too large");
  expect_error(m.integer("flag"), "flag", "a boolean, expected an integer");
  expect_error(m.number("text"), "text", "a text, expected a number");
  expect_error(m.boolean("int"), "int", "an integer, expected a boolean");
  expect_error(m.string("texts"), "texts", "an array of texts, expected a text");
  expect_error(m.integers("int"), "int", "an integer, expected an array of integers");
  expect_error(m.integers("floats"), "floats", "an array of floats, expected an array of integers");
  expect_error(m.numbers("texts"), "texts", "expected an array of numbers");
  expect_error(m.strings("ints"), "ints", "an array of integers, expected an array of texts");
}

TEST(Metadata, FallbacksStandForAbsentKeysOnly) {
  const Metadata m = sample();
  EXPECT_EQ(m.integer_or("nothing", 3).value(), 3);
  EXPECT_EQ(m.integer_or("null", 3).value(), 3);
  EXPECT_EQ(m.integer_or("int", 3).value(), -7);
  EXPECT_EQ(m.number_or("nothing", 0.5).value(), 0.5);
  EXPECT_EQ(m.boolean_or("nothing", true).value(), true);
  EXPECT_EQ(m.string_or("nothing", "y").value(), "y");
  EXPECT_EQ(m.string_or("text", "y").value(), "x");
  expect_error(m.integer_or("text", 3), "text", "a text");
  expect_error(m.boolean_or("int", true), "int", "an integer");
}

}  // namespace
}  // namespace mla
