#include "cli/bench_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "base/thread_pool.h"
#include "cli/terminal.h"
#include "engine/capacity.h"
#include "model/synth/synth.h"

namespace mla::cli {
namespace {

/// A batch of equal sequences and what it points into.
struct EqualBatch {
  std::vector<int32_t> ids, positions, logit_rows;
  std::vector<SequenceSlice> slices;

  EqualBatch(const std::vector<std::vector<PageId>>& pages, int64_t n_sequences, int64_t n_new, int64_t n_past, int64_t n_vocab) {
    for (int64_t s = 0; s < n_sequences; ++s) {
      slices.push_back({.first_token = s * n_new, .n_new = n_new, .n_past = n_past, .pages = pages[static_cast<size_t>(s)]});
      for (int64_t i = 0; i < n_new; ++i) {
        ids.push_back(static_cast<int32_t>((7919 * (n_past + i) + 104729 * s) % n_vocab));
        positions.push_back(static_cast<int32_t>(n_past + i));
      }
      logit_rows.push_back(static_cast<int32_t>((s + 1) * n_new - 1));
    }
  }
  Batch batch() const { return {.ids = ids, .positions = positions, .sequences = slices, .logit_rows = logit_rows}; }
};

}  // namespace

std::vector<float> random_values(int64_t n) {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(engine);
  return values;
}

Result<OpenedModel> make_in_memory(const SynthPlan& plan, int n_threads) {
  const std::optional<int64_t> available = available_memory();
  if (const double needed = 2.0 * static_cast<double>(plan.tensor_bytes()); available && needed > static_cast<double>(*available)) {
    return Error::resource(fmt::format(
        "{} at {}: weights made in memory need {} (as a file has them, and as kernels want them), {} are available; take fewer --layers "
        "or --experts, or write a file with `mla synth` and give it as --model",
        plan.shape.name, dtype_info(plan.quant).name, human_bytes(needed), human_bytes(static_cast<double>(*available))));
  }
  ThreadPool threads(n_threads);
  Progress progress("making weights", "B");
  OpenedModel opened{.path = plan.shape.name};
  MLA_ASSIGN(opened.checkpoint, make_synth_checkpoint(plan, threads, [&](uint64_t done, uint64_t total) {
    progress.update(static_cast<double>(done), static_cast<double>(total));
    return true;
  }));
  MLA_ASSIGN(opened.config, read_config(*opened.checkpoint));
  return opened;
}

double BenchResult::best_seconds() const {
  return *std::min_element(seconds.begin(), seconds.end());
}

double BenchResult::tokens_per_second() const {
  return static_cast<double>(what.tokens * what.batch) / best_seconds();
}

double BenchResult::spread() const {
  const double slowest = *std::max_element(seconds.begin(), seconds.end());
  return (slowest - best_seconds()) / best_seconds() / 2.0;
}

Result<ModelBench> ModelBench::create(std::shared_ptr<const Model> model, ProfilingBackend& profiler, RowFormat format,
                                      MlaForm form, int64_t max_rows) {
  ModelBench bench;
  bench.model_ = std::move(model);
  bench.profiler_ = &profiler;
  bench.form_ = form;
  const Config& config = bench.model_->config();
  MLA_ASSIGN(bench.pool_, PagePool::create(profiler, config.row_layout(format), config.n_layers, pages_for(max_rows)));
  return bench;
}

/// Random values for the first n_rows of every sequence, in all layers.
void ModelBench::fill_rows(int64_t n_rows) {
  constexpr int64_t kChunk = 256;
  const RowLayout& layout = pool_->layout();
  std::vector<float> values = random_values(kChunk * layout.width());
  for (const std::vector<PageId>& pages : pages_) {
    for (int64_t row = 0; row < n_rows; row += kChunk) {
      const int64_t n = std::min(kChunk, n_rows - row);
      const std::vector<int32_t> unused(static_cast<size_t>(n));
      const SequenceSlice slice{.n_new = n, .n_past = row, .pages = pages};
      for (int64_t l = 0; l < model_->config().n_layers; ++l) {
        profiler_->measured().store_rows({unused, unused, {&slice, 1}, {}}, {values.data(), n, layout.width(), layout.width()},
                                         pool_->layer(l));
      }
    }
  }
}

void ModelBench::forward(Backend& backend, const BenchCase& what, int64_t step) {
  const EqualBatch batch(pages_, what.batch, what.prefill ? what.tokens : 1, what.depth + step, model_->config().n_vocab);
  model_->decoder().forward({.backend = backend, .batch = batch.batch(), .cache = *pool_, .mla_form = form_});
  backend.release_scratch();
}

void ModelBench::repeat(Backend& backend, const BenchCase& what) {
  const int64_t n_steps = what.prefill ? 1 : what.tokens;
  for (int64_t step = 0; step < n_steps; ++step) forward(backend, what, step);
}

Result<BenchResult> ModelBench::run(const BenchCase& what, int repetitions) {
  using Clock = std::chrono::steady_clock;
  const int64_t rows = what.depth + what.tokens, pages = pages_for(rows), context = model_->config().n_context;
  if (rows > context) {
    return Error::usage(fmt::format("{} rows cached and {} more tokens: this model's context ends at {}", what.depth, what.tokens, context));
  }
  if (pages * what.batch > pool_->n_pages()) {
    return Error::usage(fmt::format("{} sequences of {} rows: room was made for {} rows", what.batch, rows, pool_->n_pages() * kPageRows));
  }
  // Sequence s has pages s, s + batch, ...: neighbours in a sequence are not neighbours in memory.
  pages_.assign(static_cast<size_t>(what.batch), std::vector<PageId>(static_cast<size_t>(pages)));
  for (int64_t s = 0; s < what.batch; ++s) {
    for (int64_t p = 0; p < pages; ++p) pages_[static_cast<size_t>(s)][static_cast<size_t>(p)] = static_cast<PageId>(p * what.batch + s);
  }
  fill_rows(rows);

  BenchResult result{.what = what};
  forward(profiler_->measured(), what, 0);  // first touch of the weights and of scratch memory
  for (int r = 0; r < repetitions; ++r) {
    const Clock::time_point begin = Clock::now();
    repeat(profiler_->measured(), what);
    result.seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  profiler_->take();
  repeat(*profiler_, what);
  result.profile = profiler_->take();
  for (const OperationCost& c : result.profile) {
    result.bytes += c.bytes;
    result.flop += c.flop;
  }
  return result;
}

}  // namespace mla::cli
