#include "cli/bench_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "cache/arithmetic.h"
#include "cli/bench_model.h"
#include "cli/compare_report.h"
#include "cli/load.h"
#include "cli/shape_options.h"
#include "cli/terminal.h"
#include "engine/capacity.h"
#include "model/synth/attention_variants.h"

namespace mla::cli {
namespace {

struct CompareOptions {
  ShapeOptions shape{.shape = "deepseek-v2-lite"};
  std::vector<int64_t> depths{256, 1024, 4096, 16384}, batches{1};
  int64_t tokens = 4;
  int repetitions = 3;
  std::string cache = "bf16";
  uint64_t memory = uint64_t{16} << 30;
  bool same_parameters = false;
  double max_seconds = 2.0;
  int threads = 0;
  bool csv = false;
  std::string plot, from;
};

/// One of the decoders, before its weights are made.
struct Decoder {
  std::string name;
  SynthPlan plan;
  RowFormat format{};
  int64_t token_bytes = 0;  ///< of cached rows, over all layers

  int64_t weight_bytes() const { return static_cast<int64_t>(plan.tensor_bytes()); }
  int64_t largest_batch(int64_t memory, int64_t depth) const {
    return mla::largest_batch(memory, weight_bytes(), kPageRows * token_bytes, depth);
  }
};

Result<std::vector<Decoder>> plan_decoders(const CompareOptions& o) {
  MLA_ASSIGN(const SynthPlan whole, make_plan(o.shape));
  MLA_ASSIGN(const RowFormat format, row_format_from_name(o.cache));
  MLA_ASSIGN(const std::vector<AttentionVariant> variants,
             attention_variants(whole.shape, o.same_parameters ? SameSize::kParameters : SameSize::kFeedForward));
  std::vector<Decoder> decoders;
  for (const AttentionVariant& v : variants) {
    MLA_ASSIGN(SynthPlan plan, plan_synth(v.shape, whole.quant, o.shape.seed));
    MLA_ASSIGN(const CacheCost cost, own_cache_cost(v.shape.dims, format));
    decoders.push_back({v.name, std::move(plan), format, cost.bytes_per_token});
  }
  return decoders;
}

Json describe(const CompareOptions& o, const std::vector<Decoder>& decoders, Json document) {
  const ModelShape& shape = decoders.front().plan.shape;
  document.update({{"dims", shape.name}, {"layers", shape.dims.n_layers}, {"d_model", shape.d_model}, {"heads", shape.dims.n_heads},
                   {"vocab", shape.n_vocab}, {"quant", dtype_info(decoders.front().plan.quant).name}, {"cache", o.cache},
                   {"same", o.same_parameters ? "parameters" : "feed-forward"}, {"memory_bytes", o.memory},
                   {"tokens", o.tokens}, {"repetitions", o.repetitions}});
  document["decoders"] = Json::array();
  for (const Decoder& d : decoders) {
    document["decoders"].push_back({{"attention", d.name}, {"architecture", d.plan.shape.architecture}, {"parameters", d.plan.n_parameters()},
                                    {"d_ff", d.plan.shape.d_ff}, {"weight_bytes", d.weight_bytes()}, {"cache_bytes_per_token", d.token_bytes}});
  }
  document["results"] = Json::array();
  return document;
}

/// Prints the tables' lines as they come, and keeps the document that all else is made of.
class Report {
 public:
  Report(const CompareOptions& options, Json document) : options_(options), document_(std::move(document)) {}

  Status begin() { return print(decoders_text(document_) + comparison_header()); }

  Status add(const Decoder& d, const BenchResult& r) {
    const double rate = r.tokens_per_second(), seconds = r.best_seconds();
    const std::pair<int64_t, int64_t> place{r.what.depth, r.what.batch};
    if (d.name == "MHA") mha_[place] = rate;
    const auto mha = mha_.find(place);
    Json row = begin_row(d, r.what);
    row.update({{"tok_per_s", rate}, {"spread", r.spread()}, {"gb_per_s", r.bytes / seconds / 1e9}, {"flop_per_s", r.flop / seconds},
                {"cache_bytes", d.token_bytes * r.what.depth * r.what.batch},
                {"speedup_over_mha", mha == mha_.end() ? Json(nullptr) : Json(rate / mha->second)}, {"seconds", r.seconds}});
    return add(std::move(row));
  }

  Status skip(const Decoder& d, const BenchCase& what, const std::string& why) {
    Json row = begin_row(d, what);
    row["skipped"] = why;
    if (options_.csv) note(fmt::format("{} at depth {}, batch {}: {}", d.name, what.depth, what.batch, why));
    return add(std::move(row));
  }

  Status finish() {
    MLA_TRY(print(batches_text(document_)));
    if (terminal_options().json) MLA_TRY(write_json(document_));
    return options_.plot.empty() ? Status() : write_picture(options_.plot, draw_comparison(document_));
  }

 private:
  Json begin_row(const Decoder& d, const BenchCase& what) const {
    return {{"attention", d.name}, {"depth", what.depth}, {"batch", what.batch},
            {"largest_batch", d.largest_batch(static_cast<int64_t>(options_.memory), what.depth)}};
  }

  Status add(Json row) {
    document_["results"].push_back(row);
    if (terminal_options().json) return {};
    if (!options_.csv) return write_stdout(comparison_line(row, document_));
    if (row.contains("skipped")) return {};
    return write_stdout((std::exchange(csv_begun_, true) ? "" : csv_header(row)) + csv_row(row));
  }
  Status print(const std::string& text) { return terminal_options().json || options_.csv ? Status() : write_stdout(text); }

  const CompareOptions& options_;
  Json document_;
  std::map<std::pair<int64_t, int64_t>, double> mha_;  ///< tokens per second by depth and batch
  bool csv_begun_ = false;
};

/// How long a step of one decoder takes, from the steps that were measured.
class StepTimes {
 public:
  void learn(const BenchResult& r) {
    known_.emplace_back(static_cast<double>(r.what.depth * r.what.batch), r.best_seconds() / static_cast<double>(r.what.tokens));
  }
  /// At most this long, if time grows no faster than rows; 0 while nothing is known.
  double bound(const BenchCase& what) const {
    double least = 0.0;
    for (const auto& [rows, seconds] : known_) {
      const double scaled = seconds * std::max(1.0, static_cast<double>(what.depth * what.batch) / rows);
      if (least == 0.0 || scaled < least) least = scaled;
    }
    return least;
  }

 private:
  std::vector<std::pair<double, double>> known_;  ///< (cached rows, seconds)
};

/// Why a case is not measured; empty for one that is.
std::string reason_to_skip(const CompareOptions& o, const Decoder& d, const BenchCase& what, const StepTimes& times) {
  const int64_t rows = what.depth + what.tokens, context = d.plan.shape.n_context;
  if (rows > context) return fmt::format("the context of this shape ends at {}", context);
  if (d.largest_batch(static_cast<int64_t>(o.memory), what.depth) < what.batch)
    return fmt::format("does not fit into {} (--memory)", human_bytes(static_cast<double>(o.memory)));
  if (const double seconds = times.bound(what); seconds > o.max_seconds)
    return fmt::format("a step might take {} s (--max-seconds)", short_number(seconds));
  const double bytes = static_cast<double>(pages_for(rows) * kPageRows * what.batch * d.token_bytes);
  const std::optional<int64_t> available = available_memory();
  if (available && bytes > 0.9 * static_cast<double>(*available))
    return fmt::format("the cache takes {}, this machine has {} left", human_bytes(bytes), human_bytes(static_cast<double>(*available)));
  return "";
}

std::vector<BenchCase> list_cases(const CompareOptions& o) {
  std::vector<BenchCase> cases;
  for (const int64_t batch : o.batches) {
    for (const int64_t depth : o.depths) cases.push_back({.prefill = false, .tokens = o.tokens, .depth = depth, .batch = batch});
  }
  return cases;
}

/// All cases of one decoder, whose weights live no longer than this.
Status measure(const CompareOptions& o, const Decoder& d, int threads, Report& report) {
  ModelOptions options;
  options.threads = threads;
  options.cache = o.cache;
  options.profile = true;
  StepTimes times;
  const std::vector<BenchCase> cases = list_cases(o);
  const bool any = std::any_of(cases.begin(), cases.end(), [&](const BenchCase& c) { return reason_to_skip(o, d, c, times).empty(); });
  std::optional<LoadedModel> loaded;
  if (any) {
    MLA_ASSIGN(const OpenedModel opened, make_in_memory(d.plan, threads));
    options.context = std::min(kPageRows, opened.config.n_context);  // the rows to measure on are planned case by case
    MLA_ASSIGN(loaded, load_model(opened, options));
  }
  for (const BenchCase& c : cases) {
    const std::string why = reason_to_skip(o, d, c, times);
    if (!why.empty()) {
      MLA_TRY(report.skip(d, c, why));
      continue;
    }
    const int64_t rows = pages_for(c.depth + c.tokens) * kPageRows * c.batch;
    MLA_ASSIGN(ModelBench bench, ModelBench::create(loaded->model, *loaded->profiler, d.format, MlaForm::kAuto, rows));
    MLA_ASSIGN(const BenchResult result, bench.run(c, o.repetitions));
    times.learn(result);
    MLA_TRY(report.add(d, result));
  }
  return {};
}

/// Tables and picture of a document that was printed earlier.
Status show(const CompareOptions& o) {
  MLA_ASSIGN(const Json document, read_document(o.from, compare_schema()));
  std::string text;
  if (terminal_options().json) {
    MLA_TRY(write_json(document));
  } else if (o.csv) {
    for (const Json& row : document["results"]) {
      if (!row.contains("skipped")) text += (text.empty() ? csv_header(row) : "") + csv_row(row);
    }
  } else {
    text = decoders_text(document) + comparison_header();
    for (const Json& row : document["results"]) text += comparison_line(row, document);
    text += batches_text(document);
  }
  MLA_TRY(write_stdout(text));
  return o.plot.empty() ? Status() : write_picture(o.plot, draw_comparison(document));
}

Status compare(const CompareOptions& o) {
  if (!o.from.empty()) return show(o);
  MLA_ASSIGN(const std::vector<Decoder> decoders, plan_decoders(o));
  if (o.memory > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return Error::usage(fmt::format("--memory {}: expected at most 2^63 - 1 bytes", o.memory));
  for (const Decoder& d : decoders) {
    if (d.largest_batch(static_cast<int64_t>(o.memory), 1) > 0) continue;
    return Error::usage(fmt::format("--memory {}: the weights of the decoder with {} take {}, and one page of its cache must fit beside them; "
                                    "give more, or take fewer --layers",
                                    human_bytes(static_cast<double>(o.memory)), d.name, human_bytes(static_cast<double>(d.weight_bytes()))));
  }
  const int threads = o.threads > 0 ? o.threads : default_thread_count();
  MLA_ASSIGN(const Isa isa, choose_isa());
  const MachineLimits limits = measure_limits(isa, threads);
  Report report(o, describe(o, decoders, begin_document(compare_schema().benchmark, isa, threads, limits)));
  MLA_TRY(report.begin());
  for (const Decoder& d : decoders) MLA_TRY(measure(o, d, threads, report));
  return report.finish();
}

void add_options(CLI::App& app, CompareOptions& o) {
  const auto positive = whole_number(1, int64_t{1} << 24);
  app.add_option("--dims", o.shape.shape, "Whose dimensions, a model with latent attention (mla synth --list)")
      ->check(not_empty())->capture_default_str()->type_name("NAME");
  app.add_option("--layers", o.shape.layers, "Layers instead of the model's")->transform(positive)->type_name("N");
  app.add_option("--vocab", o.shape.vocab, "Tokens instead of the model's")->transform(positive)->type_name("N");
  app.add_option("--quant", o.shape.quant, "Type of the matrices")->capture_default_str()->type_name("TYPE");
  app.add_flag("--same-parameters", o.same_parameters, "Widen feed-forwards until all four have as many parameters (default: the same feed-forward)");
  app.add_option("--depth", o.depths, "Cached tokens of a sequence")->delimiter(',')->transform(positive)->capture_default_str()->type_name("N,...");
  app.add_option("--batch", o.batches, "Sequences at once; the first is drawn")->delimiter(',')->transform(positive)->capture_default_str()->type_name("N,...");
  app.add_option("--memory", o.memory, "What weights and caches may take: 16GiB, 80GB (default: 16GiB)")->transform(CLI::AsSizeValue(true))->type_name("SIZE");
  app.add_option("--cache", o.cache, "Format of cached rows")->capture_default_str()->type_name("NAME");
  app.add_option("--tokens", o.tokens, "Tokens that each sequence is given, one at a time")->transform(whole_number(1, 1 << 16))->capture_default_str();
  app.add_option("--repetitions", o.repetitions, "Measurements of each line; the fastest counts")->transform(whole_number(1, 1000))->capture_default_str();
  app.add_option("--max-seconds", o.max_seconds, "Leave out what would take longer per step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--plot", o.plot, "Write a picture: speed and largest batch against context")->check(not_empty())->type_name("FILE.svg");
  app.add_option("--from", o.from, "Show results that --json printed earlier instead of measuring")->check(not_empty())->type_name("FILE.json");
  app.add_option("--threads", o.threads, "Threads (default: every processor)")->transform(whole_number(0, 1024));
  app.add_flag("--csv", o.csv, "Print comma-separated values");
  app.add_flag("--json", terminal_options().json, "Print JSON");
}

}  // namespace

Command add_bench_compare(CLI::App& bench) {
  auto o = std::make_shared<CompareOptions>();
  CLI::App* app = add_subcommand(bench, "compare", "A whole decoder with MHA, GQA-8, MQA and MLA: speed against context, largest batch in a given memory",
                                 {"mla bench compare --dims deepseek-v2-lite --memory 16GiB",
                                  "mla bench compare --dims deepseek-v3 --layers 4 --depth 1024,8192 --batch 1,8",
                                  "mla bench compare --plot compare.svg --json > compare.json",
                                  "mla bench compare --from compare.json --plot compare.svg    # measures nothing"});
  add_options(*app, *o);
  return {app, [o] { return compare(*o); }};
}

}  // namespace mla::cli
