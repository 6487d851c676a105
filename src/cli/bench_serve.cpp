#include "cli/bench_serve.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/cpu_features.h"
#include "base/file.h"
#include "cli/bench_document.h"
#include "cli/bench_serve_answer.h"
#include "cli/bench_serve_client.h"
#include "cli/bench_serve_load.h"
#include "cli/bench_serve_report.h"
#include "cli/bench_serve_run.h"
#include "cli/commit.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

constexpr double kSetupTimeout = 30.0;  ///< seconds for an answer that needs no model
constexpr uint64_t kMaxKeyFile = 1 << 16;

struct ServeOptions {
  std::string url = "http://127.0.0.1:8080", api_key_file, model, endpoint = "completions", prompts = "auto", mix = "512x128", prefix, intruder, plot;
  int64_t warmup = 1;
  std::optional<uint64_t> seed;
  bool ignore_eos = false;
  LoadOptions load;
};

/// What was found out about the server, and what will be asked of it.
struct Plan {
  RequestOptions requests;
  LoadOptions load;
};

/// The first key of a file: of the server's own form (NAME:KEY or NAME:admin:KEY lines, # comments), or just a key.
Result<std::string> read_key(const std::string& path) {
  if (path.empty()) return std::string();
  MLA_ASSIGN(const std::string text, read_text_file(path, kMaxKeyFile));
  std::istringstream lines(text);
  std::string line, key;
  while (key.empty() && std::getline(lines, line)) {
    if (!line.starts_with('#')) std::istringstream(line) >> key;
  }
  key.erase(0, key.rfind(':') + 1);
  const bool harmless = std::all_of(key.begin(), key.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
  if (key.empty() || !harmless) return Error::usage(fmt::format("--api-key-file {}: expected a line with a key of printable ASCII", path));
  return key;
}

/// The reply's body as JSON. Errors: kFailure for another status than 200, in the server's words.
Result<Json> body_of(const HttpReply& reply, const std::string& what) {
  const char* hint = reply.status == 401 || reply.status == 403 ? "; does --api-key-file name the right key?" : "";
  if (reply.status != 200) return Error::failure(fmt::format("{}: HTTP {}: {}{}", what, reply.status, error_message(reply.body), hint));
  Json json = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Error::failure(fmt::format("{}: the answer is not JSON; is this an OpenAI-compatible server?", what));
  return json;
}

/// The first model that the server lists.
Result<std::string> find_model(HttpClient& client, const std::string& url) {
  MLA_ASSIGN(const HttpReply reply, client.fetch("GET", "/v1/models", "", kSetupTimeout));
  const std::string what = url + "/v1/models";
  MLA_ASSIGN(const Json json, body_of(reply, what));
  if (json.is_object() && json.contains("data") && json["data"].is_array() && !json["data"].empty()) {
    const Json& first = json["data"][0];
    if (first.is_object() && first.contains("id") && first["id"].is_string()) return first["id"].get<std::string>();
  }
  return Error::failure(fmt::format("{}: lists no model; name one with --model-name", what));
}

/// The ids of all words that prompts are made of, in the order of the text; empty when the server has no POST /tokenize.
Result<std::vector<int32_t>> tokenize_sample(HttpClient& client, const std::string& model) {
  const std::string text = RequestMaker::sample_text();
  // llama-server and mla read `content`, vLLM reads `prompt`.
  const Json request = {{"model", model}, {"content", text}, {"prompt", text}, {"add_special_tokens", false}};
  MLA_ASSIGN(const HttpReply reply, client.fetch("POST", "/tokenize", request.dump(), kSetupTimeout));
  const Json json = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
  std::vector<int32_t> ids;
  if (reply.status != 200 || !json.is_object() || !json.contains("tokens") || !json["tokens"].is_array()) return ids;
  for (const Json& id : json["tokens"]) {
    if (id.is_number_unsigned() && id.get<uint64_t>() <= INT32_MAX) ids.push_back(id.get<int32_t>());
  }
  return ids;
}

/// Decides how prompts are written, and counts words in the server's tokens.
Status plan_prompts(HttpClient& client, const ServeOptions& o, RequestOptions& requests) {
  const bool chat = requests.endpoint == Endpoint::kChat;
  if (chat && o.prompts == "ids") return Error::usage("--prompts ids: a chat has no ids; use --endpoint completions");
  MLA_ASSIGN(std::vector<int32_t> ids, tokenize_sample(client, requests.model));
  if (!ids.empty()) requests.tokens_per_word = static_cast<double>(ids.size()) / static_cast<double>(RequestMaker::sample_words());
  if (chat || o.prompts == "text") return {};
  if (o.prompts == "ids" && ids.empty()) return Error::failure(fmt::format("{}: has no POST /tokenize to take ids from; use --prompts text", o.url));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  requests.ids = std::move(ids);
  return {};
}

Result<Plan> make_plan(const ServeOptions& o) {
  Plan plan{.load = o.load};
  MLA_ASSIGN(plan.requests.mix, parse_mix(o.mix));
  if (!o.prefix.empty()) {
    MLA_ASSIGN(plan.requests.prefix, parse_shared_prefix(o.prefix));
  }
  plan.requests.endpoint = o.endpoint == "chat" ? Endpoint::kChat : Endpoint::kCompletions;
  plan.load.target = o.endpoint == "chat" ? "/v1/chat/completions" : "/v1/completions";
  plan.requests.ignore_eos = o.ignore_eos;
  plan.requests.seed = o.seed ? *o.seed : static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1000000;
  plan.load.seed = plan.requests.seed;
  if (!o.intruder.empty()) {
    MLA_ASSIGN(const std::vector<RequestShape> shapes, parse_mix(o.intruder));
    if (shapes.size() != 1) return Error::usage(fmt::format("--intruder '{}': expected one PROMPTxOUTPUT", o.intruder));
    if (o.load.rate > 0.0 || o.load.requests > 0 || o.load.duration > 0.0)
      return Error::usage("--intruder runs until its long prompts are answered, in a closed loop: leave out --rate, --requests and --duration");
    plan.load.intruder = shapes.front();
  } else if (o.load.requests == 0 && o.load.duration == 0.0) {
    plan.load.duration = o.load.rate > 0.0 ? 30.0 : 0.0;
    plan.load.requests = o.load.rate > 0.0 ? 0 : 4 * o.load.concurrency;
  }
  return plan;
}

/// A few requests before the clock starts: the server's first forward, the pages of its weights.
Status warm_up(HttpClient& client, const RequestMaker& maker, const ServeOptions& o, const Plan& plan) {
  if (o.warmup == 0) return {};
  LoadOptions load{.target = plan.load.target, .concurrency = std::min(o.warmup, plan.load.concurrency), .requests = o.warmup, .timeout = plan.load.timeout};
  load.apart = plan.requests.mix.front();
  const LoadResult result = run_load(client, maker, load, "warm-up");
  const bool any = std::any_of(result.records.begin(), result.records.end(), [](const RequestRecord& r) { return r.error.empty(); });
  if (any || interrupted()) return {};
  return Error::failure(fmt::format("{}{}: every warm-up request failed: {}", o.url, plan.load.target, result.last_error));
}

std::string load_text(const ServeOptions& o, const Plan& plan) {
  const LoadOptions& l = plan.load;
  std::string text = l.rate > 0.0 ? fmt::format("{} requests/s", short_number(l.rate)) : fmt::format("{} clients", l.concurrency);
  text += fmt::format(", {} tokens", o.mix);
  if (!o.prefix.empty()) text += fmt::format(" behind a shared prefix of {}", o.prefix);
  if (l.intruder) text += fmt::format(", {} long prompts of {}", l.intruders, o.intruder);
  return text;
}

Json describe(const ServeOptions& o, const Plan& plan) {
  const LoadOptions& l = plan.load;
  const RequestOptions& r = plan.requests;
  Json load = {{"text", load_text(o, plan)}, {"loop", l.rate > 0.0 ? "open" : "closed"}};
  if (l.rate > 0.0) load.update({{"rate", l.rate}, {"max_concurrency", l.max_concurrency}});
  else load["concurrency"] = l.concurrency;
  load.update({{"requests", l.requests}, {"duration", l.duration}, {"ramp", l.ramp}, {"warmup", o.warmup}, {"seed", r.seed}, {"ignore_eos", r.ignore_eos}});
  load["mix"] = Json::array();
  for (const RequestShape& shape : r.mix) load["mix"].push_back({{"prompt_tokens", shape.prompt_tokens}, {"output_tokens", shape.output_tokens}, {"weight", shape.weight}});
  if (r.prefix.tokens > 0) load["shared_prefix"] = {{"tokens", r.prefix.tokens}, {"share", r.prefix.share}};
  if (l.intruder) load["intruder"] = {{"prompt_tokens", l.intruder->prompt_tokens}, {"output_tokens", l.intruder->output_tokens}, {"count", l.intruders}};
  return {{"benchmark", "serve"}, {"date", utc_date()}, {"commit", MLA_COMMIT}, {"processor", cpu_features().model}, {"url", o.url}, {"model", r.model},
          {"endpoint", o.endpoint}, {"prompts", r.ids.empty() ? "text" : "ids"}, {"load", load}};
}

Status report(const ServeOptions& o, const Plan& plan, const LoadResult& result) {
  Json document = describe(o, plan);
  document["results"] = results_of(result);
  if (terminal_options().json) {
    MLA_TRY(write_json(document));
  } else {
    MLA_TRY(write_stdout(fmt::format("{}  {}\n{}, prompts as {}, seed {}\n\n{}", printable(o.url), printable(plan.requests.model), load_text(o, plan),
                                     document["prompts"].get<std::string>(), plan.requests.seed, results_text(document))));
  }
  if (!o.plot.empty()) MLA_TRY(write_picture(o.plot, draw_latencies(document)));
  if (result.gave_up) return Error::failure(fmt::format("{}: nothing but failures, so the rest was not sent; the last: {}", o.url, result.last_error));
  if (document["results"]["requests"]["completed"] == 0 && !interrupted() && !plan.load.intruder)
    return Error::failure(fmt::format("{}: no request was answered; the last failure: {}", o.url, result.last_error));
  return {};
}

Status bench_serve(const ServeOptions& o) {
  MLA_ASSIGN(const ServerAddress address, parse_address(o.url));
  MLA_ASSIGN(const std::string key, read_key(o.api_key_file));
  MLA_ASSIGN(Plan plan, make_plan(o));
  MLA_ASSIGN(const std::unique_ptr<HttpClient> client, HttpClient::create(address, key));
  plan.requests.model = o.model;
  if (o.model.empty()) {
    MLA_ASSIGN(plan.requests.model, find_model(*client, o.url));
  }
  MLA_TRY(plan_prompts(*client, o, plan.requests));
  const RequestMaker maker(plan.requests);
  const GracefulInterrupt graceful;
  MLA_TRY(warm_up(*client, maker, o, plan));
  return report(o, plan, run_load(*client, maker, plan.load, "load"));
}

void add_load_options(CLI::App& app, ServeOptions& o) {
  const auto count = whole_number(0, int64_t{1} << 32), positive = whole_number(1, 1 << 16);
  app.add_option("--concurrency", o.load.concurrency, "Closed loop: clients that each wait for their answer before they ask again")->transform(positive)->capture_default_str()->type_name("N");
  app.add_option("--rate", o.load.rate, "Open loop instead: requests per second, arriving at random (Poisson)")->check(CLI::PositiveNumber)->type_name("R");
  app.add_option("--max-concurrency", o.load.max_concurrency, "Open loop: requests at once; more wait here, and their latency includes it (0 = no limit)")
      ->transform(count)->capture_default_str()->type_name("N");
  app.add_option("--requests", o.load.requests, "Stop after this many (default: 4 for each client)")->transform(count)->type_name("N");
  app.add_option("--duration", o.load.duration, "Begin no request after this many seconds (default with --rate: 30)")->check(CLI::NonNegativeNumber)->type_name("SECONDS");
  app.add_option("--ramp", o.load.ramp, "Seconds until all clients have begun, or the rate is reached")->check(CLI::NonNegativeNumber)->type_name("SECONDS");
  app.add_option("--mix", o.mix, "Tokens of prompt and answer, several with weights: 512x128@0.8,4096x16@0.2")->check(not_empty())->capture_default_str()->type_name("PxA[@W],...");
  app.add_option("--shared-prefix", o.prefix, "Tokens in front of every prompt, or of a share of them: 2000@0.5")->check(not_empty())->type_name("N[@SHARE]");
  app.add_option("--intruder", o.intruder, "A long prompt that arrives while the clients' streams flow: what happens to them is reported apart")
      ->check(not_empty())->type_name("PxA");
  app.add_option("--intruders", o.load.intruders, "How many, one after the other")->transform(whole_number(1, 1000))->capture_default_str()->type_name("N");
  app.add_option("--warmup", o.warmup, "Requests before the clock starts")->transform(whole_number(0, 1000))->capture_default_str()->type_name("N");
  app.add_option("--timeout", o.load.timeout, "Seconds that a request may take")->check(CLI::PositiveNumber)->capture_default_str()->type_name("SECONDS");
}

void add_options(CLI::App& app, ServeOptions& o) {
  app.add_option("--url", o.url, "Where the server listens: http://HOST:PORT or unix:/PATH")->check(not_empty())->capture_default_str()->type_name("URL");
  app.add_option("--api-key-file", o.api_key_file, "A file with the server's API key")->check(not_empty())->type_name("FILE");
  app.add_option("--model-name", o.model, "The model to ask for (default: the first that the server lists)")->check(not_empty())->type_name("NAME");
  app.add_option("--endpoint", o.endpoint, "What to ask")->check(CLI::IsMember({"completions", "chat"}))->capture_default_str();
  add_load_options(app, o);
  app.add_option("--prompts", o.prompts, "Prompts as token ids (exact lengths) or as text; auto: ids where the server can tokenize")
      ->check(CLI::IsMember({"auto", "ids", "text"}))->capture_default_str();
  app.add_option("--seed", o.seed, "Of prompts and arrivals (default: another each time, so that no prompt is in a cache)")->transform(whole_number(0, INT64_MAX))->type_name("N");
  app.add_flag("--ignore-eos", o.ignore_eos, "Ask for answers of full length (mla, llama-server, vLLM)");
  app.add_option("--plot", o.plot, "Write a picture: latency by percentile")->check(not_empty())->type_name("FILE.svg");
  app.add_flag("--json", terminal_options().json, "Print JSON");
}

}  // namespace

Command add_bench_serve(CLI::App& bench) {
  auto o = std::make_shared<ServeOptions>();
  CLI::App* app = add_subcommand(bench, "serve", "Load for a server with OpenAI's API: throughput, latencies, errors",
                                 {"mla bench serve --concurrency 32 --mix 512x128 --ignore-eos",
                                  "mla bench serve --rate 2 --duration 60 --ramp 10 --mix 512x128@0.8,4096x16@0.2 --plot latency.svg",
                                  "mla bench serve --concurrency 32 --shared-prefix 2000 --mix 64x128    # a system prompt that all have",
                                  "mla bench serve --concurrency 8 --mix 64x512 --intruder 4096x1    # do streams stall when a long prompt arrives?",
                                  "mla bench serve --url unix:/run/mla/mla.sock --endpoint chat --json"});
  add_options(*app, *o);
  return {app, [o] { return bench_serve(*o); }};
}

}  // namespace mla::cli
