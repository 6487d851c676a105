#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/command.h"
#include "support/fake_openai_server.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::StartsWith;
using test::CommandResult;
using test::FakeAnswer;
using test::FakeOpenAiServer;
using Json = nlohmann::json;
namespace fs = std::filesystem;

CommandResult bench(const std::string& url, std::vector<std::string> more, const test::CommandOptions& options = {}) {
  more.insert(more.begin(), {"bench", "serve", "--url", url});
  return test::run_command(MLA_COMMAND, more, options);
}

/// The document of a load that is expected to end well.
Json measure(const FakeOpenAiServer& server, std::vector<std::string> more) {
  more.emplace_back("--json");
  const CommandResult r = bench(server.url(), more);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  return Json::parse(r.out, nullptr, false);
}

FakeOpenAiServer::Options answering(FakeAnswer answer) {
  return {.answer = [answer](int, const Json&) { return answer; }};
}

fs::path temporary(const std::string& name) { return fs::temp_directory_path() / ("mla-bench-serve-" + std::to_string(::getpid()) + name); }

TEST(BenchServe, ReportsTheLatenciesThatTheServerHas) {
  FakeOpenAiServer server(answering({.ttft_ms = 60, .itl_ms = 10}));
  const Json d = measure(server, {"--concurrency", "4", "--requests", "12", "--mix", "16x9", "--warmup", "0"});
  const Json& r = d["results"];
  EXPECT_EQ(r["requests"], (Json{{"sent", 12}, {"completed", 12}, {"failed", 0}, {"unfinished", 0}}));
  EXPECT_EQ(r["tokens"], (Json{{"prompt", 12 * 16}, {"cached", 12}, {"output", 12 * 9}}));
  EXPECT_EQ(r["errors"], Json::object());
  const Json& latency = r["latency_seconds"];
  EXPECT_EQ(latency["ttft"]["n"], 12);
  EXPECT_EQ(latency["inter_token"]["n"], 12 * 8);
  // Never sooner than the server; later by what a busy machine adds.
  EXPECT_THAT(latency["ttft"]["p50"].get<double>(), AllOf(Ge(0.060), Le(0.140)));
  EXPECT_THAT(latency["inter_token"]["p50"].get<double>(), AllOf(Ge(0.009), Le(0.050)));
  EXPECT_THAT(latency["per_output_token"]["p50"].get<double>(), AllOf(Ge(0.009), Le(0.050)));
  EXPECT_THAT(latency["e2e"]["p50"].get<double>(), AllOf(Ge(0.140), Le(0.600)));
  for (const char* name : {"ttft", "inter_token", "per_output_token", "e2e"}) {
    const Json& l = latency[name];
    EXPECT_LE(l["p50"], l["p90"]);
    EXPECT_LE(l["p90"], l["p95"]);
    EXPECT_LE(l["p95"], l["p99"]);
    EXPECT_LE(l["p99"], l["max"]);
  }
  // Throughput is counts over time.
  const double seconds = r["seconds"].get<double>();
  EXPECT_THAT(seconds, AllOf(Ge(3 * 0.14), Le(6.0)));
  EXPECT_NEAR(r["throughput"]["output_tokens_per_second"].get<double>(), 108 / seconds, 1e-6);
  EXPECT_NEAR(r["throughput"]["requests_per_second"].get<double>(), 12 / seconds, 1e-6);
  EXPECT_NEAR(r["throughput"]["total_tokens_per_second"].get<double>(), 300 / seconds, 1e-6);
  EXPECT_EQ(server.most_at_once(), 4);
  EXPECT_LE(server.n_connections(), 5) << "connections are used again";
}

TEST(BenchServe, DocumentSaysWhatWasMeasured) {
  FakeOpenAiServer server({});
  const Json d = measure(server, {"--concurrency", "2", "--requests", "3", "--mix", "8x2@0.5,16x3@1.5", "--shared-prefix", "10@0.25", "--seed", "7", "--ignore-eos"});
  EXPECT_EQ(d["benchmark"], "serve");
  EXPECT_EQ(d["model"], "fake-model");
  EXPECT_EQ(d["url"], server.url());
  EXPECT_EQ(d["endpoint"], "completions");
  EXPECT_EQ(d["prompts"], "ids");
  for (const char* text : {"date", "commit", "processor"}) EXPECT_TRUE(d[text].is_string()) << text;
  const Json& load = d["load"];
  EXPECT_EQ(load["loop"], "closed");
  EXPECT_EQ(load["concurrency"], 2);
  EXPECT_EQ(load["requests"], 3);
  EXPECT_EQ(load["seed"], 7);
  EXPECT_EQ(load["ignore_eos"], true);
  EXPECT_EQ(load["mix"], (Json{{{"prompt_tokens", 8}, {"output_tokens", 2}, {"weight", 0.5}}, {{"prompt_tokens", 16}, {"output_tokens", 3}, {"weight", 1.5}}}));
  EXPECT_EQ(load["shared_prefix"], (Json{{"tokens", 10}, {"share", 0.25}}));
  EXPECT_TRUE(d["results"]["client_cpu_share"].is_number());
}

TEST(BenchServe, TableHasTheSameFigures) {
  FakeOpenAiServer server({});
  const CommandResult r = bench(server.url(), {"--concurrency", "2", "--requests", "5", "--mix", "8x4"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(r.out, AllOf(HasSubstr("fake-model"), HasSubstr("2 clients, 8x4 tokens"), HasSubstr("5 done, 0 failed"), HasSubstr("40 prompt (5 cached), 20 output"),
                           HasSubstr("first token"), HasSubstr("between tokens"), HasSubstr("end to end")));
}

TEST(BenchServe, PromptsAreExactDifferentAndRepeatable) {
  const auto prompts = [](const std::string& seed) {
    FakeOpenAiServer server({});
    measure(server, {"--concurrency", "1", "--requests", "6", "--mix", "40x1", "--warmup", "1", "--seed", seed});
    std::vector<std::vector<int>> all;
    for (const Json& request : server.requests()) all.push_back(request["prompt"].get<std::vector<int>>());
    return all;
  };
  const auto first = prompts("3");
  ASSERT_EQ(first.size(), 7U);
  std::set<std::vector<int>> beginnings;
  for (const auto& prompt : first) {
    EXPECT_EQ(prompt.size(), 40U);
    EXPECT_THAT(prompt, Each(AllOf(Ge(10), Le(10 + 400))));
    beginnings.insert({prompt.begin(), prompt.begin() + 16});
  }
  EXPECT_EQ(beginnings.size(), 7U);
  EXPECT_EQ(prompts("3"), first);
  EXPECT_NE(prompts("4"), first);
}

TEST(BenchServe, AShareOfThePromptsBeginsAlike) {
  FakeOpenAiServer server({});
  measure(server, {"--concurrency", "4", "--requests", "60", "--mix", "5x1", "--shared-prefix", "20@0.5", "--warmup", "0", "--seed", "1"});
  std::map<std::vector<int>, int> beginnings;
  int shared = 0;
  for (const Json& request : server.requests()) {
    const auto prompt = request["prompt"].get<std::vector<int>>();
    if (prompt.size() == 5) continue;
    ASSERT_EQ(prompt.size(), 25U);
    ++beginnings[{prompt.begin(), prompt.begin() + 20}];
    ++shared;
  }
  EXPECT_EQ(beginnings.size(), 1U);
  EXPECT_THAT(shared, AllOf(Ge(15), Le(45)));
}

TEST(BenchServe, MixFollowsItsWeights) {
  FakeOpenAiServer server({});
  measure(server, {"--concurrency", "8", "--requests", "200", "--mix", "4x1@3,9x2@1", "--warmup", "0", "--seed", "5"});
  int small = 0;
  for (const Json& request : server.requests()) {
    const bool is_small = request["prompt"].size() == 4;
    EXPECT_EQ(request["max_tokens"], is_small ? 1 : 2);
    small += is_small ? 1 : 0;
  }
  EXPECT_THAT(small, AllOf(Ge(125), Le(175)));
}

TEST(BenchServe, StreamsCutAtEveryByteAreReadTheSame) {
  FakeOpenAiServer server(answering({.byte_by_byte = true}));
  const Json r = measure(server, {"--concurrency", "2", "--requests", "4", "--mix", "8x7", "--warmup", "0"})["results"];
  EXPECT_EQ(r["requests"]["completed"], 4);
  EXPECT_EQ(r["tokens"]["output"], 28);
  EXPECT_EQ(r["latency_seconds"]["inter_token"]["n"], 4 * 6);
}

TEST(BenchServe, WithoutUsageEventsAreCounted) {
  FakeOpenAiServer server(answering({.usage = false}));
  const Json r = measure(server, {"--concurrency", "1", "--requests", "2", "--mix", "8x5", "--warmup", "0"})["results"];
  EXPECT_EQ(r["tokens"], (Json{{"prompt", 0}, {"cached", 0}, {"output", 10}}));
}

TEST(BenchServe, ChatsAndServersWithoutTokenizerGetText) {
  FakeOpenAiServer chat({});
  const Json d = measure(chat, {"--endpoint", "chat", "--concurrency", "1", "--requests", "2", "--mix", "30x4", "--warmup", "0"});
  EXPECT_EQ(d["prompts"], "text");
  EXPECT_EQ(d["results"]["latency_seconds"]["inter_token"]["n"], 2 * 3) << "an event with an empty text is no token";
  EXPECT_THAT(chat.paths(), Each("/v1/chat/completions"));
  EXPECT_EQ(d["results"]["tokens"]["prompt"], 60);  // its words are one token each

  FakeOpenAiServer::Options options;
  options.tokenizer = false;
  FakeOpenAiServer plain(options);
  EXPECT_EQ(measure(plain, {"--concurrency", "1", "--requests", "1", "--mix", "30x4"})["prompts"], "text");
  EXPECT_TRUE(plain.requests()[0]["prompt"].is_string());
  const CommandResult r = bench(plain.url(), {"--prompts", "ids"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_THAT(r.err, HasSubstr("use --prompts text"));
}

TEST(BenchServe, ErrorsAreCountedByKind) {
  FakeOpenAiServer server({.answer = [](int index, const Json&) {
    FakeAnswer answer;
    if (index % 6 == 1) answer = {.status = 429, .body = R"({"error":{"message":"too many","type":"rate_limit_error"}})"};
    if (index % 6 == 2) answer = {.status = 503, .body = "busy"};
    if (index % 6 == 3) answer.break_after = 2;
    if (index % 6 == 4) answer.error_event = true;
    if (index % 6 == 5) answer.without_done = true;
    return answer;
  }});
  const Json r = measure(server, {"--concurrency", "1", "--requests", "12", "--mix", "8x4", "--warmup", "0"})["results"];
  EXPECT_EQ(r["requests"], (Json{{"sent", 12}, {"completed", 2}, {"failed", 10}, {"unfinished", 0}}));
  EXPECT_EQ(r["errors"], (Json{{"http_429", 2}, {"http_503", 2}, {"broken", 4}, {"server_error", 2}}));
  EXPECT_EQ(r["latency_seconds"]["e2e"]["n"], 2) << "failures have no latency";
}

TEST(BenchServe, TimeoutsAreErrors) {
  FakeOpenAiServer server({.answer = [](int index, const Json&) { return FakeAnswer{.ttft_ms = index == 1 ? 600 : 0}; }});
  const Json r = measure(server, {"--concurrency", "1", "--requests", "3", "--mix", "8x2", "--warmup", "0", "--timeout", "0.3"})["results"];
  EXPECT_EQ(r["errors"], (Json{{"timeout", 1}}));
  EXPECT_EQ(r["requests"]["completed"], 2);
}

TEST(BenchServe, SaysClearlyWhatIsWrongWithAServer) {
  int port = 0;
  {
    FakeOpenAiServer gone({});
    port = std::stoi(gone.url().substr(gone.url().rfind(':') + 1));
  }
  const CommandResult refused = bench("http://127.0.0.1:" + std::to_string(port), {});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("Connection refused"), HasSubstr("is the server running there?")));

  FakeOpenAiServer locked({.required_key = "open-sesame-open-sesame"});
  const CommandResult unauthorized = bench(locked.url(), {});
  EXPECT_EQ(unauthorized.exit_code, 1);
  EXPECT_THAT(unauthorized.err, AllOf(HasSubstr("HTTP 401: invalid API key"), HasSubstr("--api-key-file")));

  FakeOpenAiServer garbage(answering({.raw_garbage = true}));
  const CommandResult confused = bench(garbage.url(), {"--warmup", "0", "--requests", "2", "--concurrency", "1"});
  EXPECT_EQ(confused.exit_code, 1);
  EXPECT_THAT(confused.err, HasSubstr("protocol"));

  const CommandResult nobody = bench("unix:/nowhere/mla.sock", {});
  EXPECT_EQ(nobody.exit_code, 1);
  EXPECT_THAT(nobody.err, HasSubstr("unix:/nowhere/mla.sock"));

  FakeOpenAiServer failing(answering({.status = 500, .body = R"({"error":{"message":"out of luck"}})"}));
  const CommandResult warm = bench(failing.url(), {});
  EXPECT_EQ(warm.exit_code, 1);
  EXPECT_THAT(warm.err, AllOf(HasSubstr("every warm-up request failed"), HasSubstr("out of luck")));
}

TEST(BenchServe, GivesUpWhenTheServerIsGone) {
  FakeOpenAiServer* running = nullptr;
  FakeOpenAiServer server({.answer = [&](int index, const Json&) {
    if (index == 5) running->stop_listening();
    return FakeAnswer{};
  }});
  running = &server;
  const CommandResult r = bench(server.url(), {"--concurrency", "2", "--requests", "100000", "--mix", "8x2", "--warmup", "0", "--json"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_THAT(r.err, HasSubstr("nothing but failures"));
}

TEST(BenchServe, OpenLoopKeepsItsRateAndCountsWaiting) {
  FakeOpenAiServer server(answering({.ttft_ms = 50}));
  const std::vector<std::string> load = {"--rate", "100", "--requests", "40", "--mix", "8x1", "--warmup", "0", "--seed", "11"};
  const Json free = measure(server, load)["results"];
  EXPECT_EQ(free["requests"]["completed"], 40);
  EXPECT_GE(free["seconds"].get<double>(), 0.2);
  EXPECT_GT(server.most_at_once(), 2);

  FakeOpenAiServer narrow(answering({.ttft_ms = 50}));
  std::vector<std::string> limited = load;
  limited.insert(limited.end(), {"--max-concurrency", "2"});
  const Json queued = measure(narrow, limited)["results"];
  EXPECT_EQ(queued["requests"]["completed"], 40);
  EXPECT_EQ(narrow.most_at_once(), 2);
  // 40 requests, two at a time, 50 ms each: the last ones waited for the better part of a second.
  EXPECT_GE(queued["latency_seconds"]["ttft"]["max"].get<double>(), 0.4);
  EXPECT_LT(free["latency_seconds"]["ttft"]["p50"], queued["latency_seconds"]["ttft"]["p50"]);
}

TEST(BenchServe, DurationAndRampLimitWhatIsSent) {
  FakeOpenAiServer server(answering({.ttft_ms = 20}));
  const Json r = measure(server, {"--concurrency", "2", "--duration", "0.4", "--mix", "8x1", "--warmup", "0"})["results"];
  EXPECT_THAT(r["requests"]["completed"].get<int>(), AllOf(Ge(2), Le(40)));
  EXPECT_EQ(r["requests"]["unfinished"], 0);
  const Json slow = measure(server, {"--concurrency", "10", "--ramp", "1", "--duration", "0.3", "--mix", "8x1", "--warmup", "0"})["results"];
  const Json fast = measure(server, {"--concurrency", "10", "--duration", "0.3", "--mix", "8x1", "--warmup", "0"})["results"];
  EXPECT_LT(slow["requests"]["completed"], fast["requests"]["completed"]);
}

TEST(BenchServe, LongPromptAmongStreamsIsReportedApart) {
  FakeOpenAiServer* running = nullptr;
  FakeOpenAiServer server({.answer = [&](int, const Json& request) {
    if (request["prompt"].size() < 100) return FakeAnswer{.itl_ms = 5};
    running->stalled = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    running->stalled = false;
    return FakeAnswer{};
  }});
  running = &server;
  const Json r = measure(server, {"--concurrency", "3", "--mix", "8x400", "--intruder", "200x1", "--intruders", "2", "--warmup", "0"})["results"];
  const Json& intruder = r["intruder_seconds"];
  EXPECT_EQ(intruder["ttft"]["n"], 2);
  EXPECT_GE(intruder["ttft"]["p50"].get<double>(), 0.15);
  EXPECT_GE(intruder["inter_token_during"]["max"].get<double>(), 0.10);
  EXPECT_LE(intruder["inter_token_apart"]["p50"].get<double>(), 0.06);
  EXPECT_EQ(intruder["inter_token_during"]["n"].get<int>() + intruder["inter_token_apart"]["n"].get<int>(), r["latency_seconds"]["inter_token"]["n"].get<int>());
  EXPECT_GE(r["requests"]["unfinished"].get<int>(), 1) << "the streams are cut off in the end";
}

TEST(BenchServe, SpeaksOverUnixSocketsAndWithAKey) {
  const fs::path socket = temporary(".sock"), key = temporary(".key");
  std::ofstream(key) << "# keys\n\nalice:admin:open-sesame-open-sesame\n";
  {
    FakeOpenAiServer server({.socket_path = socket.string(), .required_key = "open-sesame-open-sesame"});
    const Json d = measure(server, {"--api-key-file", key.string(), "--concurrency", "2", "--requests", "4", "--mix", "8x3"});
    EXPECT_EQ(d["results"]["requests"]["completed"], 4);
    EXPECT_EQ(d.dump().find("open-sesame"), std::string::npos);
  }
  fs::remove(socket);
  fs::remove(key);
}

TEST(BenchServe, DrawsAPicture) {
  const fs::path svg = temporary(".svg");
  FakeOpenAiServer server(answering({.ttft_ms = 5, .itl_ms = 1}));
  measure(server, {"--concurrency", "2", "--requests", "20", "--mix", "8x4", "--plot", svg.string()});
  EXPECT_THAT(test::read_file(svg), AllOf(StartsWith("<svg"), HasSubstr("fake-model: latency by percentile"), HasSubstr(">first token<"), HasSubstr(">between tokens<"),
                                   HasSubstr(">50%<"), HasSubstr(">90%<"), HasSubstr("</svg>")));
  fs::remove(svg);
}

TEST(BenchServe, CtrlCReportsWhatThereIs) {
  FakeOpenAiServer server(answering({.ttft_ms = 10, .itl_ms = 5}));
  const CommandResult r = bench(server.url(), {"--concurrency", "2", "--duration", "60", "--mix", "8x20", "--json"}, {.interrupt_after_ms = 700});
  EXPECT_EQ(r.exit_code, 130);
  EXPECT_GE(Json::parse(r.out)["results"]["requests"]["completed"].get<int>(), 1);
}

TEST(BenchServe, RefusesWhatMakesNoSense) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--url", "https://example.org"}, "https is not spoken here"},
      {{"--url", "127.0.0.1:8080"}, "not an address of a server"},
      {{"--url", "http://"}, "no host"},
      {{"--url", "http://host:port"}, "the port is no number"},
      {{"--url", "http://host:99999"}, "the port is no number"},
      {{"--url", "http://ho st"}, "a character that addresses do not have"},
      {{"--url", "unix:"}, "no path"},
      {{"--url", "unix:" + std::string(200, 'x')}, "too long for a socket"},
      {{"--mix", "512"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "0x5"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "5x-1"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "5x5@inf"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "5x5@nan"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "5x5,"}, "expected PROMPTxOUTPUT"},
      {{"--mix", "99999999999999999999x5"}, "expected PROMPTxOUTPUT"},
      {{"--shared-prefix", "20@1.5"}, "a share from 0 to 1"},
      {{"--shared-prefix", "-3"}, "expected TOKENS"},
      {{"--intruder", "5x5,6x6"}, "expected one PROMPTxOUTPUT"},
      {{"--intruder", "5x5", "--rate", "3"}, "leave out --rate"},
      {{"--endpoint", "chat", "--prompts", "ids"}, "a chat has no ids"},
      {{"--rate", "-1"}, "--rate"},
      {{"--concurrency", "0"}, "--concurrency"},
      {{"--endpoint", "embeddings"}, "--endpoint"}};
  FakeOpenAiServer server({});
  for (const auto& [arguments, part] : cases) {
    std::vector<std::string> all = {"bench", "serve"};
    if (arguments[0] != "--url") all.insert(all.end(), {"--url", server.url()});
    all.insert(all.end(), arguments.begin(), arguments.end());
    const CommandResult r = test::run_command(MLA_COMMAND, all, {});
    EXPECT_EQ(r.exit_code, 2) << arguments[0] << " " << arguments.back() << "\n" << r.err;
    EXPECT_THAT(r.err, HasSubstr(part)) << arguments[0] << " " << arguments.back();
  }
  EXPECT_TRUE(server.requests().empty());
}

}  // namespace
}  // namespace mla
