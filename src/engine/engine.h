#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cache/prefix_store.h"
#include "model/model.h"
#include "sampling/sampler.h"

namespace mla {

struct EngineOptions {
  RowFormat cache_format = RowFormat::kBF16;
  /// Cache capacity in tokens over all sequences; 0 = the model's context, or what fits in memory
  int64_t max_tokens = 0;
  int64_t chunk = 512;  ///< prompt tokens of one sequence that go through one step
  /// Prompt tokens of all sequences in a step while others generate: what an answer's next token may have to
  /// wait for
  int64_t prefill_budget = 128;
  int64_t max_batch_tokens = 1024;  ///< tokens of one step
  int64_t max_sequences = 1024;     ///< that run at once; each has a token in a step, so never more than max_batch_tokens
  MlaForm mla_form = MlaForm::kAuto;
  bool share_prefixes = true;  ///< sequences with equal beginnings share full pages
};

enum class FinishReason {
  kNone,
  kStop,
  kLength,
  kCancelled,
  kNoToken,  ///< of the vocabulary no token was possible where the request's constraint had got to
};
/// "none", "stop", "length", "cancelled", "no_token"
std::string_view finish_reason_name(FinishReason reason);

/// What a request for an embedding gets: the final hidden state (after the last norm; transformers'
/// last_hidden_state) of the last token, or the mean over all tokens. Not scaled to length 1.
enum class Pooling { kNone, kLast, kMean };

struct Request {
  std::vector<int32_t> prompt;  ///< token ids, BOS included where the model wants it; at least one
  SamplingParams sampling;
  /// At least 1 (0 with on_prompt_token: the sequence ends with its prompt); it also ends where the context or the cache ends
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_tokens;  ///< ends the sequence; the token itself is reported with reason kStop
  std::string client;                ///< who asks (any bytes): service is shared fairly between clients
  /// Any bytes: cached pages are shared with requests of the same namespace only. The same over restarts, if
  /// pages kept on disk are to be found again.
  std::string prefix_namespace;
  /// Called inside step() for each new token, a stop token included. Return false to end the sequence (a stop
  /// string was seen). It may submit and cancel, but not step or evaluate. When it throws, the sequence ends
  /// as cancelled, and when the others have got theirs the exception leaves step() (of several, one): std::bad_alloc as
  /// its error, others as they are.
  std::function<bool(const SampledToken&)> on_token;
  /// If there is one: called inside step(), under the rules of on_token, for every token of the prompt but the first, in their
  /// order and before any token of the answer, with its log-probability after those before it and the prompt_logprobs most
  /// probable in its place. Such a prompt's rows are all computed, never taken from shared pages.
  std::function<void(const SampledToken&)> on_prompt_token;
  int32_t prompt_logprobs = 0;
  /// Anything but kNone: no token is generated (sampling, limits and stops are not read), on_embedding is
  /// called once with [d_model] values, under the rules of on_token, and the sequence ends with reason kStop.
  Pooling pooling = Pooling::kNone;
  std::function<void(std::span<const float>)> on_embedding;
};

using SequenceId = int64_t;

struct SequenceStatus {
  bool finished = false;
  bool running = false;  ///< has been admitted and holds pages; neither running nor finished: it waits
  FinishReason reason = FinishReason::kNone;
  int64_t n_prompt = 0, n_cached = 0;  ///< prompt tokens; how many of them were found in shared pages
  int64_t n_generated = 0;
  double queue_seconds = 0.0;  ///< submit to where its prompt began to be computed
  double ttft_seconds = 0.0;   ///< submit to first token
};

struct StepReport {
  int64_t n_sequences = 0;      ///< that had a part in this step
  int64_t n_prompt_tokens = 0;  ///< prompt tokens computed in this step
  int64_t n_new_tokens = 0;     ///< tokens generated in this step
  int64_t n_running = 0, n_waiting = 0;
  int64_t n_loading = 0;  ///< of the running: their pages are being loaded
  /// Sequences that gave their pages back in this step and compute them again later
  int64_t n_preemptions = 0;
};

/// Runs many sequences on one model: every step is one forward over a mixed batch of prompt chunks and decode
/// steps. Not thread-safe: one thread submits and steps.
class Engine {
 public:
  /// The model's backend must outlive the engine. Full pages go to `store`, if there is one, and come from it; it must be one
  /// of this model and these options (open_disk_cache()). Errors: kUsage for options out of range; kResource when the
  /// cache does not fit in memory, with the numbers.
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model,
                                                const EngineOptions& options,
                                                std::shared_ptr<PrefixStore> store = nullptr);
  ~Engine();

  /// Errors: kUsage for an empty prompt, ids outside the vocabulary, bad sampling parameters, or a prompt
  /// (plus one token) that cannot fit in the cache or the model's context, with the numbers.
  Result<SequenceId> submit(Request request);
  /// One forward. Does nothing when no sequence can go on: the report's token counts are then 0, and stay so
  /// until something is submitted, resumed or cancelled, unless n_loading says that pages are on their way (then it has waited
  /// for them a few milliseconds). Errors: kResource (out of memory); a sequence either
  /// advanced and its token was reported, or stays as it was, so that the step can be tried again.
  Result<StepReport> step();
  /// What submit() would refuse. Reads constants only: any thread may ask at any time.
  Status check(const Request& request) const;
  /// Ends a sequence in any state and releases its pages; nothing happens when it is finished or unknown.
  void cancel(SequenceId id);
  /// A paused sequence keeps what it has and gets no tokens until it is resumed; when pages run out it is the
  /// first to give its own back. Nothing happens when it is finished or unknown.
  void pause(SequenceId id);
  void resume(SequenceId id);
  /// Whether any sequence is unfinished.
  bool busy() const { return n_running() + n_waiting() > 0; }
  int64_t n_running() const;
  int64_t n_waiting() const;
  /// How many of the requests that wait, or are submitted next, begin as soon as they may: those that are held back for a prefix
  /// that another computes, or that are paused, have their place. 0 while one waits for pages or for its turn.
  int64_t n_places() const;
  /// Of a running, waiting or finished sequence; finished ones are remembered for the next few thousand
  /// submissions. Errors: kUsage for others.
  Result<SequenceStatus> status(SequenceId id) const;

  /// Logits of every token of `ids` [n, n_vocab], row i after tokens 0 ... i, computed in chunks of `chunk`
  /// (0 = the engine's, or less so that a chunk's logits stay small) in a sequence of its own that shares no
  /// pages and leaves none; `on_rows(first_row, logits)` is called per chunk. Errors: kUsage for no ids, ids
  /// outside the vocabulary or more than the context or the cache holds; kResource when running sequences
  /// hold too many pages; what on_rows returns.
  Status evaluate(std::span<const int32_t> ids, int64_t chunk,
                  const std::function<Status(int64_t first_row, std::span<const float> logits)>& on_rows);

  /// Tokens that one sequence may have, prompt and answer together: the model's context or the cache,
  /// whichever is less.
  int64_t max_sequence_tokens() const;
  /// Pages kept for prompts with equal beginnings that no sequence uses now; they are given up when pages are
  /// needed.
  int64_t n_reusable_pages() const;
  /// Forgets them.
  void drop_prefixes();

  const PagePool& cache() const;
  const Model& model() const;

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
