#include "mla/generator.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mla/mla.h"
#include "support/paths.h"

namespace mla {
namespace {

const LanguageModel& shipped_model() {
  static const LanguageModel model =
      LanguageModel::open(test::source_dir() / "models" / "mla-default.gguf").value();
  return model;
}

constexpr const char* kPrompt = "The American flag is red, white, and";

TEST(LanguageModel, OpensTheModelThatShips) {
  const LanguageModelInfo& info = shipped_model().info();
  EXPECT_EQ(info.architecture, "deepseek_v3");
  EXPECT_TRUE(info.has_tokenizer);
  EXPECT_GT(info.cache.kv_rank, 0);
  EXPECT_GT(info.n_parameters, 1000000);
  const auto ids = shipped_model().tokenize(kPrompt).value();
  EXPECT_EQ(shipped_model().detokenize(ids).value(), kPrompt);
}

TEST(LanguageModel, SaysWhatIsWrongWithAFile) {
  const auto model = LanguageModel::open(test::source_dir() / "LICENSE");
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.error().kind, ErrorKind::kInvalidFile);
  EXPECT_NE(model.error().message.find("LICENSE"), std::string::npos) << model.error().message;
  EXPECT_EQ(LanguageModel::open("no/such/file.gguf").error().kind, ErrorKind::kInvalidFile);
  EXPECT_EQ(LanguageModel::open(test::golden("models/llama_mha"), {.n_threads = -1}).error().kind,
            ErrorKind::kUsage);
}

TEST(LanguageModel, WithoutATokenizerTakesIds) {
  const LanguageModel model = LanguageModel::open(test::golden("models/llama_mha")).value();
  EXPECT_FALSE(model.info().has_tokenizer);
  EXPECT_EQ(model.tokenize("text").error().kind, ErrorKind::kUsage);
  Generator generator = Generator::create(model, {.cache_tokens = 128}).value();
  EXPECT_FALSE(generator.generate({.prompt = "text"}).ok());
  const auto result = generator.generate({.prompt_ids = {1, 2, 3}, .max_new_tokens = 5});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->tokens.size(), 5U);
  EXPECT_EQ(result->text, "");
  EXPECT_EQ(result->end, GenerationEnd::kLength);
}

TEST(Generator, StreamsTheTextThatItReturns) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 512}).value();
  std::string streamed;
  std::vector<int32_t> tokens;
  GenerationRequest request{.prompt = kPrompt, .max_new_tokens = 24};
  request.on_text = [&](std::string_view text) {
    streamed += text;
    return true;
  };
  request.n_log_probabilities = 2;
  request.on_token = [&](const GeneratedToken& token) {
    tokens.push_back(token.id);
    EXPECT_EQ(token.most_probable.size(), 2U);
    EXPECT_EQ(token.most_probable.at(0), (std::pair{token.id, token.log_probability})) << "greedy";
    return true;
  };
  const auto result = generator.generate(std::move(request));
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->text, streamed);
  EXPECT_EQ(result->tokens, tokens);
  EXPECT_FALSE(result->text.empty());
  EXPECT_GT(result->seconds_to_first_token, 0.0);
  EXPECT_EQ(result->n_prompt, static_cast<int64_t>(shipped_model().tokenize(kPrompt)->size()));
}

TEST(Generator, EndsBeforeAStopString) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 512}).value();
  const std::string whole = generator.generate({.prompt = kPrompt, .max_new_tokens = 30})->text;
  ASSERT_GT(whole.size(), 12U);
  const std::string stop = whole.substr(8, 3);
  const auto stopped = generator.generate({.prompt = kPrompt, .max_new_tokens = 30, .stop = {stop}});
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->end, GenerationEnd::kStop);
  EXPECT_EQ(stopped->text, whole.substr(0, whole.find(stop)));
}

TEST(Generator, ManyAtOnceGiveWhatEachGivesAlone) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 4096}).value();
  std::vector<GenerationRequest> requests;
  for (const char* prompt : {kPrompt, "The sun", "She said that", "In the morning the"}) {
    requests.push_back({.prompt = prompt,
                        .sampling = {.temperature = 0.8F, .top_p = 0.9F, .seed = requests.size()},
                        .max_new_tokens = 16});
  }
  std::vector<GenerationId> ids;
  for (const GenerationRequest& request : requests) ids.push_back(generator.submit(request).value());
  ASSERT_TRUE(generator.run().ok());
  for (size_t i = 0; i < requests.size(); ++i) {
    const GenerationResult together = generator.result(ids[i]).value();
    EXPECT_NE(together.end, GenerationEnd::kRunning);
    EXPECT_EQ(generator.generate(requests[i])->tokens, together.tokens) << requests[i].prompt;
  }
}

TEST(Generator, CancelsAndForgets) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 512}).value();
  const GenerationId id = generator.submit({.prompt = kPrompt, .max_new_tokens = 100}).value();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(generator.step().ok());
  generator.cancel(id);
  const GenerationResult result = generator.result(id).value();
  EXPECT_EQ(result.end, GenerationEnd::kCancelled);
  EXPECT_EQ(result.tokens.size(), 5U);
  EXPECT_FALSE(*generator.step());
  generator.forget(id);
  EXPECT_EQ(generator.result(id).error().kind, ErrorKind::kUsage);
}

TEST(Generator, ACallbackThatSaysNoEndsIt) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 512}).value();
  GenerationRequest request{.prompt = kPrompt, .max_new_tokens = 50};
  int n = 0;
  request.on_token = [&](const GeneratedToken&) { return ++n < 3; };
  const auto result = generator.generate(std::move(request));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->end, GenerationEnd::kStop);
  EXPECT_EQ(result->tokens.size(), 3U);
}

TEST(Generator, OutlivesTheModelItWasMadeOf) {
  std::optional<Generator> generator;
  {
    const LanguageModel model = LanguageModel::open(test::golden("models/llama_mha")).value();
    generator = Generator::create(model, {.cache_tokens = 64}).value();
  }
  EXPECT_EQ(generator->generate({.prompt_ids = {1}, .max_new_tokens = 3})->tokens.size(), 3U);
}

TEST(Generator, RefusesWhatIsOutOfRange) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 128}).value();
  EXPECT_EQ(generator.submit({.prompt_ids = {-1}}).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(generator.submit({.prompt = "a", .sampling = {.top_p = 3.0F}}).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(generator.submit({.prompt_ids = std::vector<int32_t>(500, 1)}).error().kind, ErrorKind::kUsage);
  EXPECT_FALSE(Generator::create(shipped_model(), {.prefill_chunk = 0}).ok());
}

TEST(CacheSize, IsWhatAGeneratorStores) {
  for (const CacheElement element : {CacheElement::kF32, CacheElement::kBF16, CacheElement::kInt8}) {
    const Generator generator =
        Generator::create(shipped_model(), {.cache = element, .cache_tokens = 64}).value();
    EXPECT_EQ(cache_size(shipped_model().info().cache, element)->bytes_per_token,
              generator.cache_bytes_per_token());
    EXPECT_EQ(generator.cache_capacity_tokens(), 64);
  }
}

TEST(CacheSize, KnowsPublishedModels) {
  const CacheShape v3 = known_cache_shape("DeepSeek-V3").value();
  EXPECT_EQ(cache_size(v3, CacheElement::kBF16)->bytes_per_token, 70272);
  EXPECT_EQ(cache_size_with_kv_heads(v3, v3.n_heads, CacheElement::kBF16)->bytes_per_token, 3997696);
  EXPECT_EQ(known_cache_shape("nothing").error().kind, ErrorKind::kUsage);
}

}  // namespace
}  // namespace mla
