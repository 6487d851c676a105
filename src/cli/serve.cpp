#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "base/cpu_features.h"
#include "cache/page_pool.h"
#include "cli/command.h"
#include "cli/commit.h"
#include "cli/load.h"
#include "cli/terminal.h"
#include "engine/disk_tier.h"
#include "server/server.h"

namespace mla::cli {
namespace {

struct ServeOptions {
  ModelOptions model;
  std::string host = "127.0.0.1", unix_socket;
  int port = 8080;
  std::string api_key_file, model_name, log_format = "text", reasoning_format = "deepseek";
  std::vector<std::string> allowed_hosts, cors_origins;
  bool insecure_no_auth = false, share_prefixes = false, log_prompts = false, verbose = false;
  int64_t max_body = 8 << 20, max_connections = 256, max_per_peer = 32, max_queue = 64;
  int64_t chunk = EngineOptions().chunk, prefill_budget = EngineOptions().prefill_budget, max_sequences = EngineOptions().max_sequences;
  int64_t drain_timeout = 30, request_timeout = 0;
  std::string disk_cache, cache_sync = "interval";
  uint64_t disk_cache_budget = uint64_t{16} << 30;
};

/// SIGINT and SIGTERM wait for next() instead of ending the process: a server ends its answers first. Made before any other
/// thread, so that all of them leave the signals to it.
class EndSignals {
 public:
  EndSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~EndSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  EndSignals(const EndSignals&) = delete;
  EndSignals& operator=(const EndSignals&) = delete;

  /// Whether one came within this time.
  bool next(std::chrono::milliseconds wait) const {
    const timespec time{.tv_sec = wait.count() / 1000, .tv_nsec = (wait.count() % 1000) * 1'000'000};
    return sigtimedwait(&set_, nullptr, &time) > 0;
  }

 private:
  sigset_t set_, before_;
};

/// Keys lie in memory from now on: no core file shall hold them, and no other process of this user read them.
void hide_memory() {
  prctl(PR_SET_DUMPABLE, 0);
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

Result<server::ServerOptions> server_options(const ServeOptions& o, const OpenedModel& opened) {
  server::ServerOptions s;
  s.http.host = o.host;
  s.http.port = static_cast<uint16_t>(o.port);
  s.http.unix_socket = o.unix_socket;
  s.http.insecure_no_auth = o.insecure_no_auth;
  s.http.allowed_hosts = o.allowed_hosts;
  s.http.cors_origins = o.cors_origins;
  s.http.limits.body = static_cast<size_t>(o.max_body);
  s.http.max_connections = static_cast<size_t>(o.max_connections);
  s.http.max_per_peer = static_cast<size_t>(o.max_per_peer);
  s.http.log = std::make_shared<Log>(STDERR_FILENO, o.log_format == "json" ? LogFormat::kJson : LogFormat::kText,
                                     terminal_options().quiet ? LogLevel::kError : o.verbose ? LogLevel::kDebug : LogLevel::kInfo);
  if (!o.api_key_file.empty()) {
    hide_memory();
    MLA_ASSIGN(s.http.keys, http::KeyRing::read(o.api_key_file));
  }
  s.api.model_name = !o.model_name.empty() ? o.model_name : std::filesystem::weakly_canonical(opened.path).stem().string();
  s.api.share_prefixes = o.share_prefixes;
  s.api.split_reasoning = o.reasoning_format == "deepseek";
  s.api.log_prompts = o.log_prompts;
  s.api.request_timeout = std::chrono::seconds(o.request_timeout);
  s.api.version = MLA_VERSION;
  s.api.commit = MLA_COMMIT;
  s.max_waiting = o.max_queue;
  MLA_ASSIGN(const Isa isa, choose_isa(o.model.isa));
  s.build = {.isa = std::string(isa_name(isa)), .commit = MLA_COMMIT, .version = MLA_VERSION};
  return s;
}

/// The disk cache that was asked for, or null. One that cannot be opened is no reason not to serve.
Result<std::shared_ptr<DiskCache>> open_store(const Model& model, const EngineOptions& engine, const ServeOptions& o) {
  if (o.disk_cache.empty()) return std::shared_ptr<DiskCache>();
  DiskCacheOptions options{.folder = o.disk_cache};
  MLA_ASSIGN(options.sync, cache_sync_from_name(o.cache_sync));
  options.budget_bytes = o.disk_cache_budget;
  auto opened = open_disk_cache(model, engine, options);
  if (opened.ok()) return opened;
  note(fmt::format("WARNING: serving without the disk cache: {}", printable(opened.error().message)));
  return std::shared_ptr<DiskCache>();
}

/// Loads the model and hands its engine to the server. Runs beside the connections, which tell how far it is.
Result<LoadedModel> load_and_serve(const OpenedModel& opened, const ServeOptions& o, server::Server& server) {
  MLA_ASSIGN(LoadedModel loaded, load_model(opened, o.model, [&](const LoadProgress& p) {
    server.loading(static_cast<double>(p.bytes_done), static_cast<double>(p.bytes_total));
  }));
  if (loaded.model->tokenizer() == nullptr) return Error::invalid_file("the model has no tokenizer (tokenizer.json is missing): it cannot be served");
  EngineOptions options{.max_tokens = loaded.cache_tokens, .chunk = o.chunk, .prefill_budget = o.prefill_budget, .max_sequences = o.max_sequences};
  options.max_batch_tokens = std::max({options.max_batch_tokens, o.chunk, o.max_sequences + o.prefill_budget});
  MLA_ASSIGN(options.cache_format, row_format_from_name(o.model.cache));
  MLA_ASSIGN(options.mla_form, mla_form_from_name(o.model.mla));
  MLA_ASSIGN(const std::shared_ptr<DiskCache> disk, open_store(*loaded.model, options, o));
  MLA_ASSIGN(auto engine, Engine::create(loaded.model, options, disk));
  const int64_t bytes = engine->cache().total_bytes(), context = engine->max_sequence_tokens();
  server.serve(std::move(engine), disk);
  note(fmt::format("ready: {} tokens of cache ({}): {} conversations of {} tokens at once, or more of shorter ones", grouped(loaded.cache_tokens),
                   human_bytes(static_cast<double>(bytes)), std::max<int64_t>(1, loaded.cache_tokens / context), grouped(context)));
  return loaded;
}

void print_banner(const ServeOptions& o, const server::Server& server, const server::ServerOptions& s, bool has_chat) {
  note(fmt::format("serving {} at {} (Ctrl-C ends it; docs/http-api.md has the API)", printable(s.api.model_name), server.address()));
  const std::string key = o.api_key_file.empty() ? "" : " -H \"Authorization: Bearer $KEY\"";
  const std::string where = o.unix_socket.empty() ? server.address() : "--unix-socket " + o.unix_socket + " http://localhost";
  note(fmt::format("try: curl {}{} -H 'Content-Type: application/json' \\\n       -d '{}'", where + (has_chat ? "/v1/chat/completions" : "/v1/completions"), key,
                   has_chat ? R"({"messages": [{"role": "user", "content": "Who are you?"}]})" : R"({"prompt": "Once upon a time", "max_tokens": 64})"));
  if (o.insecure_no_auth && o.api_key_file.empty()) note("WARNING: no API keys: everyone who reaches this address may use it (--api-key-file)");
  if (o.log_prompts) note("WARNING: prompts are written to the log (--log-prompts)");
}

Status run(const ServeOptions& o) {
  const EndSignals signals;
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model));
  MLA_ASSIGN(const server::ServerOptions options, server_options(o, opened));
  const auto tokenizer = read_tokenizer(*opened.checkpoint);
  // The model is destroyed after the server, whose loop runs it.
  Result<LoadedModel> loaded = Error::cancelled("interrupted while the model was being loaded");
  server::Server server(options);
  MLA_TRY(server.listen());
  // For programs that start a server on any free port and need to know which.
  MLA_TRY(write_stdout(server.address() + "\n"));
  print_banner(o, server, options, tokenizer.ok() && *tokenizer != nullptr && !(*tokenizer)->chat_template().empty());

  std::atomic<bool> load_ended = false;
  std::thread loader([&] {
    loaded = load_and_serve(opened, o, server);
    load_ended = true;
  });
  bool interrupted = false;
  while (!interrupted && !(load_ended && !loaded.ok())) interrupted = signals.next(std::chrono::milliseconds(200));
  if (interrupted && !load_ended) {  // reading weights cannot be cut short, and nobody is being answered
    server.stop(std::chrono::milliseconds(0));
    server.wait();
    note("interrupted while the model was being loaded");
    _exit(0);
  }
  loader.join();
  MLA_TRY(loaded.ok() ? Status() : Status(loaded.error()));

  note(fmt::format("ending: answers have {} s to complete; once more ends them now", o.drain_timeout));
  server.stop(std::chrono::seconds(o.drain_timeout));
  std::atomic<bool> drained = false;
  std::thread waiter([&] {
    server.wait();
    drained = true;
  });
  while (!drained) {
    if (signals.next(std::chrono::milliseconds(50))) server.stop(std::chrono::milliseconds(0));
  }
  waiter.join();
  note("ended");
  return {};
}

void add_network_options(CLI::App& app, ServeOptions& o) {
  const char* group = "Network";
  app.add_option("--host", o.host, "Address to listen at; beyond loopback only with --api-key-file")->check(not_empty())->capture_default_str()->group(group);
  app.add_option("--port", o.port, "Port; 0 = any free one, printed on standard output")->transform(whole_number(0, 65535))->capture_default_str()->group(group);
  app.add_option("--unix-socket", o.unix_socket, "Listen at this path instead")->check(not_empty())->type_name("PATH")->group(group);
  app.add_option("--api-key-file", o.api_key_file, "Who may use the server: a line 'key', 'name:key' or 'name:admin:key' each")->check(not_empty())->type_name("FILE")->group(group);
  app.add_flag("--insecure-no-auth", o.insecure_no_auth, "Listen beyond loopback without keys")->group(group);
  app.add_option("--allowed-hosts", o.allowed_hosts, "Names in the Host header besides localhost and addresses; * = any")->delimiter(',')->type_name("NAMES")->group(group);
  app.add_option("--cors-origins", o.cors_origins, "Web pages that may use the server from a browser")->delimiter(',')->type_name("ORIGINS")->group(group);
  app.add_option("--max-connections", o.max_connections, "Open connections")->transform(whole_number(1, 100'000))->capture_default_str()->group(group);
  app.add_option("--max-connections-per-peer", o.max_per_peer, "Open connections of one address")->transform(whole_number(1, 100'000))->capture_default_str()->group(group);
  app.add_option("--max-body", o.max_body, "Bytes of a request's body")->transform(whole_number(1024, int64_t{1} << 30))->capture_default_str()->group(group);
}

void add_service_options(CLI::App& app, ServeOptions& o) {
  const char* group = "Service";
  app.add_option("--model-name", o.model_name, "What clients call the model (default: the file's name)")->check(not_empty())->type_name("NAME")->group(group);
  app.add_option("--cache-tokens", o.model.cache_tokens, "Cache of all conversations together (default: 32 of up to 8192 tokens, or what fits)")
      ->transform(whole_number(0, int64_t{1} << 40))->group(group);
  app.add_option("--max-queue", o.max_queue, "Requests that may wait; more get 429")->transform(whole_number(1, 100'000))->capture_default_str()->group(group);
  app.add_option("--max-sequences", o.max_sequences, "Answers that run at once")->transform(whole_number(1, 65'536))->capture_default_str()->group(group);
  app.add_option("--chunk", o.chunk, "Prompt tokens of one request in one step")->transform(whole_number(1, 65'536))->capture_default_str()->group(group);
  app.add_option("--prefill-budget", o.prefill_budget, "Prompt tokens of a step while answers are being written")->transform(whole_number(1, 65'536))->capture_default_str()->group(group);
  app.add_option("--disk-cache", o.disk_cache, "Keep computed prefixes in this folder, over restarts too")->check(not_empty())->type_name("FOLDER")->group(group);
  app.add_option("--disk-cache-budget", o.disk_cache_budget, "Size of the disk cache: 16GiB, 500MiB (default: 16GiB)")
      ->transform(CLI::AsSizeValue(true))->type_name("SIZE")->group(group);
  app.add_option("--cache-sync", o.cache_sync, "What survives a power cut: nothing for sure, every entry, or all but the last seconds")
      ->check(CLI::IsMember({"none", "entry", "interval"}))->capture_default_str()->group(group);
  app.add_flag("--share-prefixes", o.share_prefixes, "Clients of different keys share cached prefixes")->group(group);
  app.add_option("--reasoning-format", o.reasoning_format, "Thoughts as reasoning_content (deepseek), or left in the text (none)")
      ->check(CLI::IsMember({"deepseek", "none"}))->capture_default_str()->group(group);
  app.add_option("--request-timeout", o.request_timeout, "Seconds until an answer is given up; 0 = never")->transform(whole_number(0, 1'000'000))->capture_default_str()->group(group);
  app.add_option("--drain-timeout", o.drain_timeout, "Seconds that answers have to complete when the server ends")->transform(whole_number(0, 86'400))->capture_default_str()->group(group);
  app.add_option("--log-format", o.log_format, "Log lines on standard error")->check(CLI::IsMember({"text", "json"}))->capture_default_str()->group(group);
  app.add_flag("--log-prompts", o.log_prompts, "Write requests' bodies to the log")->group(group);
  app.add_flag("--verbose", o.verbose, "Log debug lines too")->group(group);
}

}  // namespace

Command add_serve(CLI::App& root) {
  auto o = std::make_shared<ServeOptions>();
  o->model.many_sequences = true;
  CLI::App* app = add_subcommand(root, "serve", "Answer clients of OpenAI's API over HTTP",
                                 {"mla serve -m model.gguf", "mla serve --host 0.0.0.0 --api-key-file keys.txt --allowed-hosts llm.example.org",
                                  "mla serve --unix-socket /run/mla.sock --log-format json"});
  add_model_option(*app, o->model);
  add_network_options(*app, *o);
  add_service_options(*app, *o);
  add_machine_options(*app, o->model);
  return {app, [o] { return run(*o); }};
}

}  // namespace mla::cli
