#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "support/command.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using test::CommandResult;
using Json = nlohmann::json;

CommandResult mla(const std::vector<std::string>& arguments, const test::CommandOptions& options = {}) {
  return test::run_command(MLA_COMMAND, arguments, options);
}

/// A line for bash in which "$0" is the command.
CommandResult shell(const std::string& line, const test::CommandOptions& options = {}) {
  return test::run_command("/bin/bash", {"-c", line, MLA_COMMAND}, options);
}

TEST(Usage, HelpOnEveryLevelShowsExamplesFirst) {
  for (const char* sub : {"run", "tokenize", "logits", "perplexity", "inspect", "kv", "synth", "doctor", "version"}) {
    const CommandResult r = mla({sub, "--help"});
    EXPECT_EQ(r.exit_code, 0) << sub;
    EXPECT_LT(r.out.find("Examples:"), r.out.find("Usage:")) << sub << "\n" << r.out;
    EXPECT_THAT(r.err, IsEmpty()) << sub;
  }
  EXPECT_THAT(mla({"--help"}).out, HasSubstr("perplexity"));
}

TEST(Usage, UnknownSubcommandAndFlagAreUsageErrorsWithASuggestion) {
  const CommandResult sub = mla({"tokenise", "x"});
  EXPECT_EQ(sub.exit_code, 2);
  EXPECT_THAT(sub.err, HasSubstr("did you mean 'tokenize'?"));
  const CommandResult flag = mla({"run", "--temprature", "1", "x"});
  EXPECT_EQ(flag.exit_code, 2);
  EXPECT_THAT(flag.err, HasSubstr("did you mean '--temperature'?"));
  EXPECT_THAT(flag.out, IsEmpty());
}

TEST(Usage, AbbreviationsAreNotAccepted) { EXPECT_EQ(mla({"run", "--temp", "1", "x"}).exit_code, 2); }

TEST(Usage, NoSubcommandIsAUsageError) { EXPECT_EQ(mla({}).exit_code, 2); }

TEST(Usage, AMistypedFlagIsNamedBeforeWhatItLeavesMissing) {
  const CommandResult required = mla({"logits", "--idz", "1 2", "--out", "f.npy"});
  EXPECT_EQ(required.exit_code, 2);
  EXPECT_THAT(required.err, HasSubstr("unknown flag '--idz'; did you mean '--ids'?"));
  EXPECT_THAT(mla({"--versoin"}).err, HasSubstr("did you mean '--version'?"));
  EXPECT_THAT(mla({"run", "The", "flag"}).err, HasSubstr("in quotes"));
}

TEST(Usage, NumbersAreDecimalAndNeverCutToFit) {
  const Json document = Json::parse(mla({"run", "-n", "010", "--print-config", "--json"}).out);
  for (const Json& s : document["settings"]) {
    if (s["name"] == "max-tokens") {
      EXPECT_EQ(s["value"], "10");
    }
  }
  EXPECT_EQ(mla({"run", "-n", "0x10", "x"}).exit_code, 2);
  EXPECT_EQ(mla({"run", "--seed", "18446744073709551616", "x"}).exit_code, 2);
  EXPECT_THAT(mla({"run", "--threads", "-1", "x"}).err, HasSubstr("expected a whole number from 0 to 1024, got '-1'"));
}

TEST(Usage, AnEmptyValueIsNotTheDefault) {
  for (const char* flag : {"--model", "--file", "--stop"}) {
    const CommandResult r = mla({"run", "x", flag, ""});
    EXPECT_EQ(r.exit_code, 2) << flag;
    EXPECT_THAT(r.err, HasSubstr("is empty")) << flag;
  }
}

TEST(Usage, FullDiskIsReportedByHelpAndResultsAlike) {
  for (const char* arguments : {"--help", "run --help", "--version", "version", "kv deepseek-v3", "kv deepseek-v3 --json"}) {
    const CommandResult r = shell(std::string("\"$0\" ") + arguments + " > /dev/full");
    EXPECT_EQ(r.exit_code, 4) << arguments;
    EXPECT_THAT(r.err, HasSubstr("cannot write to standard output")) << arguments;
  }
}

TEST(Usage, ClosedStreamsCostTheirTextAndNothingElse) {
  for (const char* closed : {"2>&-", "2>/dev/full"}) {
    EXPECT_EQ(shell(std::string("\"$0\" tokenize hello ") + closed).exit_code, 0) << closed;
    EXPECT_EQ(shell(std::string("\"$0\" run hello -n 2 ") + closed).exit_code, 0) << closed;
    EXPECT_EQ(shell(std::string("\"$0\" no-such-thing ") + closed).exit_code, 2) << closed;
  }
  EXPECT_NE(shell("\"$0\" kv deepseek-v3 >&-").exit_code, 0);
  EXPECT_NE(shell("\"$0\" tokenize - <&-").exit_code, 0);
}

TEST(Usage, MessagesDoNotSteerTheTerminal) {
  const CommandResult r = mla({"inspect", "-m", "/no/\x1b[31m\xc2\x9b\x7f/file"});
  EXPECT_EQ(r.exit_code, 3);
  EXPECT_THAT(r.err, HasSubstr("\\x1b[31m\\x9b\\x7f/file"));
}

TEST(Usage, CtrlCEndsACommandThatWaitsForInput) {
  const std::filesystem::path pipe = test::temp_dir("interrupt") / "pipe";  // nobody writes to it
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const CommandResult r = mla({"run", "--json", "-f", pipe.string()}, {.interrupt_after_ms = 1500});
  EXPECT_EQ(r.exit_code, 130) << r.err;
  EXPECT_EQ(Json::parse(r.out, nullptr, false)["error"]["kind"], "cancelled") << r.out;
}

TEST(Usage, JsonIsValidOnErrorPaths) {
  for (const auto& [arguments, code] : std::vector<std::pair<std::vector<std::string>, int>>{
           {{"run", "--json", "--no-such-flag"}, 2},
           {{"run", "--json", "-m", "/no/such/file.gguf", "x"}, 3},
           {{"kv", "no-such-model", "--json"}, 2},
           {{"inspect", "--json", "-m", "/dev/null"}, 3}}) {
    const CommandResult r = mla(arguments);
    EXPECT_EQ(r.exit_code, code) << arguments[0] << ": " << r.err;
    const Json document = Json::parse(r.out, nullptr, false);
    ASSERT_FALSE(document.is_discarded()) << r.out;
    EXPECT_EQ(document["error"]["exit_code"], code);
    EXPECT_FALSE(document["error"]["message"].get<std::string>().empty());
  }
}

TEST(Usage, VersionAndDoctorReport) {
  const Json version = Json::parse(mla({"version", "--json"}).out);
  EXPECT_EQ(version["version"], "0.1.0");
  const CommandResult doctor = mla({"doctor", "--json", "--no-measure"}, {.environment = {{"MLA_ISA", "scalar"}}});
  EXPECT_EQ(doctor.exit_code, 0) << doctor.err;
  EXPECT_EQ(Json::parse(doctor.out)["isa"], "scalar");
  EXPECT_THAT(mla({"doctor", "--no-measure"}).out, HasSubstr("processor"));
}

TEST(Usage, DoctorShowsWhereAModelsAttentionChangesItsForm) {
  const std::filesystem::path folder = test::temp_dir("doctor");
  const std::string v3 = (folder / "v3.gguf").string(), gqa = (folder / "gqa.gguf").string();
  ASSERT_EQ(mla({"synth", "--shape", "deepseek-v2-lite", "--layers", "1", "--vocab", "300", "-o", v3}).exit_code, 0);
  ASSERT_EQ(mla({"synth", "--shape", "tiny-gqa", "-o", gqa}).exit_code, 0);
  const CommandResult json = mla({"doctor", "-m", v3, "--no-measure", "--json"});
  ASSERT_EQ(json.exit_code, 0) << json.err;
  const Json form = Json::parse(json.out)["mla"];
  EXPECT_EQ(form["kv_rank"], 512);
  std::map<int64_t, int64_t> points;
  for (const Json& p : form["break_even"]) {
    points[p["cached"]] = p["new_tokens"];
    EXPECT_LT(p["expanded_flop"].get<double>(), p["absorbed_flop"].get<double>()) << p;
  }
  EXPECT_EQ(points, (std::map<int64_t, int64_t>{{0, 1}, {256, 135}, {1024, 159}, {4096, 168}, {16384, 170}, {65536, 171}}));
  EXPECT_THAT(mla({"doctor", "-m", v3, "--no-measure"}).out, HasSubstr("16,384          170"));
  EXPECT_THAT(mla({"doctor", "-m", gqa, "--no-measure"}).out, HasSubstr("this model has no latents"));
  EXPECT_TRUE(Json::parse(mla({"doctor", "-m", gqa, "--no-measure", "--json"}).out)["mla"].is_null());
  EXPECT_EQ(mla({"doctor", "-m", "/nonexistent.gguf", "--no-measure"}).exit_code, 3);
  EXPECT_FALSE(Json::parse(mla({"doctor", "--no-measure", "--json"}).out).contains("mla")) << "only where a model is named";
}

TEST(Usage, DoctorMeasuresBothLimits) {
  const Json limits = Json::parse(mla({"doctor", "--json"}).out);
  EXPECT_GT(limits["read_gb_per_s"].get<double>(), 0.5);
  EXPECT_GT(limits["f32_gflop_per_s"].get<double>(), 0.5);
}

TEST(Usage, ForcedInstructionSetThatDoesNotExistIsRefused) {
  const CommandResult r = mla({"doctor"}, {.environment = {{"MLA_ISA", "sse9"}}});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_THAT(r.err, HasSubstr("MLA_ISA=sse9"));
}

TEST(Settings, FlagBeatsEnvironmentBeatsProjectFileBeatsUserFile) {
  const std::filesystem::path folder = test::temp_dir("settings");
  std::filesystem::create_directories(folder / "config" / "mla");
  std::ofstream(folder / "mla.toml") << "seed = 3\n[run]\ntop-k = 30\ntemperature = 0.3\n[kv]\ngroups = 4\n";
  std::ofstream(folder / "config" / "mla" / "config.toml") << "seed = 4\nmin-p = 0.04\ntop-k = 40\n";
  const test::CommandOptions options{.environment = {{"XDG_CONFIG_HOME", (folder / "config").string()}, {"MLA_TEMPERATURE", "0.2"},
                                                     {"MLA_TOP_P", "0.92"}},
                                     .folder = folder.string()};
  const CommandResult r = mla({"run", "--print-config", "--json", "--top-p", "0.91", "x"}, options);
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::map<std::string, std::pair<std::string, std::string>> settings;
  const Json document = Json::parse(r.out);
  for (const Json& s : document["settings"]) settings[s["name"]] = {s["value"], s["origin"]};
  EXPECT_EQ(settings["top-p"], std::make_pair(std::string("0.91"), std::string("flag")));
  EXPECT_EQ(settings["temperature"], std::make_pair(std::string("0.2"), std::string("MLA_TEMPERATURE")));
  EXPECT_EQ(settings["top-k"].first, "30");
  EXPECT_THAT(settings["top-k"].second, HasSubstr("mla.toml"));
  EXPECT_EQ(settings["seed"].first, "3");
  EXPECT_EQ(settings["min-p"].first, "0.04");
  EXPECT_THAT(settings["min-p"].second, HasSubstr("config.toml"));
  EXPECT_EQ(settings["frequency-penalty"].second, "default");
}

TEST(Settings, ANamedFileComesBeforeTheProjects) {
  const std::filesystem::path folder = test::temp_dir("settings");
  std::ofstream(folder / "mla.toml") << "[serve]\nport = 1\nmax-queue = 2\n";
  std::ofstream(folder / "named.toml") << "[serve]\nport = 3\nallowed-hosts = [\"a\", \"b\"]\n";
  const auto settings_with = [&](const test::CommandOptions& options, const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"serve", "--print-config", "--quiet"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return mla(arguments, options);
  };
  const CommandResult r = settings_with({.folder = folder.string()}, {"--config", "named.toml"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(r.out, ::testing::ContainsRegex("port +3 +named.toml"));
  EXPECT_THAT(r.out, ::testing::ContainsRegex("max-queue +2 +mla.toml"));
  EXPECT_THAT(r.out, ::testing::ContainsRegex("allowed-hosts +a,b +named.toml"));
  const CommandResult variable = settings_with({.environment = {{"MLA_CONFIG", "named.toml"}}, .folder = folder.string()}, {});
  EXPECT_THAT(variable.out, ::testing::ContainsRegex("port +3 +named.toml"));
  const CommandResult missing = settings_with({.folder = folder.string()}, {"--config", "nowhere.toml"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("nowhere.toml: no such file"));
}

TEST(Settings, BadValuesAndUnknownKeysNameTheirOrigin) {
  const CommandResult value = mla({"run", "x"}, {.environment = {{"MLA_CACHE", "f64"}}});
  EXPECT_EQ(value.exit_code, 2);
  EXPECT_THAT(value.err, HasSubstr("MLA_CACHE"));
  const std::filesystem::path folder = test::temp_dir("settings");
  std::ofstream(folder / "mla.toml") << "[run]\ntemprature = 1\n";
  const CommandResult key = mla({"run", "x"}, {.folder = folder.string()});
  EXPECT_EQ(key.exit_code, 2);
  EXPECT_THAT(key.err, HasSubstr("did you mean 'temperature'?"));
}

TEST(Settings, ASwitchThatAStrongerSourceTurnedOffStaysOff) {
  const std::filesystem::path folder = test::temp_dir("settings");
  std::ofstream(folder / "mla.toml") << "json = true\nrope-keys = true\n";
  const CommandResult r = mla({"kv", "deepseek-v3"}, {.environment = {{"MLA_JSON", "false"}}, .folder = folder.string()});
  EXPECT_THAT(r.out, HasSubstr("with their RoPE part"));
  EXPECT_FALSE(Json::accept(r.out));
  const CommandResult config = mla({"kv", "--print-config"}, {.environment = {{"MLA_JSON", "false"}}, .folder = folder.string()});
  EXPECT_THAT(config.out, ::testing::ContainsRegex("json +false +MLA_JSON"));
}

TEST(Settings, KeysAndSectionsThatNobodyHasAreRefused) {
  const std::filesystem::path folder = test::temp_dir("settings");
  const auto run_with = [&](const std::string& toml) {
    std::ofstream(folder / "mla.toml") << toml;
    return mla({"kv", "deepseek-v3"}, {.folder = folder.string()});
  };
  EXPECT_EQ(run_with("temperature = 1\n[run]\nseed = 3\n").exit_code, 0);  // another subcommand's
  const CommandResult key = run_with("temprature = 1\n");
  EXPECT_EQ(key.exit_code, 2);
  EXPECT_THAT(key.err, HasSubstr("did you mean 'temperature'?"));
  const CommandResult section = run_with("[rum]\nseed = 3\n");
  EXPECT_EQ(section.exit_code, 2);
  EXPECT_THAT(section.err, HasSubstr("did you mean 'run'?"));
  EXPECT_EQ(run_with("print-config = true\n").exit_code, 2);
}

TEST(Kv, ReproducesTheFiguresOfDeepSeekV3) {
  const CommandResult r = mla({"kv", "deepseek-v3", "--json", "--context", "1000"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::map<std::string, Json> schemes;
  const Json document = Json::parse(r.out);
  for (const Json& s : document["schemes"]) schemes[s["scheme"]] = s;
  EXPECT_EQ(schemes["MLA"]["bytes_per_token"], 70272);
  EXPECT_EQ(schemes["MLA"]["bytes_context"], 70272000);
  EXPECT_EQ(schemes["MHA"]["bytes_per_token"], 3997696);
  EXPECT_NEAR(schemes["MHA"]["ratio_to_own"].get<double>(), 56.9, 0.05);
  const Json with_rope = Json::parse(mla({"kv", "deepseek-v3", "--rope-keys", "--json"}).out);
  EXPECT_NEAR(with_rope["schemes"][1]["ratio_to_own"].get<double>(), 71.1, 0.05);
}

TEST(Kv, FiguresNameTheirAssumptions) {
  const CommandResult text = mla({"kv", "--figures"});
  for (const char* claim : {"56.9x", "71.1x", "93.3 %", "92.8 %"}) EXPECT_THAT(text.out, HasSubstr(claim));
  const Json document = Json::parse(mla({"kv", "--figures", "--json"}).out);
  ASSERT_EQ(document["figures"].size(), 4U);
  for (const Json& figure : document["figures"]) {
    EXPECT_FALSE(figure["readings"].empty());
    for (const Json& reading : figure["readings"]) EXPECT_FALSE(reading["assumptions"].get<std::string>().empty());
  }
}

TEST(Kv, KnowsTheNamedModelsAndRefusesOthers) {
  for (const char* name : {"deepseek-67b", "deepseek-v2", "deepseek-v2-lite", "r1", "kimi-k2", "gpt-2", "llama-2-7b", "llama-3-8b",
                           "llama-3-70b", "falcon-7b"}) {
    EXPECT_EQ(mla({"kv", name}).exit_code, 0) << name;
  }
  const CommandResult r = mla({"kv", "gpt-5"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_THAT(r.err, HasSubstr("DeepSeek-V3"));
  EXPECT_EQ(mla({"kv", "deepseek-v3", "--format", "many"}).exit_code, 2);
}

TEST(Kv, GroupsMustDivideTheHeadsWhereTheyAreAskedFor) {
  EXPECT_EQ(mla({"kv", "falcon-7b"}).exit_code, 0);  // the default of 8 does not divide 71: no such line
  const CommandResult r = mla({"kv", "falcon-7b", "--groups", "8"});
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_THAT(r.err, HasSubstr("71 heads"));
}

}  // namespace
}  // namespace mla
