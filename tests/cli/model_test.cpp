#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/command.h"
#include "support/golden.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using test::CommandResult;
using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kFlag = "The American flag is red, white, and";

CommandResult mla(const std::vector<std::string>& arguments, const test::CommandOptions& options = {}) {
  return test::run_command(MLA_COMMAND, arguments, options);
}

Json json_of(const std::vector<std::string>& arguments) {
  const CommandResult r = mla(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  return Json::parse(r.out, nullptr, false);
}

/// Reads a version 1.0 .npy file of float32 and gives its values; the header must state the shape.
std::vector<float> read_npy(const fs::path& path, int64_t n_rows, int64_t n_cols) {
  const std::string bytes = test::read_file(path);
  EXPECT_THAT(bytes, StartsWith("\x93NUMPY"));
  const size_t header = static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0U);
  EXPECT_THAT(bytes.substr(10, header), HasSubstr("'shape': (" + std::to_string(n_rows) + ", " + std::to_string(n_cols) + ")"));
  std::vector<float> values((bytes.size() - 10 - header) / 4);
  std::memcpy(values.data(), bytes.data() + 10 + header, values.size() * 4);
  EXPECT_EQ(static_cast<int64_t>(values.size()), n_rows * n_cols);
  return values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) largest = std::max(largest, std::abs(double{a[i]} - double{b[i]}));
  return largest;
}

TEST(Run, DefaultModelContinuesTheFlagAndKeepsStandardOutputClean) {
  const CommandResult r = mla({"run", kFlag, "-n", "8", "--temperature", "0"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(r.out, StartsWith(" blue"));
  EXPECT_THAT(r.err, HasSubstr("tok/s"));
  EXPECT_THAT(r.err, HasSubstr("the same cache as MLA"));
  EXPECT_THAT(r.err, HasSubstr("MHA"));
}

TEST(Run, DefaultModelGivesTransformersGreedyTokens) {
  const Json expected = Json::parse(test::read_file(test::source_dir() / "models" / "expected.json"));
  ASSERT_FALSE(expected["greedy"].empty());
  for (const Json& greedy : expected["greedy"]) {
    const Json r = json_of({"run", greedy["prompt"], "--raw", "--json", "--temperature", "0", "--ignore-eos", "--cache", "f32", "-n",
                            std::to_string(greedy["ids"].size())});
    std::vector<int> ids;
    for (const Json& token : r["tokens"]) ids.push_back(token["id"]);
    EXPECT_EQ(ids, greedy["ids"].get<std::vector<int>>()) << greedy["prompt"] << "\n" << r["text"];
    EXPECT_EQ(r["usage"]["prompt_tokens"], greedy["prompt_ids"].size());
  }
}

TEST(Run, QuietPrintsTheTextAlone) {
  const CommandResult r = mla({"run", kFlag, "-n", "4", "--temperature", "0", "--quiet"});
  EXPECT_THAT(r.err, IsEmpty());
  EXPECT_THAT(r.out, Not(IsEmpty()));
}

TEST(Run, TakesItsPromptFromArgumentFileAndStandardInputAlike) {
  const fs::path file = test::temp_dir("prompt") / "a prompt\nwith an odd name.txt";
  std::ofstream(file) << kFlag;
  const std::vector<std::string> rest = {"-n", "6", "--temperature", "0"};
  const auto with = [&](std::vector<std::string> first) {
    first.insert(first.begin(), "run");
    first.insert(first.end(), rest.begin(), rest.end());
    return first;
  };
  const std::string expected = mla(with({kFlag})).out;
  EXPECT_EQ(mla(with({"-f", file.string()})).out, expected);
  EXPECT_EQ(mla(with({"-"}), {.input = kFlag}).out, expected);
  EXPECT_EQ(mla(with({}), {.input = kFlag}).out, expected);
  EXPECT_EQ(mla(with({"x", "-f", file.string()})).exit_code, 2);
}

TEST(Run, StoriesModelGivesItsPublishedText) {
  MLA_SHARED_FILE_OR_SKIP(stories, "data/weights/stories260K.gguf");
  const CommandResult r = mla({"run", "-m", stories.string(), "--raw", "", "-n", "60", "--temperature", "0"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  const std::string published =
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red "
      "ball. She wanted to play with it, but it was too high";
  std::string text = r.out.substr(0, published.size());
  EXPECT_EQ(text, published.substr(0, text.size()));
  EXPECT_GT(text.size(), 100U);
}

TEST(Run, SeedRepeatsASampleAndJsonReportsIt) {
  const std::vector<std::string> arguments = {"run", "Once upon a time", "-n", "24", "--temperature", "1.0", "--top-k", "50",
                                              "--seed", "7", "--json", "--logprobs", "2"};
  const Json first = json_of(arguments), second = json_of(arguments);
  EXPECT_EQ(first["text"], second["text"]);
  EXPECT_EQ(first["seed"], 7);
  ASSERT_FALSE(first["tokens"].empty());
  for (const Json& token : first["tokens"]) {
    EXPECT_EQ(token["top"].size(), 2U);
    EXPECT_LE(token["logprob"].get<double>(), 0.0);
    EXPECT_GE(token["top"][0]["logprob"].get<double>(), token["top"][1]["logprob"].get<double>());
  }
}

TEST(Run, ProfileAccountsForBothPhases) {
  const Json r = json_of({"run", kFlag, "-n", "4", "--profile", "--json"});
  const std::vector<std::pair<std::string, std::string>> phases{{"prompt", "prompt_seconds"}, {"decode", "decode_seconds"}};
  for (const auto& [phase, seconds] : phases) {
    double total = 0.0, experts = 0.0, latent = 0.0;
    for (const Json& cost : r["profile"][phase]) {
      total += cost["seconds"].get<double>();
      if (cost["operation"] == "experts") experts += cost["flop"].get<double>();
      if (cost["operation"].get<std::string>().starts_with("mla attention")) latent += cost["bytes"].get<double>();
    }
    EXPECT_GT(experts, 0.0) << phase;
    EXPECT_GT(latent, 0.0) << phase;
    EXPECT_GT(total, 0.0) << phase;
    EXPECT_LE(total, r["timings"][seconds].get<double>()) << phase;
  }
  const CommandResult table = mla({"run", kFlag, "-n", "4", "--profile"});
  EXPECT_THAT(table.err, HasSubstr("decode: "));
  EXPECT_THAT(table.err, HasSubstr("everything else"));
}

/// Calls of each form over one phase.
int64_t forms_sum(const Json& forms) {
  int64_t n = 0;
  for (const Json& calls : forms) n += calls.get<int64_t>();
  return n;
}

TEST(Run, VerboseSaysWhichFormAttentionTookAndHowOften) {
  const Json r = json_of({"run", kFlag, "-n", "4", "--temperature", "0", "--verbose", "--json"});
  EXPECT_FALSE(r.contains("profile"));
  const int64_t n_layers = json_of({"inspect", "--json"})["config"]["n_layers"];
  const Json &prompt = r["attention_forms"]["prompt"], &decode = r["attention_forms"]["decode"];
  EXPECT_EQ(prompt["expanded"], n_layers) << "a prompt from nothing, in one step: " << prompt;
  EXPECT_EQ(forms_sum(prompt), n_layers);
  EXPECT_EQ(decode["absorbed"], 3 * n_layers) << decode;
  EXPECT_EQ(forms_sum(decode), 3 * n_layers);

  const CommandResult text = mla({"run", kFlag, "-n", "4", "--verbose"});
  EXPECT_THAT(text.err, HasSubstr(fmt::format("attention of the prompt: expanded in {} calls; of the answer: absorbed in {} calls", n_layers, 3 * n_layers)));
  EXPECT_THAT(text.err, HasSubstr("expanding costs less from"));
  EXPECT_EQ(text.out, mla({"run", kFlag, "-n", "4"}).out);
  const CommandResult forced = mla({"run", kFlag, "-n", "2", "--verbose", "--mla", "absorbed"});
  EXPECT_THAT(forced.err, HasSubstr(fmt::format("attention of the prompt: absorbed in {} calls", n_layers)));
  EXPECT_THAT(forced.err, HasSubstr("forced with --mla"));
  const std::string screen = test::run_on_terminal(MLA_COMMAND, {"run", "-n", "2", "--verbose"}, std::string(kFlag) + "\n/exit\n");
  EXPECT_THAT(screen, HasSubstr("attention of the prompt: expanded"));
}

TEST(Run, StopStringEndsTheTextBeforeIt) {
  const std::string whole = mla({"run", kFlag, "-n", "16", "--temperature", "0"}).out;
  ASSERT_GT(whole.size(), 8U);
  const std::string stop = whole.substr(3, 4);  // cuts through tokens
  const Json r = json_of({"run", kFlag, "-n", "16", "--temperature", "0", "--json", "--stop", stop});
  EXPECT_EQ(r["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(r["finish"], "stop");
}

TEST(Run, RepeatableFlagsLeaveThePromptAlone) {
  const Json r = json_of({"run", "--json", "-n", "2", "--stop", "zzz", "--stop", "yyy", "--logit-bias", "1=0", "Once upon"});
  EXPECT_EQ(r["prompt"], "Once upon");
}

TEST(Run, LogitBiasForcesAToken) {
  const Json r = json_of({"run", kFlag, "-n", "3", "--logit-bias", "42=1000", "--json"});
  for (const Json& token : r["tokens"]) EXPECT_EQ(token["id"], 42);
  EXPECT_EQ(mla({"run", kFlag, "--logit-bias", "42"}).exit_code, 2);
  EXPECT_EQ(mla({"run", kFlag, "--logit-bias", "99999999=1"}).exit_code, 2);
}

TEST(Run, BadSamplingValuesAndModesAreUsageErrors) {
  EXPECT_EQ(mla({"run", "x", "--temperature", "-1"}).exit_code, 2);
  EXPECT_EQ(mla({"run", "x", "--top-p", "1.5"}).exit_code, 2);
  EXPECT_EQ(mla({"run", "x", "--chat", "--raw"}).exit_code, 2);
  EXPECT_EQ(mla({"run", "x", "--chat"}).exit_code, 2);  // the model that ships has no template
  EXPECT_EQ(mla({"run", "x", "--system", "Be brief."}).exit_code, 2);
  EXPECT_EQ(mla({"run", "x", "--logprobs", "2"}).exit_code, 2);  // nothing would show them
  EXPECT_EQ(mla({"run", "x", "-n", "0"}).exit_code, 2);
  const CommandResult context = mla({"run", "x", "--context", "100000"});
  EXPECT_EQ(context.exit_code, 2);
  EXPECT_THAT(context.err, HasSubstr("512"));
  const CommandResult r = mla({"run", std::string(40000, 'x') + " y", "--context", "64"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_THAT(r.err, HasSubstr("64"));
}

/// A small checkpoint whose vocabulary are the bytes, with a chat template.
fs::path checkpoint_with_template(const std::string& chat_template) {
  const fs::path folder = test::temp_dir("template");
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(test::golden("models/llama_gqa") / name, folder / name);
  std::ofstream(folder / "chat_template.jinja") << chat_template;
  return folder;
}

TEST(Run, SpeaksTheCheckpointsOwnTemplate) {
  const std::string folder = checkpoint_with_template(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system, please') }}{% endif %}<<{{ m.content }}>>{% endfor %}").string();
  const auto n_prompt = [&](const std::string& flag) {
    return json_of({"run", "-m", folder, "hi", flag, "-n", "1", "--json"})["usage"]["prompt_tokens"];
  };
  EXPECT_EQ(n_prompt("--chat"), 6);  // <<hi>>
  EXPECT_LT(n_prompt("--raw"), 6);
  const CommandResult refused = mla({"run", "-m", folder, "hi", "--system", "Be brief."});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("No system, please"));
}

TEST(Run, NeedsAReadableTemplateOnlyForAConversation) {
  const std::string folder = checkpoint_with_template("{% if %}").string();
  const CommandResult asked = mla({"run", "-m", folder, "hi", "--chat", "-n", "1"});
  EXPECT_EQ(asked.exit_code, 3);
  EXPECT_THAT(asked.err, HasSubstr("line 1, column 7"));
  const CommandResult text = mla({"run", "-m", folder, "hi", "-n", "1"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.err, HasSubstr("continued as text"));
}

TEST(Run, BadFilesGiveExitCodeThree) {
  const fs::path folder = test::temp_dir("bad");
  std::ofstream(folder / "empty.gguf");
  std::ofstream(folder / "text.gguf") << "this is no model at all, only words\n";
  for (const fs::path& path : {folder / "empty.gguf", folder / "text.gguf", folder / "missing.gguf", folder}) {
    const CommandResult r = mla({"run", "-m", path.string(), "x"});
    EXPECT_EQ(r.exit_code, 3) << path << ": " << r.err;
    EXPECT_THAT(r.err, HasSubstr(folder.string()));
    EXPECT_THAT(r.out, IsEmpty());
  }
}

TEST(Run, InterruptEndsTheAnswerWithStatistics) {
  const CommandResult r = mla({"run", "Once upon a time", "-n", "-1", "--ignore-eos", "--backend", "reference"}, {.interrupt_after_ms = 1500});
  EXPECT_EQ(r.exit_code, 130) << r.err;
  EXPECT_THAT(r.err, HasSubstr("tok/s"));
  EXPECT_THAT(r.out, Not(IsEmpty()));
}

TEST(Run, ClosedReaderIsAnErrorNotASignal) {
  const std::string script = std::string("'") + MLA_COMMAND + "' run 'Once upon a time' -n 400 --ignore-eos | head -c 5; echo \" ${PIPESTATUS[0]}\"";
  const CommandResult r = test::run_command("/bin/bash", {"-c", script});
  EXPECT_THAT(r.out, ::testing::EndsWith(" 1\n")) << r.err;
}

TEST(Run, ConversationOnATerminalKeepsItsHistory) {
  const std::string screen = test::run_on_terminal(MLA_COMMAND, {"run", "-n", "5", "--temperature", "0"},
                                                   std::string(kFlag) + "\n Yes, the\n/reset\n/exit\n");
  EXPECT_THAT(screen, HasSubstr(" blue"));
  const size_t first = screen.find("prompt "), second = screen.find("prompt ", first + 1);
  ASSERT_NE(second, std::string::npos) << screen;
  const int n_first = std::atoi(screen.c_str() + first + 7), n_second = std::atoi(screen.c_str() + second + 7);
  EXPECT_GE(n_second, n_first + 5 + 1) << "the second prompt holds the first one, its answer, and what was typed";
}

TEST(Run, ATerminalSeesThePromptBeforeTheTextAndOfALongOneItsEnd) {
  EXPECT_THAT(test::run_on_terminal(MLA_COMMAND, {"run", kFlag, "-n", "2", "--temperature", "0", "--no-color"}, ""),
              HasSubstr(std::string(kFlag) + " blue"));
  std::string words;
  for (int i = 0; i < 450; ++i) words += "one ";  // 1,800 bytes
  const std::string screen = test::run_on_terminal(MLA_COMMAND, {"run", words, "-n", "2", "--no-color"}, "");
  EXPECT_THAT(screen, HasSubstr("... one one"));
  EXPECT_LT(screen.size(), 1700U);
}

TEST(Tokenize, RoundTripsBytesThroughTheDefaultModel) {
  const std::string text = "Hello, wörld! 12345\n\ttabs \xF0\x9F\xA6\x99 end";
  const CommandResult ids = mla({"tokenize", "-"}, {.input = text});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(mla({"tokenize", "--decode", ids.out}).out, text);
  EXPECT_EQ(mla({"tokenize", "--decode", "-"}, {.input = ids.out}).out, text);
  const CommandResult with_bos = mla({"tokenize", "--bos", "Hello"});
  EXPECT_GT(with_bos.out.size(), mla({"tokenize", "Hello"}).out.size());
  EXPECT_EQ(mla({"tokenize", "--decode", "1 two"}).exit_code, 2);
  EXPECT_EQ(mla({"tokenize", "--decode", "123456789"}).exit_code, 2);
  EXPECT_EQ(mla({"tokenize"}).exit_code, 2);
}

TEST(Tokenize, WorksOnVocabularyOnlyFiles) {
  MLA_SHARED_FILE_OR_SKIP(vocabulary, "data/tokenizers/ggml-vocab-gpt-2.gguf");
  const CommandResult r = mla({"tokenize", "-m", vocabulary.string(), "Hello world"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, "15496 995\n");
  EXPECT_EQ(mla({"tokenize", "-m", vocabulary.string(), "--special", "<|endoftext|>"}).out, "50256\n");
  EXPECT_NE(mla({"tokenize", "-m", vocabulary.string(), "<|endoftext|>"}).out, "50256\n");
}

class Logits : public ::testing::TestWithParam<const char*> {};

TEST_P(Logits, AgreeWithTransformers) {
  const fs::path model = test::golden(std::string("models/") + GetParam());
  const test::Golden golden = test::Golden::load(std::string("models/") + GetParam() + "/golden.safetensors");
  const std::vector<float> expected = golden.f32("logits");
  const std::vector<int64_t> ids = golden.i64("ids");
  const int64_t n = static_cast<int64_t>(ids.size()), n_vocab = static_cast<int64_t>(expected.size()) / n;
  std::string words;
  for (const int64_t id : ids) words += std::to_string(id) + " ";
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  const double range = double{*high} - double{*low};

  const fs::path out = test::temp_dir("logits") / "out.npy";
  const auto run = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"logits", "-m", model.string(), "--ids", words, "--out", out.string()};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const CommandResult r = mla(arguments);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_THAT(r.out, IsEmpty());
    return largest_difference(read_npy(out, n, n_vocab), expected) / range;
  };
  EXPECT_LE(run({"--backend", "reference"}), 1e-4);
  EXPECT_LE(run({}), 1e-3);
  EXPECT_LE(run({"--chunk", "7", "--mla", "absorbed"}), 1e-3);
  EXPECT_LE(run({"--chunk", "3", "--mla", "expanded", "--threads", "1"}), 1e-3);
  const double int8 = run({"--cache", "int8"});
  EXPECT_GT(int8, 1e-6);  // it is really used
  EXPECT_LE(int8, 0.1);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Logits, ::testing::Values("deepseek_v3", "deepseek_v2_lite", "llama_gqa", "gpt2"));

TEST(LogitsErrors, BadIdsAndUnwritableOutput) {
  const std::string out = (test::temp_dir("logits") / "out.npy").string();
  EXPECT_EQ(mla({"logits", "--ids", "", "--out", out}).exit_code, 2);
  EXPECT_EQ(mla({"logits", "--ids", "1 -1", "--out", out}).exit_code, 2);
  EXPECT_EQ(mla({"logits", "--ids", "1 x", "--out", out}).exit_code, 2);
  EXPECT_EQ(mla({"logits", "--ids", "1 2", "--out", "/no/such/folder/out.npy"}).exit_code, 4);
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(mla({"logits", "--ids", "1 2", "--out", fs::path(out).parent_path().string()}).exit_code, 4);
  EXPECT_EQ(mla({"logits", "--ids", "1 2", "--out", "-", "--json"}).exit_code, 2);
}

TEST(LogitsOutput, PipesAreWrittenInPlaceAndLinksStayLinks) {
  const fs::path folder = test::temp_dir("logits");
  const auto shell = [&](const std::string& line) {
    return test::run_command("/bin/bash", {"-c", line, MLA_COMMAND}, {.folder = folder.string()});
  };
  EXPECT_EQ(shell("\"$0\" logits --ids '1 2 3' --out file.npy").exit_code, 0);
  const std::string expected = test::read_file(folder / "file.npy");
  ASSERT_GT(expected.size(), 1000U);

  EXPECT_EQ(shell("\"$0\" logits --ids '1 2 3' --out -").out, expected);
  EXPECT_EQ(shell("mkfifo pipe; cat pipe > copy.npy & \"$0\" logits --ids '1 2 3' --out pipe; wait; test -p pipe").exit_code, 0);
  EXPECT_EQ(test::read_file(folder / "copy.npy"), expected);
  EXPECT_EQ(shell("touch target.npy; ln -s target.npy link.npy; \"$0\" logits --ids '1 2 3' --out link.npy; test -L link.npy").exit_code, 0);
  EXPECT_EQ(test::read_file(folder / "target.npy"), expected);
  EXPECT_THAT(shell("ls").out, Not(HasSubstr("partial")));
}

TEST(Perplexity, HeldOutTextAsTransformersScoresIt) {
  const Json expected = Json::parse(test::read_file(test::source_dir() / "models" / "expected.json"))["held_out"];
  const Json r = json_of({"perplexity", "-f", (test::source_dir() / "models" / "heldout.txt").string(), "--json", "--context",
                          std::to_string(expected["context"].get<int>())});
  EXPECT_EQ(r["n_scored"], expected["n_scored_tokens"]);
  EXPECT_NEAR(r["perplexity"].get<double>() / expected["perplexity"].get<double>(), 1.0, 1e-4);
  EXPECT_NEAR(r["bits_per_byte"].get<double>() / expected["bits_per_byte"].get<double>(), 1.0, 1e-4);
}

TEST(Perplexity, ErrorBarAndKlDivergence) {
  const std::string heldout = (test::source_dir() / "models" / "heldout.txt").string();
  const std::vector<std::string> short_text = {"perplexity", "-f", heldout, "--max-tokens", "600", "--context", "128", "--json"};
  const Json plain = json_of(short_text);
  EXPECT_GT(plain["perplexity"].get<double>(), 1.0);
  EXPECT_GT(plain["perplexity_error"].get<double>(), 0.0);
  EXPECT_GT(plain["bits_per_byte"].get<double>(), 0.1);

  const std::string base = (test::temp_dir("kl") / "base.kl").string();
  auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), short_text.begin(), short_text.end());
    flags.insert(flags.end(), {"--kl-base", base});
    return flags;
  };
  EXPECT_FALSE(json_of(with({})).contains("kl_mean"));  // writes
  ASSERT_TRUE(fs::exists(base));
  const Json same = json_of(with({}));
  EXPECT_NEAR(same["kl_mean"].get<double>(), 0.0, 1e-6);
  EXPECT_EQ(same["same_top_1"].get<double>(), 1.0);
  const Json int8 = json_of(with({"--cache", "int8"}));
  EXPECT_GT(int8["kl_mean"].get<double>(), same["kl_mean"].get<double>());
  EXPECT_LT(int8["kl_mean"].get<double>(), 0.1);
  EXPECT_EQ(mla(with({"--context", "64"})).exit_code == 0, false);  // other windows than the reference's
}

TEST(Perplexity, InterruptReportsThePartThatWasScored) {
  const CommandResult r = mla({"perplexity", "-f", (test::source_dir() / "models" / "heldout.txt").string(), "--backend", "reference",
                               "--context", "8", "--json"},
                              {.interrupt_after_ms = 2500});
  EXPECT_EQ(r.exit_code, 130) << r.err;
  const Json document = Json::parse(r.out, nullptr, false);
  ASSERT_TRUE(document.contains("complete")) << r.out;
  EXPECT_FALSE(document["complete"].get<bool>());
  EXPECT_GT(document["n_scored"].get<int>(), 0);
}

TEST(Perplexity, OneTokenHasNoErrorBar) {
  const std::string heldout = (test::source_dir() / "models" / "heldout.txt").string();
  EXPECT_TRUE(json_of({"perplexity", "-f", heldout, "--max-tokens", "1", "--json"})["perplexity_error"].is_null());
  EXPECT_EQ(mla({"perplexity", "-f", "/dev/null"}).exit_code, 2);
  EXPECT_EQ(mla({"perplexity", "-f", heldout, "--context", "100000"}).exit_code, 2);
}

TEST(Inspect, ShowsConfigurationTensorsAndMemory) {
  const Json document = json_of({"inspect", "--json"});
  EXPECT_EQ(document["config"]["attention"], "mla");
  EXPECT_GT(document["config"]["kv_rank"].get<int>(), 0);
  EXPECT_GT(document["config"]["q_rank"].get<int>(), 0);
  EXPECT_GT(document["config"]["n_experts"].get<int>(), 0);
  EXPECT_EQ(document["config"]["router_score"], "sigmoid");
  EXPECT_FALSE(document["tensors"].empty());
  EXPECT_GT(document["memory"]["cache"]["bf16"]["bytes_per_token"].get<int>(), 0);
  const CommandResult text = mla({"inspect", "--tensors", "--metadata", "-m", test::golden("models/llama_gqa").string()});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("model.layers.0.self_attn.q_proj.weight"));
}

}  // namespace
}  // namespace mla
