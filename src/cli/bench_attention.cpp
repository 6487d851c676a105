#include "cli/bench_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "base/float16.h"
#include "base/thread_pool.h"
#include "cache/arithmetic.h"
#include "cache/page_pool.h"
#include "cli/bench_document.h"
#include "cli/bench_model.h"
#include "cli/load.h"
#include "cli/machine.h"
#include "cli/terminal.h"
#include "engine/capacity.h"
#include "ops/profiling_backend.h"

namespace mla::cli {
namespace {

struct AttentionBenchOptions {
  std::string dims = "deepseek-v3";
  std::vector<int64_t> depths{256, 1024, 4096, 16384}, batches{1};
  std::string cache = "bf16";
  std::string plot, from;
  double max_seconds = 5.0;
  int threads = 0;
};

/// One of the attentions that a layer of these dimensions may have.
struct Variant {
  std::string name;
  RowLayout layout;
  bool latent = false;
  MlaForm form = MlaForm::kAuto;  ///< latent
  int64_t n_kv_heads = 0;         ///< not latent
};

std::vector<Variant> list_variants(const CacheDims& d, RowFormat format) {
  std::vector<Variant> variants;
  const auto heads = [&](const std::string& name, int64_t n) {
    variants.push_back({.name = name, .layout = RowLayout::gqa(format, n, d.d_k, d.d_v), .n_kv_heads = n});
  };
  heads("MHA", d.n_heads);
  if (d.n_heads > 8 && d.n_heads % 8 == 0) heads("GQA-8", 8);
  heads("MQA", 1);
  const RowLayout latent = RowLayout::mla(format, d.kv_rank, d.d_rope);
  variants.push_back({.name = "MLA absorbed", .layout = latent, .latent = true, .form = MlaForm::kAbsorbed});
  variants.push_back({.name = "MLA expanded", .layout = latent, .latent = true, .form = MlaForm::kExpanded});
  return variants;
}

/// A random stack of matrices in bf16, values of about 1/sqrt(n_in).
class RandomStack {
 public:
  RandomStack(int64_t n_stack, int64_t n_out, int64_t n_in) : elements_(static_cast<size_t>(n_stack * n_out * n_in)) {
    const std::vector<float> values = random_values(n_in * n_out);
    const float scale = 1.0F / std::sqrt(static_cast<float>(n_in));
    for (size_t i = 0; i < elements_.size(); ++i) elements_[i] = f32_to_bf16(scale * values[i % values.size()]);
    view_ = {.name = "projection", .dtype = DType::kBF16, .shape = {n_stack, n_out, n_in},
             .data = reinterpret_cast<const std::byte*>(elements_.data())};
  }
  const TensorView& view() const { return view_; }

 private:
  std::vector<uint16_t> elements_;
  TensorView view_;
};

struct Measurement {
  double seconds = 0.0, bytes = 0.0, flop = 0.0;  ///< of one layer's attention, all sequences
};

/// One new token for each of `batch` sequences with `depth` rows. As in a model, every call reads another layer's cache,
/// so that small ones come from memory too.
class AttentionBench {
 public:
  static Result<AttentionBench> create(ProfilingBackend& profiler, const CacheDims& dims) {
    AttentionBench bench(profiler, dims);
    MLA_ASSIGN(bench.projections_.k_up, profiler.pack(bench.k_up_.view()));
    MLA_ASSIGN(bench.projections_.v_up, profiler.pack(bench.v_up_.view()));
    return bench;
  }

  Result<Measurement> run(const Variant& variant, int64_t depth, int64_t batch) {
    const int64_t rows = depth + 1, pages = pages_for(rows), bytes = pages * batch * kPageRows * variant.layout.row_bytes();
    const int64_t n_layers = std::clamp<int64_t>((int64_t{256} << 20) / bytes, 1, 61);
    MLA_ASSIGN(const std::unique_ptr<PagePool> pool, PagePool::create(profiler_, variant.layout, n_layers, pages * batch));
    const Sequences sequences(pages, batch, depth);
    fill(variant, *pool, sequences);
    Measurement best;
    for (int round = 0; round < 3; ++round) {
      const double seconds = time_calls(variant, *pool, sequences);
      if (round == 0 || seconds < best.seconds) best.seconds = seconds;
    }
    profiler_.take();
    attend(profiler_, variant, pool->layer(0), sequences);
    for (const OperationCost& c : profiler_.take()) {
      best.bytes += c.bytes;
      best.flop += c.flop;
    }
    return best;
  }

 private:
  struct Sequences {
    std::vector<std::vector<PageId>> pages;
    std::vector<SequenceSlice> slices;
    std::vector<int32_t> unused;

    Sequences(int64_t n_pages, int64_t batch, int64_t depth) : pages(static_cast<size_t>(batch)), unused(static_cast<size_t>(batch)) {
      for (int64_t s = 0; s < batch; ++s) {
        for (int64_t p = 0; p < n_pages; ++p) pages[static_cast<size_t>(s)].push_back(static_cast<PageId>(p * batch + s));
        slices.push_back({.first_token = s, .n_new = 1, .n_past = depth, .pages = pages[static_cast<size_t>(s)]});
      }
    }
    Batch batch() const { return {.ids = unused, .positions = unused, .sequences = slices, .logit_rows = {}}; }
  };

  AttentionBench(ProfilingBackend& profiler, const CacheDims& dims)
      : profiler_(profiler), dims_(dims), k_up_(dims.n_heads, dims.kv_rank, dims.d_k), v_up_(dims.n_heads, dims.d_v, dims.kv_rank) {}

  void fill(const Variant& variant, const PagePool& pool, const Sequences& sequences) {
    constexpr int64_t kChunk = 64;
    const int64_t width = variant.layout.width();
    std::vector<float> values = random_values(kChunk * width);
    for (const SequenceSlice& s : sequences.slices) {
      for (int64_t row = 0; row < s.n_rows(); row += kChunk) {
        const int64_t n = std::min(kChunk, s.n_rows() - row);
        const std::vector<int32_t> unused(static_cast<size_t>(n));
        const SequenceSlice part{.n_new = n, .n_past = row, .pages = s.pages};
        for (int64_t l = 0; l < pool_layers(pool); ++l)
          profiler_.measured().store_rows({unused, unused, {&part, 1}, {}}, {values.data(), n, width, width}, pool.layer(l));
      }
    }
  }

  void attend(Backend& backend, const Variant& variant, const LayerRows& cache, const Sequences& sequences) {
    const int64_t n = static_cast<int64_t>(sequences.slices.size()), d_key = variant.latent ? dims_.d_k + dims_.d_rope : dims_.d_k;
    const int64_t q_cols = dims_.n_heads * d_key, out_cols = dims_.n_heads * dims_.d_v;
    q_.resize(static_cast<size_t>(n * q_cols), 0.1F);
    out_.resize(static_cast<size_t>(n * out_cols));
    const Activation q{q_.data(), n, q_cols, q_cols}, out{out_.data(), n, out_cols, out_cols};
    const float scale = 1.0F / std::sqrt(static_cast<float>(d_key));
    if (variant.latent) {
      const MlaSpec spec{dims_.n_heads, dims_.kv_rank, dims_.d_k, dims_.d_rope, dims_.d_v, scale};
      backend.mla_attention(sequences.batch(), q, cache, spec, projections_, variant.form, out);
    } else {
      backend.attention(sequences.batch(), q, cache, {dims_.n_heads, variant.n_kv_heads, dims_.d_k, dims_.d_v, scale}, out);
    }
  }

  /// Seconds per call: as many calls as take a tenth of a second, one at least.
  double time_calls(const Variant& variant, const PagePool& pool, const Sequences& sequences) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    for (int64_t calls = 1;; ++calls) {
      attend(profiler_.measured(), variant, pool.layer(calls % pool_layers(pool)), sequences);
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      if (seconds > 0.1 && (calls >= pool_layers(pool) || seconds > 0.5)) return seconds / static_cast<double>(calls);
    }
  }

  static int64_t pool_layers(const PagePool& pool) { return pool.token_bytes() / pool.layout().row_bytes(); }

  ProfilingBackend& profiler_;
  CacheDims dims_;
  RandomStack k_up_, v_up_;
  MlaProjections projections_;
  std::vector<float> q_, out_;
};

const DocumentSchema kSchema{.benchmark = "attention",
                             .texts = {"dims", "cache", "processor"},
                             .counts = {},
                             .result_counts = {},
                             .result_numbers = {"seconds", "bytes", "cache_bytes", "gb_per_s", "flop_per_s", "speedup_over_mha"},
                             .list = {},
                             .list_texts = {},
                             .list_counts = {}};

constexpr const char* kRow = "{:<14} {:>7} {:>5} {:>11} {:>13} {:>13} {:>11} {:>9}\n";

std::string table_header() {
  return fmt::format(kRow, "attention", "depth", "batch", "ms", "GB/s", "GFLOP/s", "cache/layer", "over MHA");
}

/// A line of the table; `document` has the machine's limits.
std::string table_row(const Json& row, const Json& document) {
  const auto number = [&](const char* key) { return row[key].get<double>(); };
  const std::string name = printable(row["attention"].get<std::string>());
  const int64_t depth = row["depth"].get<int64_t>(), batch = row["batch"].get<int64_t>();
  if (row.contains("skipped")) return fmt::format("{:<14} {:>7} {:>5}  {}\n", name, depth, batch, printable(row["skipped"].get<std::string>()));
  return fmt::format(kRow, name, depth, batch, short_number(number("seconds") * 1e3),
                     rate_and_share(number("gb_per_s") * 1e9, document["read_gb_per_s"].get<double>() * 1e9),
                     rate_and_share(number("flop_per_s"), flop_limit(document)), human_bytes(number("cache_bytes")),
                     row["speedup_over_mha"].is_null() ? "-" : short_number(number("speedup_over_mha")) + "x");
}

/// Time against depth, and how much less that is than MHA's, at the first batch.
Figure draw(const Json& document) {
  const Json& results = document["results"];
  const int64_t batch = results.empty() ? 1 : results.front()["batch"].get<int64_t>();
  Figure figure{.title = "One layer's attention for one new token"};
  figure.subtitle = fmt::format("{} dimensions, {} cache, batch {}, measured on {}", document["dims"].get<std::string>(), document["cache"].get<std::string>(), batch,
                                document["processor"].get<std::string>());
  Panel times{.title = "Time", .x_label = "cached tokens", .y_label = "milliseconds"};
  for (const Json& row : results) {
    if (row.contains("skipped") || row["batch"] != batch) continue;
    const std::string name = row["attention"].get<std::string>();
    auto line = std::find_if(times.lines.begin(), times.lines.end(), [&](const Panel::Line& l) { return l.name == name; });
    if (line == times.lines.end()) line = times.lines.insert(line, {name, {}});
    const double depth = row["depth"].get<double>(), milliseconds = row["seconds"].get<double>() * 1e3;
    if (depth > 0 && milliseconds > 0) line->points.emplace_back(depth, milliseconds);
  }
  figure.panels.push_back(std::move(times));
  return figure;
}

/// Prints the table's lines as they come, and keeps the document that all else is made of.
class Report {
 public:
  Report(const AttentionBenchOptions& options, Json document) : options_(options), document_(std::move(document)) { document_["results"] = Json::array(); }

  Status begin() { return line(table_header()); }

  Status add(const Variant& v, int64_t depth, int64_t batch, const Measurement& m) {
    if (v.name == "MHA") mha_seconds_ = m.seconds;
    return add({{"attention", v.name}, {"depth", depth}, {"batch", batch}, {"seconds", m.seconds}, {"bytes", m.bytes},
                {"cache_bytes", v.layout.row_bytes() * depth * batch}, {"gb_per_s", m.bytes / m.seconds / 1e9}, {"flop_per_s", m.flop / m.seconds},
                {"speedup_over_mha", mha_seconds_ > 0.0 ? Json(mha_seconds_ / m.seconds) : Json(nullptr)}});
  }

  Status skip(const Variant& v, int64_t depth, int64_t batch, const std::string& why) {
    if (v.name == "MHA") mha_seconds_ = 0.0;
    return add({{"attention", v.name}, {"depth", depth}, {"batch", batch}, {"skipped", why}});
  }

  Status finish() {
    if (terminal_options().json) MLA_TRY(write_json(document_));
    return options_.plot.empty() ? Status() : write_picture(options_.plot, draw(document_));
  }

 private:
  Status add(Json row) {
    document_["results"].push_back(row);
    return line(table_row(row, document_));
  }
  Status line(const std::string& text) { return terminal_options().json ? Status() : write_stdout(text); }

  const AttentionBenchOptions& options_;
  Json document_;
  double mha_seconds_ = 0.0;
};

/// Table and picture of a document that was printed earlier.
Status show(const AttentionBenchOptions& o) {
  MLA_ASSIGN(const Json document, read_document(o.from, kSchema));
  if (terminal_options().json) {
    MLA_TRY(write_json(document));
  } else {
    std::string text = table_header();
    for (const Json& row : document["results"]) text += table_row(row, document);
    MLA_TRY(write_stdout(text));
  }
  return o.plot.empty() ? Status() : write_picture(o.plot, draw(document));
}

/// Seconds per (row, sequence) of each variant's last measurement: what the next, larger one will take.
using Speeds = std::map<std::string, double>;

Status measure(AttentionBench& bench, const Variant& v, int64_t depth, int64_t batch, const AttentionBenchOptions& o, Speeds& speeds,
               Report& report) {
  const double amount = static_cast<double>(depth * batch);
  const double bytes = static_cast<double>(pages_for(depth + 1) * kPageRows * batch * v.layout.row_bytes());
  const std::optional<int64_t> available = available_memory();
  if (available && bytes > 0.8 * static_cast<double>(*available))
    return report.skip(v, depth, batch, fmt::format("the cache of one layer, {}, does not fit in memory", human_bytes(bytes)));
  if (const auto known = speeds.find(v.name); known != speeds.end() && known->second * amount > o.max_seconds)
    return report.skip(v, depth, batch, fmt::format("one call would take {} s (--max-seconds)", short_number(known->second * amount)));
  MLA_ASSIGN(const Measurement m, bench.run(v, depth, batch));
  speeds[v.name] = m.seconds / amount;
  return report.add(v, depth, batch, m);
}

Status bench_attention(const AttentionBenchOptions& o) {
  if (!o.from.empty()) return show(o);
  MLA_ASSIGN(const NamedModel model, find_named_model(o.dims));
  if (!model.dims.has_mla())
    return Error::usage(fmt::format("--dims {}: this model has no latent attention; try deepseek-v3, deepseek-v2-lite or kimi-k2", o.dims));
  MLA_ASSIGN(const RowFormat format, row_format_from_name(o.cache));
  ModelOptions options;
  options.threads = o.threads;
  std::string name;
  MLA_ASSIGN(std::unique_ptr<Backend> backend, make_backend(options, name));
  ProfilingBackend profiler(std::move(backend));
  MLA_ASSIGN(const Isa isa, choose_isa());
  const int threads = o.threads > 0 ? o.threads : default_thread_count();
  const MachineLimits limits = measure_limits(isa, threads);
  note(fmt::format("{}: {} heads, kv_rank {}, d_nope {}, d_rope {}, d_v {}; {}; {}", model.name, model.dims.n_heads,
                   model.dims.kv_rank, model.dims.d_k, model.dims.d_rope, model.dims.d_v, name, limits_text(limits)));
  MLA_ASSIGN(AttentionBench bench, AttentionBench::create(profiler, model.dims));
  const std::vector<Variant> variants = list_variants(model.dims, format);
  Json document = begin_document(kSchema.benchmark, isa, threads, limits);
  document.update({{"dims", model.name}, {"cache", o.cache}});
  Report report(o, std::move(document));
  Speeds speeds;
  MLA_TRY(report.begin());
  for (int64_t batch : o.batches) {
    for (int64_t depth : o.depths) {
      for (const Variant& v : variants) MLA_TRY(measure(bench, v, depth, batch, o, speeds, report));
    }
  }
  return report.finish();
}

}  // namespace

Command add_bench_attention(CLI::App& bench) {
  auto o = std::make_shared<AttentionBenchOptions>();
  CLI::App* app = add_subcommand(bench, "attention", "One layer's attention for one new token, as MHA, GQA-8, MQA and MLA",
                                 {"mla bench attention --dims deepseek-v3 --depth 1024,4096,16384",
                                  "mla bench attention --dims deepseek-v2-lite --batch 1,8,32 --plot attention.svg --json > attention.json",
                                  "mla bench attention --from attention.json --plot attention.svg    # measures nothing"});
  const auto positive = whole_number(1, int64_t{1} << 24);
  app->add_option("--dims", o->dims, "Whose dimensions (names: mla kv --list)")->capture_default_str()->type_name("NAME");
  app->add_option("--depth", o->depths, "Cached tokens of a sequence")->delimiter(',')->transform(positive)->capture_default_str()->type_name("N,...");
  app->add_option("--batch", o->batches, "Sequences at once")->delimiter(',')->transform(positive)->capture_default_str()->type_name("N,...");
  app->add_option("--cache", o->cache, "Format of cached rows")->capture_default_str()->type_name("NAME");
  app->add_option("--plot", o->plot, "Write a picture of time against depth, at the first batch")->check(not_empty())->type_name("FILE.svg");
  app->add_option("--from", o->from, "Show results that --json printed earlier instead of measuring")->check(not_empty())->type_name("FILE.json");
  app->add_option("--max-seconds", o->max_seconds, "Leave out what would take longer per call")->check(CLI::PositiveNumber)->capture_default_str();
  app->add_option("--threads", o->threads, "Threads (default: every processor)")->transform(whole_number(0, 1024));
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return bench_attention(*o); }};
}

}  // namespace mla::cli
