#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/cpu_features.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "cli/chat_loop.h"
#include "cli/command.h"
#include "cli/form_report.h"
#include "cli/generation.h"
#include "cli/load.h"
#include "cli/profile.h"
#include "cli/terminal.h"
#include "text/prompt.h"

namespace mla::cli {
namespace {

constexpr uint64_t kMaxPrompt = uint64_t{256} << 20;

struct RunOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::string prompt;
  std::string file;
  std::string system;
  bool chat = false;
  bool raw = false;
  bool special = false;
  bool profile = false, verbose = false;
  CLI::Option* prompt_option = nullptr;
  CLI::Option* file_option = nullptr;
};

/// Where the prompt comes from: the argument, -f, or standard input when it is no terminal; nothing means a conversation.
Result<std::optional<std::string>> read_prompt(const RunOptions& o) {
  if (o.prompt_option->count() > 0 && o.file_option->count() > 0) return Error::usage("give a PROMPT or -f FILE, not both");
  std::string file = o.file;
  if (o.prompt_option->count() > 0 && o.prompt != "-") return std::optional(o.prompt);
  if (o.file_option->count() == 0) {
    if (o.prompt_option->count() == 0 && stdin_is_terminal()) return std::optional<std::string>();
    file = "-";
  }
  MLA_ASSIGN(std::string text, read_text_file(file, kMaxPrompt));
  return std::optional(std::move(text));
}

Result<std::vector<int32_t>> prompt_ids(const Tokenizer& tokenizer, const RunOptions& o, const ChatTemplate* chat_template,
                                        const std::string& prompt) {
  if (chat_template != nullptr) {
    std::vector<ChatMessage> messages;
    if (!o.system.empty()) messages.push_back({"system", o.system});
    messages.push_back({"user", prompt});
    return chat_ids(tokenizer, *chat_template, messages);
  }
  return encode_prompt(tokenizer, prompt, o.special);
}

/// Measures the machine, for its shares, and prints where prompt and answer spent their time.
Status note_profile(const ModelOptions& options, const Generation& g) {
  MLA_ASSIGN(const Isa isa, choose_isa());
  const MachineLimits limits = measure_limits(isa, options.threads > 0 ? options.threads : default_thread_count());
  note(profile_table("prompt", g.prompt_seconds, g.prompt_profile, limits) +
       profile_table("decode", g.decode_seconds, g.decode_profile, limits) +
       fmt::format("shares of {} GB/s and {} GFLOP/s, measured just now", short_number(limits.read_bytes_per_second / 1e9),
                   short_number(limits.flop_per_second() / 1e9)));
  return {};
}

Status print_json(const Engine& engine, const Tokenizer& tokenizer, const std::string& prompt, const Generation& g, const RunOptions& o) {
  const SamplingParams& sampling = o.sampling.params;
  Json tokens = Json::array();
  for (const SampledToken& t : g.tokens) {
    MLA_ASSIGN(const std::string text, tokenizer.token_bytes(t.token, true));
    Json entry = {{"id", t.token}, {"text", text}};
    if (sampling.n_logprobs >= 0) {
      entry["logprob"] = t.logprob;
      entry["top"] = Json::array();
      for (const TokenLogprob& top : t.top) entry["top"].push_back({{"id", top.token}, {"logprob", top.logprob}});
    }
    tokens.push_back(std::move(entry));
  }
  Json document = {
      {"prompt", prompt}, {"text", g.text}, {"finish", g.finish}, {"seed", sampling.seed}, {"tokens", tokens},
      {"usage", {{"prompt_tokens", g.status.n_prompt}, {"cached_tokens", g.status.n_cached}, {"generated_tokens", g.tokens.size()}}},
      {"timings", {{"prompt_seconds", g.prompt_seconds}, {"decode_seconds", g.decode_seconds}}},
      {"cache", {{"bytes_per_token", engine.cache().token_bytes()}}}};
  if (o.verbose) document["attention_forms"] = forms_json(g);
  if (o.profile) document["profile"] = {{"prompt", profile_json(g.prompt_profile)}, {"decode", profile_json(g.decode_profile)}};
  return write_json(document);
}

/// The prompt, or the end of a long one, in front of what is generated. For the eye only, so on standard error: standard
/// output gets the generated text and nothing else.
void echo_prompt(std::string_view prompt) {
  constexpr size_t kMost = 1000;
  if (prompt.size() <= kMost) return write_stderr(dim(printable(prompt)));
  prompt.remove_prefix(prompt.size() - kMost);
  while (!prompt.empty() && (prompt[0] & 0xC0) == 0x80) prompt.remove_prefix(1);  // not the half of a character
  write_stderr(dim("... " + printable(prompt)));
}

Status run_once(Engine& engine, const LoadedModel& loaded, const RunOptions& o, const ChatTemplate* chat_template, const std::string& prompt) {
  const std::shared_ptr<const Tokenizer>& tokenizer = loaded.model->tokenizer();
  MLA_ASSIGN(std::vector<int32_t> ids, prompt_ids(*tokenizer, o, chat_template, prompt));
  const bool json = terminal_options().json;
  const bool fits = static_cast<int64_t>(ids.size()) < engine.max_sequence_tokens();
  if (fits && stdout_is_terminal() && stderr_is_terminal() && !json && chat_template == nullptr) echo_prompt(prompt);
  const bool at_start = chat_template != nullptr || prompt.empty();
  MLA_ASSIGN(const Generation g, generate(engine, tokenizer, std::move(ids), o.sampling, at_start,
                                          [&](std::string_view text) { return json ? Status() : write_generated(text); }, loaded.profiler));
  if (json) return print_json(engine, *tokenizer, prompt, g, o);
  if (stdout_is_terminal() || !terminal_options().quiet) write_stderr("\n");  // the text need not end a line
  note(statistics_lines(engine, g, g.status.n_prompt + static_cast<int64_t>(g.tokens.size())));
  if (o.verbose) note(forms_text(loaded.model->config(), g, o.model.mla != "auto"));
  return o.profile ? note_profile(o.model, g) : Status();
}

/// What can be wrong before the model is read, which may take minutes.
Status check_options(RunOptions& o) {
  if (o.chat && o.raw) return Error::usage("--chat and --raw exclude each other");
  if (o.raw && !o.system.empty()) return Error::usage("--system is the beginning of a conversation; --raw continues plain text");
  MLA_TRY(finish_sampling_options(o.sampling));
  if (o.sampling.params.n_logprobs >= 0 && !terminal_options().json) return Error::usage("--logprobs needs --json to show them");
  return {};
}

/// With a template the checkpoint was made for conversation: the prompt is a message unless --raw says otherwise. A template
/// that cannot be read is an error only for those who ask for a conversation.
Result<std::optional<ChatTemplate>> choose_chat_template(const Tokenizer& tokenizer, const RunOptions& o) {
  if (o.raw) return std::optional<ChatTemplate>();
  const bool asked = o.chat || !o.system.empty();
  if (tokenizer.chat_template().empty()) {
    if (!asked) return std::optional<ChatTemplate>();
    return Error::usage(fmt::format("{}: this model has no chat template; leave it out to continue the text", o.chat ? "--chat" : "--system"));
  }
  Result<ChatTemplate> parsed = ChatTemplate::parse(tokenizer.chat_template());
  if (parsed.ok()) return std::optional<ChatTemplate>(std::move(*parsed));
  if (asked) return parsed.error();
  note(parsed.error().message + "; the prompt is continued as text");
  return std::optional<ChatTemplate>();
}

Status run(RunOptions& o) {
  MLA_TRY(check_options(o));
  o.model.profile = o.profile || o.verbose;
  MLA_ASSIGN(const std::optional<std::string> prompt, read_prompt(o));
  if (!prompt && terminal_options().json) return Error::usage("--json needs a prompt: a PROMPT argument, -f FILE, or standard input");
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model));
  MLA_ASSIGN(const LoadedModel loaded, load_model(opened, o.model));
  const std::shared_ptr<const Tokenizer>& tokenizer = loaded.model->tokenizer();
  if (tokenizer == nullptr) return Error::invalid_file("the model has no tokenizer (tokenizer.json is missing); `mla logits` runs on ids alone");
  MLA_TRY(o.sampling.params.validate(loaded.model->config().n_vocab));

  MLA_ASSIGN(const std::optional<ChatTemplate> chat_template, choose_chat_template(*tokenizer, o));
  const ChatTemplate* const chat = chat_template ? &*chat_template : nullptr;
  MLA_ASSIGN(const std::unique_ptr<Engine> engine, make_engine(loaded, o.model));
  if (prompt) return run_once(*engine, loaded, o, chat, *prompt);
  Remark forms;
  if (o.verbose) forms = [&](const Generation& g) { return forms_text(loaded.model->config(), g, o.model.mla != "auto"); };
  return chat_loop(*engine, tokenizer, chat, o.system, o.sampling, loaded.profiler, forms);
}

}  // namespace

Command add_run(CLI::App& root) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* app = add_subcommand(root, "run", "Continue a text, answer a message, or hold a conversation",
                                 {"mla run \"The American flag is red, white, and\"", "mla run            # a conversation, on a terminal",
                                  "mla run -m model.gguf -f prompt.txt -n 200 --temperature 0.7 --top-p 0.9 --seed 1",
                                  "mla run -m deepseek-v2-lite/ --raw \"\" -n 50   # from the beginning-of-sequence token alone"});
  o->prompt_option = app->add_option("prompt", o->prompt, "What to continue or answer; - reads standard input")->type_name("PROMPT");
  o->file_option = app->add_option("-f,--file", o->file, "Read the prompt from a file (- is standard input)")->check(not_empty())->type_name("FILE");
  add_model_option(*app, o->model);
  app->add_flag("--chat", o->chat, "The prompt is a message (default when the model has a chat template)");
  app->add_flag("--raw", o->raw, "The prompt is plain text to continue");
  app->add_option("--system", o->system, "System message of a conversation")->type_name("TEXT");
  app->add_flag("--special", o->special, "Parse special tokens in the prompt");
  add_sampling_options(*app, o->sampling);
  add_machine_options(*app, o->model);
  app->add_option("--context", o->model.context, "Cache capacity in tokens (default: the model's context, or what fits)")
      ->transform(whole_number(0, int64_t{1} << 31))->group("Machine");
  app->add_flag("--verbose", o->verbose, "Also which form of MLA attention was taken, how often, and why");
  app->add_flag("--profile", o->profile, "Where the time went, per kind of operation (not in a conversation)")->group("Machine");
  app->add_flag("--json", terminal_options().json, "Print one JSON document instead of the text");
  return {app, [o] { return run(*o); }};
}

}  // namespace mla::cli
