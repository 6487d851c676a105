#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/load.h"
#include "model/model.h"
#include "model/synth/plan.h"
#include "ops/profiling_backend.h"

namespace mla::cli {

/// Values like those of a trained model's rows: mean 0, variance 1, the same each time.
std::vector<float> random_values(int64_t n);

/// A checkpoint with random weights in memory, as if a file had been opened; shows progress. Errors: kResource when the
/// weights do not fit twice (as a file has them, and as kernels want them), with what to change.
Result<OpenedModel> make_in_memory(const SynthPlan& plan, int n_threads);

/// One line of `mla bench`: `batch` sequences, each with `depth` rows cached, are given `tokens` more: all in one forward
/// (prefill), or one at a time (decode).
struct BenchCase {
  bool prefill = false;
  int64_t tokens = 0;
  int64_t depth = 0;
  int64_t batch = 1;
};

struct BenchResult {
  BenchCase what;
  std::vector<double> seconds;        ///< of each repetition, for all tokens of all sequences
  double bytes = 0.0, flop = 0.0;     ///< of one repetition, as ProfilingBackend counts them
  std::vector<OperationCost> profile; ///< of one more repetition

  double best_seconds() const;
  double tokens_per_second() const;
  /// Half the distance between the slowest and the fastest repetition, relative to the fastest.
  double spread() const;
};

/// Measures forwards of one model with one cache format. Cached rows are random: no prompt has to be computed to reach a
/// depth. The model's backend must be `profiler`, whose measured backend the timed repetitions run on.
class ModelBench {
 public:
  /// Memory for `max_rows` cached rows over all sequences. Errors: kResource.
  static Result<ModelBench> create(std::shared_ptr<const Model> model, ProfilingBackend& profiler, RowFormat format,
                                   MlaForm form, int64_t max_rows);

  /// Runs a case `repetitions` times after a first one that is not counted. Errors: kUsage for a case that exceeds
  /// max_rows or the model's context.
  Result<BenchResult> run(const BenchCase& what, int repetitions);

 private:
  ModelBench() = default;
  void fill_rows(int64_t n_rows);
  void forward(Backend& backend, const BenchCase& what, int64_t step);
  void repeat(Backend& backend, const BenchCase& what);

  std::shared_ptr<const Model> model_;
  ProfilingBackend* profiler_ = nullptr;
  std::unique_ptr<PagePool> pool_;
  MlaForm form_ = MlaForm::kAuto;
  std::vector<std::vector<PageId>> pages_;  ///< of each sequence
};

}  // namespace mla::cli
