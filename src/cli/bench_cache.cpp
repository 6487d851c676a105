#include "cli/bench_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "cache/arithmetic.h"
#include "cli/bench_document.h"
#include "cli/bench_model.h"
#include "cli/cache_report.h"
#include "cli/load.h"
#include "cli/moments.h"
#include "cli/terminal.h"
#include "cli/text_windows.h"
#include "engine/capacity.h"

namespace mla::cli {
namespace {

constexpr uint64_t kMaxText = uint64_t{1} << 30;
constexpr int64_t kDefaultWindow = 512;
constexpr int64_t kDefaultDepth = 4096;

struct CacheBenchOptions {
  ModelOptions model;
  std::string file;
  std::vector<std::string> caches{"f32", "bf16", "int8", "int6", "int4"};
  int64_t window = 0;  ///< 0 = kDefaultWindow, or the model's context where that is less
  int64_t max_tokens = 2048;
  int64_t depth = -1;  ///< -1 = kDefaultDepth, or what the context leaves
  int64_t decode = 16;
  int repetitions = 3;
  bool csv = false;
};

/// A line of the table.
struct Line {
  RowFormat format = RowFormat::kF32;
  int64_t bytes_per_token = 0;
  double smaller_percent = 0.0;  ///< than bf16 rows of MHA with the same heads
  Moments divergence, nll;       ///< of each scored token, nats; divergence from f32 rows
  int64_t n_same = 0;            ///< tokens whose most likely successor is the one with f32 rows
  double tok_per_s = 0.0, spread = 0.0;

  double same_top_1() const { return static_cast<double>(n_same) / static_cast<double>(divergence.n); }
  double perplexity() const { return std::exp(nll.mean()); }
};

Result<Line> make_line(const Config& config, const std::string& cache) {
  Line line;
  MLA_ASSIGN(line.format, row_format_from_name(cache));
  const CacheDims dims = cache_dims(config);
  MLA_ASSIGN(const CacheCost own, own_cache_cost(dims, line.format));
  MLA_ASSIGN(const CacheCost mha, gqa_cache_cost(dims, dims.n_heads, RowFormat::kBF16));
  line.bytes_per_token = own.bytes_per_token;
  line.smaller_percent = 100.0 * (1.0 - static_cast<double>(own.bytes_per_token) / static_cast<double>(mha.bytes_per_token));
  return line;
}

// -- fidelity ---------------------------------------------------------------------------------------------------------

/// Calls on_token(row, target, log-probabilities) for each token that a window predicts.
template <class Function>
Status for_predictions(Engine& engine, const std::vector<int32_t>& window, Function on_token) {
  const int64_t n_vocab = engine.model().config().n_vocab;
  std::vector<float> log_p(static_cast<size_t>(n_vocab));
  return engine.evaluate(window, 0, [&](int64_t first, std::span<const float> rows) -> Status {
    const int64_t n_rows = static_cast<int64_t>(rows.size()) / n_vocab;
    for (int64_t r = 0; r < n_rows && first + r + 1 < static_cast<int64_t>(window.size()); ++r) {
      const auto logits = rows.subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
      const double normalizer = log_sum_exp(logits);
      std::transform(logits.begin(), logits.end(), log_p.begin(),
                     [&](float x) { return static_cast<float>(static_cast<double>(x) - normalizer); });
      on_token(first + r, window[static_cast<size_t>(first + r + 1)], std::span<const float>(log_p));
    }
    return {};
  });
}

size_t most_likely(std::span<const float> log_p) {
  return static_cast<size_t>(std::max_element(log_p.begin(), log_p.end()) - log_p.begin());
}

/// Scores every window with f32 rows and with each line's, and compares.
class Fidelity {
 public:
  static Result<Fidelity> create(const LoadedModel& loaded, MlaForm form, int64_t window, const std::vector<Line>& lines) {
    Fidelity f;
    const int64_t rows = pages_for(window) * kPageRows;
    const auto engine = [&](RowFormat format) {
      return Engine::create(loaded.model, {.cache_format = format, .max_tokens = rows, .mla_form = form});
    };
    MLA_ASSIGN(f.exact_, engine(RowFormat::kF32));
    for (const Line& line : lines) {
      MLA_ASSIGN(auto one, engine(line.format));
      f.engines_.push_back(std::move(one));
    }
    return f;
  }

  Status add(const std::vector<int32_t>& window, std::vector<Line>& lines) {
    const auto n_vocab = static_cast<size_t>(exact_->model().config().n_vocab);
    reference_.resize(window.size() * n_vocab);
    MLA_TRY(for_predictions(*exact_, window, [&](int64_t row, int32_t, std::span<const float> log_p) {
      std::copy(log_p.begin(), log_p.end(), reference_.begin() + row * static_cast<int64_t>(n_vocab));
    }));
    for (size_t i = 0; i < lines.size(); ++i) {
      Line& line = lines[i];
      MLA_TRY(for_predictions(*engines_[i], window, [&](int64_t row, int32_t target, std::span<const float> log_p) {
        const auto want = std::span(reference_).subspan(static_cast<size_t>(row) * n_vocab, n_vocab);
        double divergence = 0.0;
        for (size_t k = 0; k < n_vocab; ++k)
          divergence += std::exp(static_cast<double>(want[k])) * (static_cast<double>(want[k]) - static_cast<double>(log_p[k]));
        line.divergence.add(divergence);
        line.nll.add(-static_cast<double>(log_p[static_cast<size_t>(target)]));
        line.n_same += most_likely(want) == most_likely(log_p) ? 1 : 0;
      }));
    }
    return {};
  }

 private:
  Fidelity() = default;
  std::unique_ptr<Engine> exact_;
  std::vector<std::unique_ptr<Engine>> engines_;  ///< of each line
  std::vector<float> reference_;                  ///< [window, n_vocab] log-probabilities with f32 rows
};

Status measure_fidelity(const CacheBenchOptions& o, const LoadedModel& loaded, MlaForm form, std::vector<Line>& lines) {
  const auto& tokenizer = loaded.model->tokenizer();
  if (tokenizer == nullptr) return Error::invalid_file("the model has no tokenizer; `bench cache` needs one");
  MLA_ASSIGN(const std::string text, read_text_file(o.file, kMaxText));
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (static_cast<int64_t>(ids.size()) > o.max_tokens) ids.resize(static_cast<size_t>(o.max_tokens));
  const std::vector<std::vector<int32_t>> windows = cut_windows(ids, *tokenizer, o.window);
  if (windows.empty()) return Error::usage(fmt::format("{}: too short to score: {} tokens", o.file, ids.size()));
  MLA_ASSIGN(Fidelity fidelity, Fidelity::create(loaded, form, o.window, lines));
  Progress progress("scoring", "windows");
  for (size_t i = 0; i < windows.size(); ++i) {
    MLA_TRY(fidelity.add(windows[i], lines));
    progress.update(static_cast<double>(i + 1), static_cast<double>(windows.size()));
  }
  return {};
}

// -- speed ------------------------------------------------------------------------------------------------------------

/// Formats take turns, so that a machine that slows down slows all of them.
Status measure_speed(const CacheBenchOptions& o, const LoadedModel& loaded, MlaForm form, std::vector<Line>& lines) {
  const BenchCase what{.prefill = false, .tokens = o.decode, .depth = o.depth, .batch = 1};
  std::vector<ModelBench> benches;
  for (const Line& line : lines) {
    MLA_ASSIGN(ModelBench bench, ModelBench::create(loaded.model, *loaded.profiler, line.format, form, o.depth + o.decode));
    benches.push_back(std::move(bench));
  }
  std::vector<BenchResult> results(lines.size(), BenchResult{.what = what});
  for (int r = 0; r < o.repetitions; ++r) {
    for (size_t i = 0; i < lines.size(); ++i) {
      MLA_ASSIGN(const BenchResult once, benches[i].run(what, 1));
      results[i].seconds.push_back(once.seconds.front());
    }
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].tok_per_s = results[i].tokens_per_second();
    lines[i].spread = results[i].spread();
  }
  return {};
}

// -- report -----------------------------------------------------------------------------------------------------------

Json json_line(const Line& l, const CacheBenchOptions& o) {
  return {{"cache", row_format_name(l.format)}, {"bytes_per_token", l.bytes_per_token}, {"smaller_than_bf16_mha_percent", l.smaller_percent},
          {"kl_mean", l.divergence.mean()}, {"kl_error", l.divergence.standard_error()}, {"kl_max", l.divergence.max},
          {"same_top_1", l.same_top_1()}, {"perplexity", l.perplexity()}, {"perplexity_error", l.perplexity() * l.nll.standard_error()},
          {"n_scored", l.nll.n}, {"test", "decode"}, {"depth", o.depth}, {"tokens", o.decode}, {"tok_per_s", l.tok_per_s}, {"spread", l.spread}};
}

std::string text_table(const std::vector<Line>& lines) {
  constexpr const char* kRow = "{:<6} {:>11} {:>8} {:>18} {:>10} {:>10} {:>9} {:>5}\n";
  std::string text = fmt::format(kRow, "cache", "bytes/token", "smaller", "KL from f32", "same top", "perplexity", "tok/s", "+-");
  for (const Line& l : lines) {
    text += fmt::format(kRow, row_format_name(l.format), l.bytes_per_token, fmt::format("{:.1f}%", l.smaller_percent),
                        fmt::format("{:.2e} +- {:.0e}", l.divergence.mean(), l.divergence.standard_error()),
                        fmt::format("{:.2f}%", 100.0 * l.same_top_1()), fmt::format("{:.3f}", l.perplexity()), short_number(l.tok_per_s),
                        fmt::format("{:.0f}%", 100.0 * l.spread));
  }
  return text;
}

std::string comma_separated(const std::vector<Line>& lines, const CacheBenchOptions& o) {
  std::string text;
  for (const Line& l : lines) {
    const Json row = json_line(l, o);
    text += (text.empty() ? csv_header(row) : "") + csv_row(row);
  }
  return text;
}

Status report(const CacheBenchOptions& o, const OpenedModel& opened, const LoadedModel& loaded, const std::vector<Line>& lines) {
  if (terminal_options().json) {
    Json document = {{"model", opened.path.filename().string()}, {"backend", loaded.backend_name}, {"processor", cpu_features().model},
                     {"text", std::filesystem::path(o.file).filename().string()}, {"window", o.window}, {"results", Json::array()}};
    for (const Line& l : lines) document["results"].push_back(json_line(l, o));
    return write_json(document);
  }
  if (o.csv) return write_stdout(comma_separated(lines, o));
  note(fmt::format("{} tokens of {} in windows of {}; decode of {} tokens at depth {}; smaller than bf16 rows of MHA with the same heads",
                   grouped(lines.front().nll.n), o.file, o.window, o.decode, o.depth));
  return write_stdout(text_table(lines));
}

Status bench_cache(CacheBenchOptions& o) {
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model));
  if (o.window == 0) o.window = std::min(kDefaultWindow, opened.config.n_context);
  if (o.depth < 0) o.depth = std::max<int64_t>(0, std::min(kDefaultDepth, opened.config.n_context - o.decode));
  std::vector<Line> lines;
  for (const std::string& cache : o.caches) {
    MLA_ASSIGN(Line line, make_line(opened.config, cache));
    lines.push_back(std::move(line));
  }
  o.model.profile = true;
  o.model.context = o.window;
  MLA_ASSIGN(const MlaForm form, mla_form_from_name(o.model.mla));
  MLA_ASSIGN(const LoadedModel loaded, load_model(opened, o.model));
  MLA_TRY(measure_fidelity(o, loaded, form, lines));
  MLA_TRY(measure_speed(o, loaded, form, lines));
  return report(o, opened, loaded, lines);
}

}  // namespace

Command add_bench_cache(CLI::App& bench) {
  auto o = std::make_shared<CacheBenchOptions>();
  CLI::App* app = add_subcommand(bench, "cache", "Bytes, fidelity and speed with each format of cached rows",
                                 {"mla bench cache -f book.txt", "mla bench cache -m model.gguf -f book.txt --depth 16384 --cache bf16,int8,int4",
                                  "mla bench cache -f book.txt --json > formats.json"});
  const auto positive = whole_number(1, int64_t{1} << 24), not_negative = whole_number(0, int64_t{1} << 24);
  app->add_option("-f,--file", o->file, "Text to predict, or - for standard input")->required()->check(not_empty())->type_name("TEXT");
  add_model_option(*app, o->model);
  app->add_option("--cache", o->caches, "Formats of cached rows")->delimiter(',')->capture_default_str()->type_name("NAME,...");
  app->add_option("--context", o->window, "Tokens of a window of the text, BOS included (default: 512, or the model's context)")
      ->transform(whole_number(2, int64_t{1} << 31));
  app->add_option("--max-tokens", o->max_tokens, "Tokens of the text to score")->transform(whole_number(2, int64_t{1} << 40))->capture_default_str();
  app->add_option("--depth", o->depth, "Rows cached when speed is measured (default: 4096, or what the context leaves)")->transform(not_negative);
  app->add_option("--decode", o->decode, "Tokens decoded when speed is measured")->transform(positive)->capture_default_str();
  app->add_option("--repetitions", o->repetitions, "Measurements of each speed, formats in turn; the fastest counts")
      ->transform(whole_number(1, 1000))->capture_default_str();
  app->add_option("--mla", o->model.mla, "Form of MLA attention")->check(CLI::IsMember({"auto", "expanded", "absorbed"}))->capture_default_str();
  app->add_option("--threads", o->model.threads, "Threads (default: every processor)")->transform(whole_number(0, 1024));
  app->add_flag("--csv", o->csv, "Print comma-separated values");
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return bench_cache(*o); }};
}

}  // namespace mla::cli
