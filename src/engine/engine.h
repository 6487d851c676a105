#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/model.h"
#include "sampling/sampler.h"

namespace mla {

struct EngineOptions {
  RowFormat cache_format = RowFormat::kBF16;
  int64_t max_tokens = 0;      ///< cache capacity in tokens over all sequences; 0 = the model's context, or what fits in memory
  int64_t chunk = 512;         ///< prompt tokens of one sequence that go through one step
  int64_t max_batch_tokens = 1024;
  MlaForm mla_form = MlaForm::kAuto;
  bool share_prefixes = true;  ///< sequences with equal beginnings share full pages
};

enum class FinishReason { kNone, kStop, kLength, kCancelled };

struct Request {
  std::vector<int32_t> prompt;        ///< token ids, BOS included where the model wants it; at least one
  SamplingParams sampling;
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_tokens;   ///< ends the sequence; the token itself is reported with reason kStop
  /// Called inside step() for each new token. Return false to end the sequence (a stop string was seen).
  std::function<bool(const SampledToken&)> on_token;
};

using SequenceId = int64_t;

struct SequenceStatus {
  bool finished = false;
  FinishReason reason = FinishReason::kNone;
  int64_t n_prompt = 0, n_cached = 0;  ///< prompt tokens; how many of them were found in shared pages
  int64_t n_generated = 0;
  double ttft_seconds = 0.0;           ///< submit to first token
};

struct StepReport {
  int64_t n_prompt_tokens = 0;  ///< prompt tokens computed in this step
  int64_t n_new_tokens = 0;     ///< tokens generated in this step
  int64_t n_running = 0, n_waiting = 0;
};

/// Runs many sequences on one model: every step is one forward over a mixed batch of prompt chunks and decode steps.
/// Not thread-safe: one thread submits and steps.
class Engine {
 public:
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model, const EngineOptions& options);
  ~Engine();

  /// Errors: kUsage for an empty prompt, ids outside the vocabulary, bad sampling parameters, or a prompt (plus one token)
  /// that cannot fit in the cache or the model's context, with the numbers.
  Result<SequenceId> submit(Request request);
  /// One forward. Does nothing when nothing runs. Errors: kResource (out of memory); sequences stay as they were.
  Result<StepReport> step();
  /// Ends a sequence in any state and releases its pages.
  void cancel(SequenceId id);
  /// Whether any sequence is unfinished.
  bool busy() const;
  Result<SequenceStatus> status(SequenceId id) const;

  /// Logits of every token of `ids` [n, n_vocab], row i after tokens 0 ... i, computed in chunks of `chunk` (0 = the
  /// engine's) in a sequence of its own; `on_rows(first_row, logits)` is called per chunk.
  Status evaluate(std::span<const int32_t> ids, int64_t chunk,
                  const std::function<Status(int64_t first_row, std::span<const float> logits)>& on_rows);

  const PagePool& cache() const;
  const Model& model() const;

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
