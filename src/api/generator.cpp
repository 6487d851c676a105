#include "mla/generator.h"

#include <algorithm>
#include <map>
#include <new>
#include <optional>
#include <utility>

#include "api/backend.h"
#include "api/language_model_impl.h"
#include "engine/disk_tier.h"
#include "engine/engine.h"
#include "text/prompt.h"
#include "text/stream_decoder.h"

namespace mla {
namespace {

SamplingParams params_of(Sampling s, int32_t n_logprobs) {
  return {.temperature = s.temperature,
          .top_k = s.top_k,
          .top_p = s.top_p,
          .min_p = s.min_p,
          .typical_p = s.typical_p,
          .repetition_penalty = s.repetition_penalty,
          .presence_penalty = s.presence_penalty,
          .frequency_penalty = s.frequency_penalty,
          .logit_bias = std::move(s.logit_bias),
          .seed = s.seed,
          .n_logprobs = n_logprobs};
}

GenerationEnd end_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
    case FinishReason::kNoToken:  // only under a constraint, which this API does not give
      return GenerationEnd::kRunning;
    case FinishReason::kStop:
      return GenerationEnd::kStop;
    case FinishReason::kLength:
      return GenerationEnd::kLength;
    case FinishReason::kCancelled:
      return GenerationEnd::kCancelled;
  }
  return GenerationEnd::kRunning;
}

/// One generation: its text as it grows, and whom to tell.
struct Generation {
  std::optional<StreamDecoder> decoder;  ///< none without a tokenizer
  std::vector<int32_t> stop_tokens;      ///< end it and stand for no text
  std::function<bool(std::string_view)> on_text;
  std::function<bool(const GeneratedToken&)> on_token;
  GenerationResult result;

  bool give(std::string_view text) {
    if (text.empty()) return true;
    result.text += text;
    return !on_text || on_text(text);
  }
  bool accept(const SampledToken& sampled) {
    result.tokens.push_back(sampled.token);
    if (on_token) {
      GeneratedToken token{sampled.token, sampled.logprob, {}};
      for (const TokenLogprob& t : sampled.top) token.most_probable.emplace_back(t.token, t.logprob);
      if (!on_token(token)) return false;
      if (result.end != GenerationEnd::kRunning) return false;  // the callback has cancelled it
    }
    if (!decoder || std::find(stop_tokens.begin(), stop_tokens.end(), sampled.token) != stop_tokens.end())
      return true;
    const auto text = decoder->push(sampled.token);
    return text.ok() && give(*text) && !decoder->stopped();
  }
  void finish(FinishReason reason) {
    result.end = end_of(reason);
    if (decoder) give(decoder->finish());
  }
};

Error out_of_memory() {
  return Error::resource("not enough memory for the generation");
}

}  // namespace

struct Generator::Impl {
  LanguageModel model;  // declared first: the engine needs it to the end
  std::unique_ptr<Engine> engine;
  std::map<GenerationId, std::shared_ptr<Generation>> generations;

  /// Copies what the engine knows, and ends the text of those that have finished.
  void update() {
    std::vector<std::pair<std::shared_ptr<Generation>, FinishReason>> finished;
    for (auto& [id, generation] : generations) {
      if (generation->result.end != GenerationEnd::kRunning) continue;
      const auto status = engine->status(id);
      if (!status.ok()) continue;
      generation->result.n_prompt_cached = status->n_cached;
      generation->result.seconds_to_first_token = status->ttft_seconds;
      if (status->finished) finished.emplace_back(generation, status->reason);
    }
    // The last text goes to callbacks, which may submit and forget: so not while the list is walked.
    for (auto& [generation, reason] : finished) generation->finish(reason);
  }
};

Generator::Generator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;
Generator::~Generator() = default;

Result<Generator> Generator::create(const LanguageModel& model, const GeneratorOptions& options) try {
  const EngineOptions engine_options{.cache_format = row_format(options.cache),
                                     .max_tokens = options.cache_tokens,
                                     .chunk = options.prefill_chunk,
                                     .max_batch_tokens = options.max_batch_tokens,
                                     .share_prefixes = options.share_prefixes};
  std::shared_ptr<PrefixStore> store;
  if (!options.disk_cache_folder.empty()) {
    if (options.disk_cache_bytes < 0) return Error::usage("disk_cache_bytes is negative");
    MLA_ASSIGN(store, open_disk_cache(*model.impl_->model, engine_options,
                                      {.folder = options.disk_cache_folder,
                                       .budget_bytes = static_cast<uint64_t>(options.disk_cache_bytes)}));
  }
  MLA_ASSIGN(auto engine, Engine::create(model.impl_->model, engine_options, std::move(store)));
  return Generator(std::unique_ptr<Impl>(new Impl{model, std::move(engine), {}}));
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<GenerationId> Generator::submit(GenerationRequest request) try {
  const auto& tokenizer = impl_->model.impl_->model->tokenizer();
  Request r{.sampling = params_of(std::move(request.sampling), request.n_log_probabilities),
            .max_new_tokens = request.max_new_tokens};
  const bool begins_text = request.begins_text || (request.prompt.empty() && request.prompt_ids.empty());
  if (!request.prompt_ids.empty()) {
    r.prompt = std::move(request.prompt_ids);
  } else {
    MLA_ASSIGN(const auto of_prompt, impl_->model.impl_->tokenizer());
    MLA_ASSIGN(r.prompt, encode_prompt(*of_prompt, request.prompt));
  }
  auto generation = std::make_shared<Generation>();
  generation->on_text = std::move(request.on_text);
  generation->on_token = std::move(request.on_token);
  generation->result.n_prompt = static_cast<int64_t>(r.prompt.size());
  if (tokenizer != nullptr) {
    generation->decoder.emplace(tokenizer, std::move(request.stop), begins_text);
    if (request.stop_at_end_of_text) r.stop_tokens = generation->stop_tokens = tokenizer->stop_tokens();
  }
  r.on_token = [generation](const SampledToken& token) { return generation->accept(token); };
  // The list's entry is made first: once the engine has the request, nothing may fail.
  std::map<GenerationId, std::shared_ptr<Generation>> entry{{0, std::move(generation)}};
  auto node = entry.extract(0);
  MLA_ASSIGN(const GenerationId id, impl_->engine->submit(std::move(r)));
  node.key() = id;
  impl_->generations.insert(std::move(node));
  return id;
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Result<bool> Generator::step() try {
  MLA_TRY(impl_->engine->step());
  impl_->update();
  return impl_->engine->busy();
} catch (const std::bad_alloc&) {
  return out_of_memory();
}

Status Generator::run() {
  while (impl_->engine->busy()) MLA_TRY(step());
  return {};
}

void Generator::cancel(GenerationId id) {
  impl_->engine->cancel(id);
  impl_->update();
}

Result<GenerationResult> Generator::result(GenerationId id) const {
  const auto found = impl_->generations.find(id);
  if (found == impl_->generations.end())
    return Error::usage("no generation " + std::to_string(id) + " is known");
  return found->second->result;
}

void Generator::forget(GenerationId id) {
  const auto found = impl_->generations.find(id);
  if (found == impl_->generations.end()) return;
  impl_->engine->cancel(id);
  GenerationEnd& end = found->second->result.end;  // generate() may be waiting for it
  if (end == GenerationEnd::kRunning) end = GenerationEnd::kCancelled;
  impl_->generations.erase(found);
}

Result<GenerationResult> Generator::generate(GenerationRequest request) {
  MLA_ASSIGN(const GenerationId id, submit(std::move(request)));
  // Held here, so that a callback may forget it.
  const std::shared_ptr<Generation> generation = impl_->generations.at(id);
  Result<bool> more = true;
  while (generation->result.end == GenerationEnd::kRunning && more.ok() && *more) more = step();
  forget(id);
  if (!more.ok()) return std::move(more).error();
  return std::move(generation->result);
}

int64_t Generator::cache_bytes_per_token() const {
  return impl_->engine->cache().token_bytes();
}
int64_t Generator::cache_capacity_tokens() const {
  return impl_->engine->cache().n_pages() * kPageRows;
}

}  // namespace mla
