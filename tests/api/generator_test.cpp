#include "mla/generator.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
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

/// A copy of a small checkpoint with a tokenizer, whose files the test may change: 264 ids, the last of them "ing".
std::filesystem::path small_checkpoint() {
  const std::filesystem::path folder = test::temp_dir("api");
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy_file(test::golden("models/llama_gqa") / name, folder / name);
  return folder;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

TEST(LanguageModel, SpeaksTheCheckpointsChatFormat) {
  EXPECT_FALSE(shipped_model().info().has_chat_format);
  EXPECT_EQ(shipped_model().tokenize_chat({{"user", "Hello"}}).error().kind, ErrorKind::kUsage);

  const std::filesystem::path folder = small_checkpoint();
  nlohmann::json config = read_json(folder / "tokenizer_config.json");
  config["chat_template"] =  // DeepSeek-V2's
      "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n\n' }}"
      "{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% else %}{{ raise_exception('no') }}{% endif %}"
      "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}";
  std::ofstream(folder / "tokenizer_config.json") << config;
  const LanguageModel model = LanguageModel::open(folder).value();
  EXPECT_TRUE(model.info().has_chat_format);
  const auto ids = model.tokenize_chat({{"system", "Be brief."}, {"user", "Hello"}});
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_EQ(model.detokenize(*ids).value(), "Be brief.\n\nUser: Hello\n\nAssistant:");
  EXPECT_EQ(model.tokenize_chat({{"nobody", "Hello"}}).error().kind, ErrorKind::kUsage);

  // A template that cannot be read is an error only where a conversation is asked for.
  config["chat_template"] = "{% if %}";
  std::ofstream(folder / "tokenizer_config.json") << config;
  const LanguageModel broken = LanguageModel::open(folder).value();
  EXPECT_FALSE(broken.info().has_chat_format);
  EXPECT_TRUE(broken.tokenize("text").ok());
  EXPECT_EQ(broken.tokenize_chat({{"user", "Hello"}}).error().kind, ErrorKind::kInvalidFile);
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
  // Twelve tokens at most in all: beyond, a matrix unit sums in another order than for one sequence (docs/decisions/0007).
  for (const char* prompt : {"The", "The sun", "She said that", "In the"}) {
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

TEST(Generator, CallbacksMayCancelAndForgetTheirOwn) {
  Generator generator = Generator::create(shipped_model(), {.cache_tokens = 512}).value();
  GenerationId id = 0;
  std::string text;
  int n_tokens = 0;
  GenerationRequest request{.prompt = kPrompt, .max_new_tokens = 20};
  request.on_text = [&](std::string_view piece) {
    text += piece;
    return true;
  };
  request.on_token = [&](const GeneratedToken&) {
    if (++n_tokens == 4) generator.cancel(id);
    return true;
  };
  id = generator.submit(request).value();
  ASSERT_TRUE(generator.run().ok());
  const GenerationResult cancelled = generator.result(id).value();
  EXPECT_EQ(cancelled.end, GenerationEnd::kCancelled);
  EXPECT_EQ(n_tokens, 4);
  EXPECT_EQ(cancelled.text, text) << "nothing comes after the end";

  n_tokens = 0;
  request.on_token = [&](const GeneratedToken&) {
    if (++n_tokens == 2) generator.forget(id + 1);  // ids are counted up
    return true;
  };
  const auto forgotten = generator.generate(request);
  ASSERT_TRUE(forgotten.ok()) << forgotten.error().message;
  EXPECT_EQ(forgotten->end, GenerationEnd::kCancelled);
  EXPECT_EQ(n_tokens, 2);
}

// Models pad their vocabulary: the last rows of the head belong to no token.
TEST(Generator, IdsWithoutATokenStandForNoText) {
  const std::filesystem::path folder = small_checkpoint();
  nlohmann::json tokenizer = read_json(folder / "tokenizer.json");
  ASSERT_EQ(tokenizer["model"]["vocab"]["ing"], 263);
  tokenizer["model"]["vocab"].erase("ing");
  tokenizer["model"]["merges"].erase(tokenizer["model"]["merges"].size() - 1);
  std::ofstream(folder / "tokenizer.json") << tokenizer;
  const LanguageModel model = LanguageModel::open(folder).value();
  Generator generator = Generator::create(model, {.cache_tokens = 64}).value();
  const auto result = generator.generate(
      {.prompt_ids = {1}, .sampling = {.logit_bias = {{263, 1e6F}}}, .max_new_tokens = 3});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->tokens, (std::vector<int32_t>{263, 263, 263}));
  EXPECT_EQ(result->text, "");
  EXPECT_EQ(result->end, GenerationEnd::kLength);
}

TEST(Generator, ATextOfItsOwnBeginsWithoutTheTokenizersSpace) {
  MLA_SHARED_FILE_OR_SKIP(path, "data/weights/stories260K.gguf");
  const LanguageModel model = LanguageModel::open(path).value();
  Generator generator = Generator::create(model, {.cache_tokens = 256}).value();
  const std::vector<int32_t> bos = model.tokenize("").value();
  ASSERT_EQ(bos.size(), 1U);
  const auto start_of = [&](GenerationRequest request) { return generator.generate(request)->text.substr(0, 9); };
  EXPECT_EQ(start_of({.prompt = "", .max_new_tokens = 10}), "Once upon");
  EXPECT_EQ(start_of({.prompt_ids = bos, .max_new_tokens = 10}), " Once upo");
  EXPECT_EQ(start_of({.prompt_ids = bos, .begins_text = true, .max_new_tokens = 10}), "Once upon");
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
  for (const CacheElement element : {CacheElement::kF32, CacheElement::kBF16, CacheElement::kInt8, CacheElement::kInt6, CacheElement::kInt4}) {
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
