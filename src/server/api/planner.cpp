#include "server/api/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "base/sha256.h"
#include "text/prompt.h"
#include "text/tool_call_reader.h"

namespace mla::server {
namespace {

uint64_t random_seed() {
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
  return random();
}

ApiError too_long(const ServedModel& model, int64_t n_prompt, const std::string& asked, std::string_view field) {
  return {.message = fmt::format("this model takes {} tokens, prompt and answer together; the prompt has {}{}", model.n_context, n_prompt, asked),
          .param = std::string(field), .code = "context_length_exceeded"};
}

/// New tokens that a prompt leaves room for, or what was asked for.
ApiResult<int64_t> new_tokens(const ServedModel& model, const GenerationParams& p, int64_t n_prompt, std::string_view field) {
  const int64_t room = model.n_context - n_prompt;
  if (room < 1 && p.max_tokens != 0) return too_long(model, n_prompt, ", which leaves no room for an answer", field);
  if (room < 0) return too_long(model, n_prompt, "", field);
  if (p.max_tokens && *p.max_tokens > room) {
    return too_long(model, n_prompt, fmt::format(" and {} more were asked for (max_tokens); at most {} fit", *p.max_tokens, room), "max_tokens");
  }
  return p.max_tokens.value_or(room);
}

/// The request's options against the model's vocabulary, and as the engine takes them.
ApiResult<mla::Request> engine_request(const ServedModel& model, const GenerationParams& p, const Caller& caller) {
  mla::Request request{.sampling = p.sampling, .client = caller.client, .prefix_namespace = caller.prefix_namespace};
  for (const auto& [id, bias] : p.sampling.logit_bias) {
    if (id >= model.n_vocab) return ApiError::bad("logit_bias", fmt::format("'logit_bias': the model has no token {}; ids go to {}", id, model.n_vocab - 1));
  }
  request.sampling.n_logprobs = static_cast<int32_t>(std::min<int64_t>(request.sampling.n_logprobs, model.n_vocab));
  if (!p.ignore_eos) request.stop_tokens = model.tokenizer->stop_tokens();
  request.stop_tokens.insert(request.stop_tokens.end(), p.stop_tokens.begin(), p.stop_tokens.end());
  return request;
}

/// Calls as the model writes them: the arguments and the tokens around them.
std::vector<FramedDocument> framed_calls(const Tokenizer& tokenizer, ToolCallFormat format, const std::vector<RequiredCall>& calls) {
  constexpr EncodeOptions kInside{.parse_special = true, .at_start = false};
  std::vector<FramedDocument> framed;
  for (const RequiredCall& call : calls) {
    const ToolCallFrame frame = tool_call_frame(format, call.name);
    framed.push_back({.grammar = call.arguments, .before = tokenizer.encode(frame.before, kInside), .after = tokenizer.encode(frame.after, kInside)});
  }
  return framed;
}

/// Lets the answer be nothing but one of these; behind the thought, when the prompt has opened one.
void constrain(const ServedModel& model, const GenerationParams& p, std::vector<FramedDocument> documents, bool opens_thought, mla::Request& request) {
  if (documents.empty()) return;
  TokenConstraintOptions options{.documents = std::move(documents), .tokens = model.token_index()};
  if (!p.ignore_eos) options.end_tokens = model.tokenizer->stop_tokens();
  if (opens_thought) options.begins_behind = kThinkEnd;
  request.sampling.constraint.emplace(std::move(options));
}

std::vector<FramedDocument> json_answer(const GenerationParams& p) {
  return p.grammar == nullptr ? std::vector<FramedDocument>() : std::vector<FramedDocument>{{.grammar = p.grammar}};
}

ResponseHead head_of(const ServedModel& model, const GenerationParams& p, std::string_view prefix) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.id = random_id(prefix), .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(), .model = model.id,
          .include_usage = p.include_usage, .logprobs = p.sampling.n_logprobs >= 0};
}

/// The choices of one prompt. Choice i draws with seed + i.
void add_choices(GenerationPlan& plan, const GenerationParams& p, const mla::Request& request, const ChoiceOptions& options, size_t prompt,
                 const std::string& echo) {
  const uint64_t seed = p.seed.value_or(random_seed());
  for (int64_t i = 0; i < p.n; ++i) {
    PlannedChoice choice{.request = request, .options = options, .prompt = prompt, .echo = echo};
    choice.request.sampling.seed = seed + static_cast<uint64_t>(i);
    plan.choices.push_back(std::move(choice));
  }
}

}  // namespace

ServedModel::ServedModel(EngineLoop& engine_loop, std::string name, bool split_reasoning)
    : loop(engine_loop),
      id(std::move(name)),
      created(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()),
      tokenizer(engine_loop.model().tokenizer()),
      chat(tokenizer, split_reasoning),
      n_vocab(engine_loop.model().config().n_vocab),
      n_context(engine_loop.max_sequence_tokens()) {}

std::shared_ptr<const TokenIndex> ServedModel::token_index() const {
  std::call_once(index_is_made_, [this] {
    std::vector<TokenText> tokens(static_cast<size_t>(tokenizer->n_vocab()));
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto token = static_cast<int32_t>(i);
      if (auto bytes = tokenizer->token_bytes(token, /*special=*/true); bytes.ok()) tokens[i].bytes = std::move(*bytes);
      tokens[i].special = tokenizer->is_special(token);
    }
    token_index_ = std::make_shared<const TokenIndex>(std::move(tokens));
  });
  return token_index_;
}

std::string prefix_namespace_of(const std::string& client, bool share_prefixes) {
  return share_prefixes || client.empty() ? std::string() : to_hex(sha256("mla prefix namespace\n" + client));
}

ApiResult<bool> check_model_name(const ServedModel& model, const std::string& name) {
  if (name.empty() || name == model.id) return true;
  return ApiError{.status = 404, .type = "not_found_error",
                  .message = fmt::format("the model '{}' is not served here; '{}' is (GET /v1/models)", name, model.id),
                  .param = "model", .code = "model_not_found"};
}

ApiResult<std::vector<int32_t>> prompt_ids(const ServedModel& model, const PromptInput& input, std::string_view field) {
  if (const auto* text = std::get_if<std::string>(&input)) {
    auto prompt = encode_prompt(*model.tokenizer, *text);
    if (!prompt.ok()) return ApiError::bad(std::string(field), fmt::format("'{}': {}", field, prompt.error().message));
    return std::move(*prompt);
  }
  const auto& ids = std::get<std::vector<int32_t>>(input);
  for (const int32_t id : ids) {
    if (id >= model.n_vocab) return ApiError::bad(std::string(field), fmt::format("'{}': the model has no token {}; ids go to {}", field, id, model.n_vocab - 1));
  }
  return ids;
}

ApiResult<GenerationPlan> plan_chat(const ServedModel& model, ChatRequest request, const Caller& caller) {
  const GenerationParams& p = request.common;
  MLA_TRY(check_model_name(model, p.model));
  MLA_ASSIGN(mla::Request job, engine_request(model, p, caller));
  MLA_ASSIGN(ChatPrompt prompt, model.chat.render(request));
  MLA_ASSIGN(job.max_new_tokens, new_tokens(model, p, static_cast<int64_t>(prompt.ids.size()), "messages"));
  job.prompt = std::move(prompt.ids);
  if (!request.required_calls.empty() && prompt.answer.tools == ToolCallFormat::kNone) {
    return ApiError::bad("tool_choice", "'tool_choice': it is not known how this model writes calls, so that none can be asked for; expected \"auto\" or \"none\"");
  }
  auto calls = framed_calls(*model.tokenizer, prompt.answer.tools, request.required_calls);
  constrain(model, p, calls.empty() ? json_answer(p) : std::move(calls), prompt.opens_thought, job);
  const ChoiceOptions options{.tokenizer = model.tokenizer, .stops = p.stops, .stop_tokens = job.stop_tokens, .answer = prompt.answer,
                              .begins_text = true, .logprobs = p.sampling.n_logprobs >= 0, .parallel_calls = request.parallel_tool_calls};
  GenerationPlan plan{.stream = p.stream, .include_usage = p.include_usage};
  add_choices(plan, p, job, options, 0, {});
  plan.format = chat_format(head_of(model, p, "chatcmpl-"), model.tokenizer, plan.choices.size());
  return plan;
}

ApiResult<GenerationPlan> plan_completion(const ServedModel& model, CompletionRequest request, const Caller& caller) {
  const GenerationParams& p = request.common;
  MLA_TRY(check_model_name(model, p.model));
  MLA_ASSIGN(mla::Request job, engine_request(model, p, caller));
  constrain(model, p, json_answer(p), /*opens_thought=*/false, job);
  GenerationPlan plan{.n_prompts = request.prompts.size(), .stream = p.stream, .include_usage = p.include_usage};
  if (request.echo) plan.prompt_logprobs = job.sampling.n_logprobs;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    mla::Request one = job;
    MLA_ASSIGN(one.prompt, prompt_ids(model, request.prompts[i], "prompt"));
    MLA_ASSIGN(one.max_new_tokens, new_tokens(model, p, static_cast<int64_t>(one.prompt.size()), "prompt"));
    const auto* text = std::get_if<std::string>(&request.prompts[i]);
    std::string echo;
    if (request.echo && text != nullptr) echo = *text;
    if (request.echo && text == nullptr) {
      auto decoded = model.tokenizer->decode(one.prompt);
      if (decoded.ok()) echo = std::move(*decoded);
    }
    const ChoiceOptions options{.tokenizer = model.tokenizer, .stops = p.stops, .stop_tokens = job.stop_tokens,
                                .begins_text = text != nullptr && text->empty(), .logprobs = p.sampling.n_logprobs >= 0};
    add_choices(plan, p, one, options, i, echo);
  }
  plan.format = completion_format(head_of(model, p, "cmpl-"), model.tokenizer, plan.choices.size());
  return plan;
}

ApiResult<EmbeddingPlan> plan_embedding(const ServedModel& model, const EmbeddingRequest& request, const Caller& caller) {
  MLA_TRY(check_model_name(model, request.model));
  EmbeddingPlan plan{.model = model.id, .base64 = request.base64};
  for (const PromptInput& input : request.inputs) {
    mla::Request one{.client = caller.client, .prefix_namespace = caller.prefix_namespace, .pooling = request.pooling};
    MLA_ASSIGN(one.prompt, prompt_ids(model, input, "input"));
    const auto n = static_cast<int64_t>(one.prompt.size());
    if (n >= model.n_context) return too_long(model, n, "", "input");
    plan.inputs.push_back(std::move(one));
  }
  return plan;
}

}  // namespace mla::server
