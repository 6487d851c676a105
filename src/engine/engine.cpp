#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "engine/capacity.h"
#include "engine/scheduler.h"

namespace mla {
namespace {

/// Slots for the status of finished sequences.
constexpr size_t kRemembered = 4096;

/// A step in which nothing can be computed waits for pages no longer than this: commands may have come in.
constexpr std::chrono::milliseconds kLoadWait{5};

/// Logits of evaluate(), unless the caller fixes the chunk, and of scored prompts that are held at once.
constexpr int64_t kLogitBytes = int64_t{64} << 20;

int64_t most_logit_rows(int64_t n_vocab) { return std::max<int64_t>(1, kLogitBytes / static_cast<int64_t>(sizeof(float)) / n_vocab); }

/// Forgets a step's activations, however the step ends.
class ScratchScope {
 public:
  explicit ScratchScope(Backend& backend) : backend_(backend) { backend_.release_scratch(); }
  ~ScratchScope() { backend_.release_scratch(); }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

 private:
  Backend& backend_;
};

/// The arrays that a Batch points into; kept from step to step.
struct BatchBuffers {
  std::vector<int32_t> ids, positions, logit_rows, hidden_rows;
  std::vector<SequenceSlice> slices;

  void clear() {
    ids.clear();
    positions.clear();
    logit_rows.clear();
    hidden_rows.clear();
    slices.clear();
  }
  /// Appends tokens [cache.size(), cache.size() + n_new) of a sequence whose rows are reserved.
  void add(std::span<const int32_t> tokens, const SequenceCache& cache, int64_t n_new) {
    slices.push_back({static_cast<int64_t>(ids.size()), n_new, cache.size(), cache.pages()});
    for (int64_t i = 0; i < n_new; ++i) {
      ids.push_back(tokens[static_cast<size_t>(cache.size() + i)]);
      positions.push_back(static_cast<int32_t>(cache.size() + i));
    }
  }
  void add(const Sequence& sequence, const PlannedSlice& slice) {
    add(sequence.tokens, sequence.cache, slice.n_new);
    const auto end = static_cast<int32_t>(ids.size());
    for (int64_t n = slice.n_logits; n > 0; --n) logit_rows.push_back(end - static_cast<int32_t>(n));
    for (int64_t n = slice.n_hidden; n > 0; --n) hidden_rows.push_back(end - static_cast<int32_t>(n));
  }
  Batch batch() const { return {ids, positions, slices, logit_rows, hidden_rows}; }
};

Status check_ids(std::span<const int32_t> ids, int64_t n_vocab, const char* what) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < n_vocab) continue;
    return Error::usage(
        fmt::format("{} {} is token {}: expected an id from 0 to {}", what, i, ids[i], n_vocab - 1));
  }
  return {};
}

Error out_of_memory(const char* doing) {
  return Error::resource(
      fmt::format("not enough memory for {}: use a smaller chunk or batch, or a smaller cache", doing));
}

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kNoToken:
      return "no_token";
  }
  return "unknown";
}

struct Engine::Impl {
  Impl(std::shared_ptr<const Model> m, const EngineOptions& o, std::unique_ptr<PagePool> p,
       std::shared_ptr<PrefixStore> store)
      : model(std::move(m)), options(o), pool(std::move(p)), scheduler(*pool, options, most_logit_rows(n_vocab()), std::move(store)) {}

  /// Valid until the next forward.
  struct HostOutputs {
    std::span<const float> logits;  ///< [logit rows, n_vocab]
    std::span<const float> hidden;  ///< [hidden rows, d_model]
  };
  HostOutputs forward(const BatchBuffers& batch);
  std::vector<std::optional<SampledToken>> sample(const std::vector<PlannedSlice>& slices,
                                                  std::span<const float> logits);
  bool tell_scores(Sequence& sequence, std::span<const std::optional<SampledToken>> tokens, int64_t first);
  void advance(const std::vector<PlannedSlice>& slices, HostOutputs outputs, StepReport& report);
  void pool_states(Sequence& sequence, const PlannedSlice& slice, std::span<const float> states);
  void finish_embedding(Sequence& sequence);
  void accept(Sequence& sequence, const SampledToken& token);
  void finish(SequenceId id, FinishReason reason);
  int64_t max_sequence_tokens() const {
    return std::min(model->config().n_context, pool->n_pages() * kPageRows);
  }
  int64_t n_vocab() const { return model->config().n_vocab; }

  std::shared_ptr<const Model> model;
  EngineOptions options;
  std::unique_ptr<PagePool> pool;
  Scheduler scheduler;
  SequenceId next_id = 1;
  BatchBuffers buffers;
  std::vector<float> host_logits, host_hidden;
  /// The status of finished sequence i is in slot i % kRemembered, unless another has taken the slot since.
  std::vector<std::pair<SequenceId, SequenceStatus>> finished{kRemembered};
};

Engine::Engine() = default;
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::create(std::shared_ptr<const Model> model,
                                               const EngineOptions& options,
                                               std::shared_ptr<PrefixStore> store) try {
  if (options.chunk < 1)
    return Error::usage(fmt::format("chunk = {}: expected at least 1 token", options.chunk));
  if (options.max_batch_tokens < 1) {
    return Error::usage(
        fmt::format("max_batch_tokens = {}: expected at least 1 token", options.max_batch_tokens));
  }
  if (options.max_sequences < 1)
    return Error::usage(fmt::format("max_sequences = {}: expected at least 1", options.max_sequences));
  if (options.prefill_budget < 1) {
    return Error::usage(
        fmt::format("prefill_budget = {}: expected at least 1 token", options.prefill_budget));
  }
  const Config& config = model->config();
  RowLayout layout = config.row_layout(options.cache_format);
  const auto page_bytes = (Checked<int64_t>(config.n_layers) * kPageRows * layout.row_bytes()).get();
  if (!page_bytes || *page_bytes < 1) {
    return Error::usage(fmt::format("a cache row of {} bytes in {} layers: no page can hold it",
                                    layout.row_bytes(), config.n_layers));
  }
  MLA_ASSIGN(const int64_t n_pages,
             choose_cache_pages(options.max_tokens, config.n_context, *page_bytes, available_memory()));
  MLA_ASSIGN(auto pool, PagePool::create(model->backend(), std::move(layout), config.n_layers, n_pages));
  std::unique_ptr<Engine> engine(new Engine());
  engine->impl_ = std::make_unique<Impl>(std::move(model), options, std::move(pool), std::move(store));
  return engine;
} catch (const std::bad_alloc&) {
  return out_of_memory("an engine");
}

// -- requests
// ----------------------------------------------------------------------------------------------------------

Status Engine::check(const Request& request) const {
  const int64_t n_vocab = impl_->n_vocab(), n_prompt = static_cast<int64_t>(request.prompt.size());
  const bool scored_only = request.on_prompt_token && request.max_new_tokens == 0;
  const int64_t n_answer = request.pooling == Pooling::kNone && !scored_only ? 1 : 0;  // at least
  if (n_prompt == 0)
    return Error::usage("the prompt is empty: a model needs at least one token (BOS) to start from");
  MLA_TRY(check_ids(request.prompt, n_vocab, "prompt position"));
  if (n_answer > 0) {
    MLA_TRY(check_ids(request.stop_tokens, n_vocab, "stop token"));
    MLA_TRY(request.sampling.validate(n_vocab));
    if (request.max_new_tokens < 1)
      return Error::usage(fmt::format("max_new_tokens = {}: expected at least 1", request.max_new_tokens));
  }
  const int64_t n_context = impl_->model->config().n_context, capacity = impl_->pool->n_pages() * kPageRows;
  const auto what = n_answer > 0 ? fmt::format("the prompt has {} tokens and the answer at least 1", n_prompt)
                                 : fmt::format("the text has {} tokens", n_prompt);
  if (n_prompt + n_answer > n_context)
    return Error::usage(fmt::format("{}, but the model's context is {} tokens: shorten it", what, n_context));
  if (n_prompt + n_answer > capacity) {
    return Error::usage(
        fmt::format("{}, but the cache holds {} tokens ({} MiB): shorten it or use a larger cache", what,
                    capacity, impl_->pool->total_bytes() >> 20));
  }
  return {};
}

Result<SequenceId> Engine::submit(Request request) try {
  MLA_TRY(check(request));
  const SequenceId id = impl_->next_id++;
  auto sequence = std::make_unique<Sequence>(id, std::move(request), impl_->n_vocab(), *impl_->pool);
  if (sequence->embeds()) sequence->pooled.resize(static_cast<size_t>(impl_->model->config().d_model));
  impl_->scheduler.submit(std::move(sequence));
  return id;
} catch (const std::bad_alloc&) {
  return out_of_memory("a request");
}

void Engine::cancel(SequenceId id) {
  if (impl_->scheduler.find(id) != nullptr) impl_->finish(id, FinishReason::kCancelled);
}

void Engine::pause(SequenceId id) {
  if (Sequence* sequence = impl_->scheduler.find(id)) impl_->scheduler.pause(*sequence);
}

void Engine::resume(SequenceId id) {
  if (Sequence* sequence = impl_->scheduler.find(id)) impl_->scheduler.resume(*sequence);
}

int64_t Engine::n_running() const {
  return impl_->scheduler.n_running();
}
int64_t Engine::n_waiting() const {
  return impl_->scheduler.n_waiting();
}
int64_t Engine::n_places() const {
  return impl_->scheduler.n_places();
}

Result<SequenceStatus> Engine::status(SequenceId id) const {
  if (const Sequence* sequence = impl_->scheduler.find(id)) {
    SequenceStatus status = sequence->status;
    status.running = impl_->scheduler.runs(id);
    return status;
  }
  if (id > 0) {
    const auto& [owner, finished] = impl_->finished[static_cast<size_t>(id) % kRemembered];
    if (owner == id) return finished;
  }
  return Error::usage(fmt::format(
      "no sequence {} is known: of the finished, about the last {} are remembered", id, kRemembered));
}

void Engine::Impl::finish(SequenceId id, FinishReason reason) {
  SequenceStatus status = scheduler.find(id)->status;
  status.finished = true;
  status.reason = reason;
  scheduler.remove(id);
  finished[static_cast<size_t>(id) % kRemembered] = {id, status};
}

// -- the step
// ----------------------------------------------------------------------------------------------------------

Engine::Impl::HostOutputs Engine::Impl::forward(const BatchBuffers& buffers) {
  ScratchScope scratch(model->backend());
  host_logits.resize(buffers.logit_rows.size() * static_cast<size_t>(n_vocab()));
  host_hidden.resize(buffers.hidden_rows.size() * static_cast<size_t>(model->config().d_model));
  const Batch batch = buffers.batch();
  const Outputs outputs = model->decoder().forward({model->backend(), batch, *pool, options.mla_form});
  if (!host_logits.empty()) model->backend().download(outputs.logits, host_logits.data());
  if (!host_hidden.empty()) model->backend().download(outputs.hidden, host_hidden.data());
  return {host_logits, host_hidden};
}

Result<StepReport> Engine::step() {
  Impl& m = *impl_;
  StepReport report;
  const int64_t preemptions_before = m.scheduler.n_preemptions();
  std::vector<PlannedSlice> slices;
  try {
    slices = m.scheduler.plan();
    m.buffers.clear();
    for (const PlannedSlice& slice : slices) m.buffers.add(*m.scheduler.find(slice.id), slice);
    if (slices.empty()) m.scheduler.wait_for_load(kLoadWait);
    if (!slices.empty()) m.advance(slices, m.forward(m.buffers), report);
  } catch (const std::bad_alloc&) {
    m.scheduler.unplan(slices);
    return out_of_memory("a step");
  }
  report.n_sequences = static_cast<int64_t>(slices.size());
  report.n_running = m.scheduler.n_running();
  report.n_waiting = m.scheduler.n_waiting();
  report.n_loading = m.scheduler.n_loading();
  report.n_preemptions = m.scheduler.n_preemptions() - preemptions_before;
  return report;
}

/// For every row of logits the token that follows, on the backend's threads: of a large vocabulary and many rows this takes as
/// long as a layer. After a prompt's tokens but the last that is the prompt's next one, scored; after a slice that completes its
/// sequence, the one that is chosen. Where memory runs out there is none; nothing has been chosen then.
std::vector<std::optional<SampledToken>> Engine::Impl::sample(const std::vector<PlannedSlice>& slices,
                                                              std::span<const float> logits) {
  struct Row {
    Sequence* sequence;
    int32_t next;  ///< of the prompt; -1: to be chosen
  };
  std::vector<Row> rows;
  for (const PlannedSlice& slice : slices) {
    if (slice.n_logits == 0) continue;
    Sequence& sequence = *scheduler.find(slice.id);
    const int64_t end = sequence.cache.size() + slice.n_new;
    for (int64_t next = end - slice.n_logits + 1; next <= end; ++next)
      rows.push_back({&sequence, next < sequence.n_tokens() ? sequence.tokens[static_cast<size_t>(next)] : -1});
  }
  std::vector<std::optional<SampledToken>> tokens(rows.size());
  const auto row_size = static_cast<size_t>(n_vocab());
  model->backend().parallel(static_cast<int64_t>(rows.size()), [&](int64_t i) {
    const auto row = static_cast<size_t>(i);
    Sequence& sequence = *rows[row].sequence;
    const std::span<const float> row_logits = logits.subspan(row * row_size, row_size);
    try {
      if (rows[row].next >= 0) {
        tokens[row] = log_probabilities(row_logits, rows[row].next, sequence.request.prompt_logprobs);
      } else if (sequence.answers()) {
        if (sequence.tokens.size() == sequence.tokens.capacity())
          sequence.tokens.reserve(2 * sequence.tokens.size());
        tokens[row] = sequence.sampler.sample(row_logits);
      }
    } catch (const std::bad_alloc&) {
      tokens[row].reset();
    }
  });
  return tokens;
}

/// Hands out what follows the tokens from `first` on. False when the callback has ended the sequence.
bool Engine::Impl::tell_scores(Sequence& sequence, std::span<const std::optional<SampledToken>> tokens, int64_t first) {
  const SequenceId id = sequence.id;
  auto on_prompt_token = std::move(sequence.request.on_prompt_token);  // held here: it may cancel its own sequence
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (const int64_t next = first + static_cast<int64_t>(i) + 1; next < sequence.n_scored || next >= sequence.status.n_prompt) continue;
    ++sequence.n_scored;
    try {
      on_prompt_token(*tokens[i]);
    } catch (...) {
      if (scheduler.find(id) != nullptr) finish(id, FinishReason::kCancelled);
      throw;
    }
    if (scheduler.find(id) == nullptr) return false;
  }
  sequence.request.on_prompt_token = std::move(on_prompt_token);
  return true;
}

/// Counts the rows that the forward has stored, and hands out what came of them. A sequence that memory was
/// short for stays as it was, and its rows are stored again by the next step; what a callback throws ends its
/// own sequence. Either is thrown on when all others have got theirs.
void Engine::Impl::advance(const std::vector<PlannedSlice>& slices, HostOutputs outputs, StepReport& report) {
  std::vector<std::optional<SampledToken>> tokens = sample(slices, outputs.logits);
  size_t row = 0, state = 0;
  const auto d_model = static_cast<size_t>(model->config().d_model);
  std::exception_ptr failure;
  for (const PlannedSlice& slice : slices) {
    const auto n_rows = static_cast<size_t>(slice.n_logits);
    const auto next = std::span(tokens).subspan(std::exchange(row, row + n_rows), n_rows);
    const auto n_states = static_cast<size_t>(slice.n_hidden) * d_model;
    const auto states = outputs.hidden.subspan(std::exchange(state, state + n_states), n_states);
    Sequence* sequence = scheduler.find(slice.id);
    if (sequence == nullptr) continue;  // an earlier sequence's callback has cancelled it
    try {
      const bool chosen = slice.completes && sequence->answers();
      const size_t n_wanted = n_rows > 0 && slice.completes && !chosen ? n_rows - 1 : n_rows;  // nothing follows the last
      if (std::any_of(next.begin(), next.begin() + n_wanted, [](const auto& token) { return !token; })) throw std::bad_alloc();
      if (!sequence->decodes()) report.n_prompt_tokens += slice.n_new;
      if (n_states > 0) pool_states(*sequence, slice, states);
      const int64_t first = sequence->cache.size();
      scheduler.computed(*sequence, slice.n_new);
      if (sequence->scores() && !tell_scores(*sequence, next, first)) continue;
      if (chosen && next.back()->token < 0) {
        finish(slice.id, FinishReason::kNoToken);
      } else if (chosen) {
        ++report.n_new_tokens;
        accept(*sequence, *next.back());
      } else if (slice.completes) {
        sequence->embeds() ? finish_embedding(*sequence) : finish(sequence->id, FinishReason::kLength);
      }
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// Adds the states of a slice, [slice.n_hidden, d_model], to what a sequence has gathered; those of a mean
/// that were added before its pages were given back are not added twice.
void Engine::Impl::pool_states(Sequence& sequence, const PlannedSlice& slice, std::span<const float> states) {
  const auto d_model = static_cast<int64_t>(sequence.pooled.size());
  const int64_t first = sequence.cache.size() + slice.n_new - slice.n_hidden;  // the token of the first state
  for (int64_t row = std::max<int64_t>(sequence.n_pooled - first, 0); row < slice.n_hidden; ++row) {
    for (int64_t i = 0; i < d_model; ++i)
      sequence.pooled[static_cast<size_t>(i)] += states[static_cast<size_t>(row * d_model + i)];
  }
  sequence.n_pooled = std::max(sequence.n_pooled, first + slice.n_hidden);
}

void Engine::Impl::finish_embedding(Sequence& sequence) {
  const SequenceId id = sequence.id;
  if (sequence.request.pooling == Pooling::kMean) {
    for (float& value : sequence.pooled) value /= static_cast<float>(sequence.n_pooled);
  }
  // As in accept(): the callback may cancel its own sequence.
  const std::vector<float> pooled = std::move(sequence.pooled);
  const auto on_embedding = std::move(sequence.request.on_embedding);
  const auto end = [&](FinishReason reason) {
    if (scheduler.find(id) != nullptr) finish(id, reason);
  };
  try {
    if (on_embedding) on_embedding(pooled);
  } catch (...) {
    end(FinishReason::kCancelled);
    throw;
  }
  end(FinishReason::kStop);
}

void Engine::Impl::accept(Sequence& sequence, const SampledToken& token) {
  const SequenceId id = sequence.id;
  const Request& request = sequence.request;
  sequence.tokens.push_back(token.token);
  scheduler.answered(sequence);
  if (sequence.status.n_generated++ == 0) {
    sequence.status.ttft_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - sequence.submitted).count();
  }
  const bool stops = std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token.token) !=
                     request.stop_tokens.end();

  // The callback may cancel its own sequence, which destroys it: so the callback is held here while it runs.
  bool goes_on = true;
  if (auto on_token = std::move(sequence.request.on_token)) {
    try {
      goes_on = on_token(token);
    } catch (...) {
      if (scheduler.find(id) != nullptr) finish(id, FinishReason::kCancelled);
      throw;
    }
    if (scheduler.find(id) == nullptr) return;
    sequence.request.on_token = std::move(on_token);
  }
  if (stops || !goes_on || sequence.sampler.finished()) {
    finish(id, FinishReason::kStop);
  } else if (sequence.status.n_generated >= request.max_new_tokens ||
             sequence.n_tokens() >= max_sequence_tokens()) {
    finish(id, FinishReason::kLength);
  }
}

// -- evaluation
// --------------------------------------------------------------------------------------------------------

Status Engine::evaluate(
    std::span<const int32_t> ids, int64_t chunk,
    const std::function<Status(int64_t first_row, std::span<const float> logits)>& on_rows) try {
  Impl& m = *impl_;
  const int64_t n = static_cast<int64_t>(ids.size());
  if (n == 0) return Error::usage("no token ids to evaluate");
  if (chunk < 0) return Error::usage(fmt::format("chunk = {}: expected 0 (automatic) or more", chunk));
  MLA_TRY(check_ids(ids, m.n_vocab(), "position"));
  if (n > m.max_sequence_tokens()) {
    return Error::usage(
        fmt::format("{} tokens to evaluate, but the model's context is {} tokens and the cache holds {}", n,
                    m.model->config().n_context, m.pool->n_pages() * kPageRows));
  }
  if (chunk == 0) {
    chunk = std::min(m.options.chunk, most_logit_rows(m.n_vocab()));
  }
  SequenceCache cache(*m.pool);
  if (!m.scheduler.free_pages(pages_for(n)) || !cache.reserve(n)) {
    return Error::resource(
        fmt::format("{} tokens to evaluate need {} cache pages, but running sequences leave {} of {}", n,
                    pages_for(n), m.pool->n_free(), m.pool->n_pages()));
  }
  BatchBuffers buffers;
  for (int64_t first = 0; first < n; first += chunk) {
    const int64_t n_new = std::min(chunk, n - first);
    buffers.clear();
    buffers.add(ids, cache, n_new);
    for (int64_t i = 0; i < n_new; ++i) buffers.logit_rows.push_back(static_cast<int32_t>(i));
    const std::span<const float> logits = m.forward(buffers).logits;  // [n_new, n_vocab]
    cache.append(n_new);
    MLA_TRY(on_rows(first, logits));
  }
  return {};
} catch (const std::bad_alloc&) {
  return out_of_memory("an evaluation");
}

// -- what it stands on
// -------------------------------------------------------------------------------------------------

int64_t Engine::max_sequence_tokens() const {
  return impl_->max_sequence_tokens();
}
int64_t Engine::n_reusable_pages() const {
  return impl_->scheduler.prefixes().n_evictable();
}
void Engine::drop_prefixes() {
  impl_->scheduler.prefixes().clear();
}
const PagePool& Engine::cache() const {
  return *impl_->pool;
}
const Model& Engine::model() const {
  return *impl_->model;
}

}  // namespace mla
