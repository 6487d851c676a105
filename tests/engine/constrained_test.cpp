#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "grammar/json_schema.h"
#include "support/engine_test.h"

// Answers that must be JSON: the constraint goes along with the sequence, whatever the engine does with it.

namespace mla::test {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kPerson = R"({"properties": {"name": {"type": "string", "minLength": 30, "maxLength": 90}, "ok": {"type": "boolean"},
                                    "tags": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "minItems": 20, "maxItems": 25}},
                                    "required": ["name", "ok", "tags"]})";

class ConstrainedTest : public EngineTest {
 protected:
  ConstrainedTest() {
    for (const char c : std::string("{}[]\":,0123456789-nametgsokrufl \n")) tokens_.push_back({std::string(1, c), false});
    while (static_cast<int64_t>(tokens_.size()) < fake_.config.n_vocab - 1) tokens_.push_back({"", false});
    tokens_.push_back({"<eos>", true});
  }
  SamplingParams sampling(const char* schema, uint64_t seed) {
    const Json document = Json::parse(schema);
    auto grammar = compile_json_schema(document);
    EXPECT_TRUE(grammar.ok());
    TokenConstraint constraint(
        {.documents = {{*grammar}}, .tokens = std::make_shared<const TokenIndex>(tokens_), .end_tokens = {eos()}});
    return {.temperature = 1.0F, .constraint = std::move(constraint), .seed = seed};
  }
  int32_t eos() const { return static_cast<int32_t>(tokens_.size() - 1); }
  std::string text(SequenceId id) {
    std::string text;
    for (const int32_t token : answer(id)) text += tokens_[static_cast<size_t>(token)].bytes;
    return text;
  }

  std::vector<TokenText> tokens_;
};

TEST_F(ConstrainedTest, EndsWithTheDocument) {
  make();
  const SequenceId id = submit(random_ids(5), 500, sampling(kPerson, 4), {eos()});
  run();
  const Json value = Json::parse(text(id), nullptr, false);
  ASSERT_TRUE(value.is_object()) << text(id);
  EXPECT_GE(value["tags"].size(), 20U);
  EXPECT_EQ(status(id).reason, FinishReason::kStop);
  EXPECT_NE(answer(id).back(), eos()) << "nothing can follow: the end needs no token of its own";
  expect_no_leak();
}

TEST_F(ConstrainedTest, MaxNewTokensMayCutIt) {
  make();
  const SequenceId id = submit(random_ids(5), 10, sampling(kPerson, 4), {eos()});
  run();
  EXPECT_EQ(status(id).reason, FinishReason::kLength);
  EXPECT_FALSE(Json::accept(text(id)));
}

TEST_F(ConstrainedTest, PreemptedSequencesResumeExactly) {
  make({.cache_format = RowFormat::kF32, .max_tokens = 10 * kPageRows, .chunk = 64, .max_batch_tokens = 128});
  std::map<SequenceId, std::vector<int32_t>> expected;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const auto prompt = random_ids(70);
    const SamplingParams constrained = sampling(kPerson, seed);
    expected[submit(prompt, 400, constrained, {eos()})] = fake_answer(fake_.config, prompt, constrained, 400, std::vector{eos()});
  }
  run();
  EXPECT_GT(preemptions_, 0);
  for (const auto& [id, tokens] : expected) {
    EXPECT_EQ(answer(id), tokens);
    EXPECT_TRUE(Json::accept(text(id))) << text(id);
  }
  expect_no_leak();
}

TEST_F(ConstrainedTest, WhereNoTokenIsPossibleItEndsAndOthersGoOn) {
  make();
  const SequenceId stuck = submit(random_ids(5), 100, sampling(R"({"const": "{x"})", 1), {eos()});
  const SequenceId other = submit(random_ids(5), 100);
  run();
  EXPECT_TRUE(text(stuck).ends_with("\"{")) << text(stuck) << ": the vocabulary has no x";
  EXPECT_EQ(status(stuck).reason, FinishReason::kNoToken);
  EXPECT_EQ(status(stuck).n_generated, static_cast<int64_t>(answer(stuck).size()));
  EXPECT_EQ(answer(other).size(), 100U);
  EXPECT_EQ(finish_reason_name(FinishReason::kNoToken), "no_token");
  expect_no_leak();
}

}  // namespace
}  // namespace mla::test
