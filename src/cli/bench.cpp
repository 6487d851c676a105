#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "cli/bench_attention.h"
#include "cli/bench_cache.h"
#include "cli/bench_compare.h"
#include "cli/bench_document.h"
#include "cli/bench_model.h"
#include "cli/bench_serve.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/profile.h"
#include "cli/settings.h"
#include "cli/shape_options.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  ShapeOptions shape;  ///< instead of a model, when it names one
  std::vector<int64_t> prefill{512}, decode{32}, depths{0}, batches{1};
  std::vector<int> threads;
  std::vector<std::string> isas, caches{"bf16"};
  int repetitions = 3;
  bool csv = false;
};

/// What a line was measured with, beside its case.
struct Setup {
  std::string isa;
  int threads = 1;
  std::string cache;
  MachineLimits limits;
};

constexpr const char* kRow = "{:<8} {:>6} {:>7} {:>5} {:>7} {:<10} {:<5} {:>9} {:>5} {:>13} {:>13}\n";

std::string text_row(const BenchResult& r, const Setup& s) {
  const double seconds = r.best_seconds();
  return fmt::format(kRow, r.what.prefill ? "prefill" : "decode", r.what.tokens, r.what.depth, r.what.batch, s.threads, s.isa, s.cache,
                     short_number(r.tokens_per_second()), fmt::format("{:.0f}%", 100.0 * r.spread()),
                     rate_and_share(r.bytes / seconds, s.limits.read_bytes_per_second), rate_and_share(r.flop / seconds, s.limits.flop_per_second()));
}

nlohmann::ordered_json json_row(const BenchResult& r, const Setup& s, bool profiled) {
  const double seconds = r.best_seconds();
  nlohmann::ordered_json row = {{"test", r.what.prefill ? "prefill" : "decode"}, {"tokens", r.what.tokens}, {"depth", r.what.depth},
                                {"batch", r.what.batch}, {"threads", s.threads}, {"isa", s.isa}, {"cache", s.cache},
                                {"tok_per_s", r.tokens_per_second()}, {"gb_per_s", r.bytes / seconds / 1e9}, {"flop_per_s", r.flop / seconds},
                                {"read_share", r.bytes / seconds / s.limits.read_bytes_per_second},
                                {"flop_share", r.flop / seconds / s.limits.flop_per_second()}, {"seconds", r.seconds}};
  if (profiled) row["profile"] = profile_json(r.profile);
  return row;
}

std::vector<BenchCase> list_cases(const BenchOptions& o) {
  std::vector<BenchCase> cases;
  for (int64_t batch : o.batches) {
    for (int64_t depth : o.depths) {
      for (int64_t n : o.prefill) {
        if (n > 0) cases.push_back({.prefill = true, .tokens = n, .depth = depth, .batch = batch});
      }
      for (int64_t n : o.decode) {
        if (n > 0) cases.push_back({.prefill = false, .tokens = n, .depth = depth, .batch = batch});
      }
    }
  }
  return cases;
}

/// Prints each line when it is measured; JSON comes as one document at the end.
class Report {
 public:
  explicit Report(const BenchOptions& options) : options_(options) {}

  Status add(const BenchResult& result, const Setup& setup) {
    const nlohmann::ordered_json row = json_row(result, setup, options_.model.profile);
    results_.push_back(row);
    if (terminal_options().json) return {};
    std::string text;
    if (options_.csv) {
      text = (results_.size() == 1 ? csv_header(row) : "") + csv_row(row);
    } else {
      if (results_.size() == 1)
        text = fmt::format(kRow, "test", "tokens", "depth", "batch", "threads", "isa", "cache", "tok/s", "+-", "GB/s", "GFLOP/s");
      text += text_row(result, setup);
    }
    MLA_TRY(write_stdout(text));
    if (options_.model.profile && !options_.csv) {
      note(profile_table("measured once more", result.best_seconds(), result.profile, setup.limits));
    }
    return {};
  }

  Status finish(const std::string& model) {
    if (!terminal_options().json) return {};
    const nlohmann::ordered_json document = {{"model", model}, {"processor", cpu_features().model}, {"results", results_}};
    return write_json(document);
  }

 private:
  const BenchOptions& options_;
  nlohmann::ordered_json results_ = nlohmann::ordered_json::array();
};

/// The checkpoint of --model, or one of --shape made in memory.
Result<OpenedModel> open_or_make(const BenchOptions& o, int n_threads) {
  if (o.shape.shape.empty()) return open_model(o.model);
  MLA_ASSIGN(const SynthPlan plan, make_plan(o.shape));
  return make_in_memory(plan, n_threads);
}

Status bench_setup(const BenchOptions& o, const std::vector<BenchCase>& cases, Setup setup, Report& report) {
  ModelOptions options = o.model;
  options.isa = setup.isa;
  options.threads = setup.threads;
  options.profile = true;
  MLA_ASSIGN(const OpenedModel opened, open_or_make(o, setup.threads));
  options.context = std::min(kPageRows, opened.config.n_context);  // the rows to measure on are planned below
  MLA_ASSIGN(const LoadedModel loaded, load_model(opened, options));
  MLA_ASSIGN(const MlaForm form, mla_form_from_name(options.mla));
  int64_t max_rows = 0;
  for (const BenchCase& c : cases) max_rows = std::max(max_rows, pages_for(c.depth + c.tokens) * kPageRows * c.batch);
  for (const std::string& cache : o.caches) {
    MLA_ASSIGN(const RowFormat format, row_format_from_name(cache));
    MLA_ASSIGN(ModelBench bench, ModelBench::create(loaded.model, *loaded.profiler, format, form, max_rows));
    setup.cache = cache;
    for (const BenchCase& c : cases) {
      MLA_ASSIGN(const BenchResult result, bench.run(c, o.repetitions));
      MLA_TRY(report.add(result, setup));
    }
  }
  return {};
}

Status bench(const BenchOptions& o) {
  const std::vector<BenchCase> cases = list_cases(o);
  if (cases.empty()) return Error::usage("nothing to measure: --prefill and --decode are both 0");
  if (!o.shape.shape.empty() && !o.model.model.empty()) return Error::usage("give --model or --shape, not both");
  std::string subject = o.shape.shape;
  if (subject.empty()) {
    MLA_ASSIGN(const std::filesystem::path path, model_path(o.model));
    subject = path.filename().string();
  }
  std::vector<std::string> isas = o.isas;
  if (isas.empty()) {
    MLA_ASSIGN(const Isa isa, choose_isa());
    isas.emplace_back(isa_name(isa));
  }
  std::vector<int> threads = o.threads;
  if (threads.empty()) threads.push_back(default_thread_count());
  Report report(o);
  for (const std::string& name : isas) {
    MLA_ASSIGN(const Isa isa, choose_isa(name));
    for (int n : threads) {
      Setup setup{.isa = name, .threads = n, .limits = measure_limits(isa, n)};
      note(fmt::format("{} with {} thread{}: {}", name, n, n == 1 ? "" : "s", limits_text(setup.limits)));
      MLA_TRY(bench_setup(o, cases, setup, report));
    }
  }
  return report.finish(subject);
}

}  // namespace

Command add_bench(CLI::App& root) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* app = add_subcommand(root, "bench", "How fast a model runs here, against what this machine can do",
                                 {"mla bench", "mla bench -m model.gguf --depth 0,4096 --batch 1,8",
                                  "mla bench --shape deepseek-v2-lite --quant Q4_0 --experts 16    # random weights, no download",
                                  "mla bench -m model.gguf --prefill 0 --decode 64 --isa avx512,avx512vnni --threads 1,2 --csv",
                                  "mla bench attention --dims deepseek-v3    # one layer's MHA, GQA, MQA and MLA side by side",
                                  "mla bench compare --dims deepseek-v2-lite    # the same of whole decoders",
                                  "mla bench cache -f book.txt    # formats of cached rows: bytes, fidelity, speed",
                                  "mla bench serve --url http://127.0.0.1:8080    # load for a server"});
  app->require_subcommand(0, 1);
  add_model_option(*app, o->model);
  add_shape_options(*app, o->shape);
  const auto positive = whole_number(1, int64_t{1} << 24), not_negative = whole_number(0, int64_t{1} << 24);
  app->add_option("--prefill", o->prefill, "Tokens of a sequence in one forward; 0 = leave prefill out")
      ->delimiter(',')->transform(not_negative)->capture_default_str()->type_name("N,...");
  app->add_option("--decode", o->decode, "Tokens of a sequence one at a time; 0 = leave decode out")
      ->delimiter(',')->transform(not_negative)->capture_default_str()->type_name("N,...");
  app->add_option("--depth", o->depths, "Rows already cached")->delimiter(',')->transform(not_negative)->capture_default_str()->type_name("N,...");
  app->add_option("--batch", o->batches, "Sequences at once")->delimiter(',')->transform(positive)->capture_default_str()->type_name("N,...");
  app->add_option("--threads", o->threads, "Threads (default: every processor)")->delimiter(',')->transform(whole_number(1, 1024))->type_name("N,...");
  app->add_option("--isa", o->isas, "Instruction sets (default: the best)")->delimiter(',')->type_name("NAME,...");
  app->add_option("--cache", o->caches, "Formats of cached rows")->delimiter(',')->capture_default_str()->type_name("NAME,...");
  app->add_option("--mla", o->model.mla, "Form of MLA attention")->check(CLI::IsMember({"auto", "expanded", "absorbed"}))->capture_default_str();
  add_activations_option(*app, o->model);
  app->add_option("--repetitions", o->repetitions, "Measurements of each line; the fastest counts")->transform(whole_number(1, 1000))->capture_default_str();
  app->add_flag("--profile", o->model.profile, "Where the time of each line went, per kind of operation");
  app->add_flag("--csv", o->csv, "Print comma-separated values");
  app->add_flag("--json", terminal_options().json, "Print JSON");
  const std::vector<Command> comparisons = {add_bench_attention(*app), add_bench_compare(*app), add_bench_cache(*app), add_bench_serve(*app)};
  return {app, [o, comparisons]() -> Status {
            for (const Command& comparison : comparisons) {
              if (!comparison.app->parsed()) continue;
              MLA_TRY(apply_settings(*comparison.app));
              return comparison.run();
            }
            return bench(*o);
          }};
}

}  // namespace mla::cli
