#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/command.h"
#include "cli/kl_base.h"
#include "cli/load.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

constexpr uint64_t kMaxText = uint64_t{1} << 30;

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = 512;
  int64_t max_tokens = 0;
  std::string kl_base;
};

/// Sums over the scored tokens.
struct Score {
  int64_t n_scored = 0;
  double nll = 0.0, nll_squared = 0.0;  // nats
  double scored_bytes = 0.0;

  void add(double token_nll) {
    ++n_scored;
    nll += token_nll;
    nll_squared += token_nll * token_nll;
  }
  double mean() const { return nll / static_cast<double>(n_scored); }
  double standard_error() const {
    if (n_scored < 2) return 0.0;
    const double n = static_cast<double>(n_scored);
    return std::sqrt(std::max(0.0, nll_squared / n - mean() * mean()) / (n - 1));
  }
  double perplexity() const { return std::exp(mean()); }
  double bits_per_byte() const { return scored_bytes > 0 ? nll / std::log(2.0) / scored_bytes : 0.0; }
};

/// log of the sum of exponentials.
double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - highest);
  return highest + std::log(sum);
}

/// One window: BOS (when the model has one) and text tokens. Row i predicts token i + 1.
Status score_window(Engine& engine, const Tokenizer& tokenizer, const std::vector<int32_t>& window, KlBase* kl, Score& score) {
  const int64_t n_vocab = engine.model().config().n_vocab;
  return engine.evaluate(window, 0, [&](int64_t first, std::span<const float> rows) -> Status {
    if (interrupted()) return Error::cancelled("interrupted");
    const int64_t n_rows = static_cast<int64_t>(rows.size()) / n_vocab;
    for (int64_t r = 0; r < n_rows && first + r + 1 < static_cast<int64_t>(window.size()); ++r) {
      const auto logits = rows.subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
      const int32_t target = window[static_cast<size_t>(first + r + 1)];
      const double normalizer = log_sum_exp(logits);
      score.add(normalizer - static_cast<double>(logits[static_cast<size_t>(target)]));
      MLA_ASSIGN(const std::string bytes, tokenizer.token_bytes(target, true));
      score.scored_bytes += static_cast<double>(bytes.size());
      if (kl != nullptr) MLA_TRY(kl->row(target, logits, normalizer));
    }
    return {};
  });
}

nlohmann::json result_json(const Score& s, const PerplexityOptions& o, const KlBase* kl) {
  nlohmann::json document = {{"file", o.file}, {"context", o.window}, {"n_scored", s.n_scored}, {"nll", s.mean()},
                             {"perplexity", s.perplexity()}, {"perplexity_error", s.perplexity() * s.standard_error()},
                             {"bits_per_byte", s.bits_per_byte()}};
  if (kl != nullptr && kl->comparing()) {
    document["kl_mean"] = kl->mean();
    document["kl_error"] = kl->standard_error();
    document["kl_max"] = kl->max();
    document["same_top_1"] = kl->same_top_1();
  }
  return document;
}

std::string result_text(const Score& s, const PerplexityOptions& o, const KlBase* kl) {
  std::string text = fmt::format("perplexity {:.4f} ± {:.4f} over {} tokens (windows of {}), {:.4f} bits per byte\n", s.perplexity(),
                                 s.perplexity() * s.standard_error(), s.n_scored, o.window, s.bits_per_byte());
  if (kl != nullptr && kl->comparing()) {
    text += fmt::format("KL divergence from {}: mean {:.3g} ± {:.2g}, max {:.3g} nats; same most likely token {:.3f} %\n",
                        o.kl_base, kl->mean(), kl->standard_error(), kl->max(), 100.0 * kl->same_top_1());
  }
  return text;
}

Status perplexity(const PerplexityOptions& o) {
  MLA_ASSIGN(const std::string text, read_text_file(o.file, kMaxText));
  MLA_ASSIGN(LoadedModel loaded, load_model(o.model));
  const auto& tokenizer = loaded.model->tokenizer();
  if (tokenizer == nullptr) return Error::invalid_file("the model has no tokenizer; perplexity needs one");
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (o.max_tokens > 0 && static_cast<int64_t>(ids.size()) > o.max_tokens) ids.resize(static_cast<size_t>(o.max_tokens));

  const bool with_bos = tokenizer->add_bos() && tokenizer->bos() >= 0;
  const int64_t per_window = o.window - (with_bos ? 1 : 0);
  if (static_cast<int64_t>(ids.size()) < (with_bos ? 1 : 2)) {
    return Error::usage(fmt::format("{}: too short: {} tokens", o.file, ids.size()));
  }
  ModelOptions sized = o.model;
  sized.context = o.window;
  MLA_ASSIGN(std::unique_ptr<Engine> engine, make_engine(loaded, sized));

  std::unique_ptr<KlBase> kl;
  if (!o.kl_base.empty()) {
    MLA_ASSIGN(kl, KlBase::open(o.kl_base, loaded.model->config().n_vocab));
  }
  Score score;
  Progress progress("scoring", "tok");
  const int64_t n = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < n; begin += per_window) {
    std::vector<int32_t> window;
    if (with_bos) window.push_back(tokenizer->bos());
    window.insert(window.end(), ids.begin() + begin, ids.begin() + std::min(n, begin + per_window));
    if (window.size() < 2) break;
    MLA_TRY(score_window(*engine, *tokenizer, window, kl.get(), score));
    progress.update(static_cast<double>(std::min(n, begin + per_window)), static_cast<double>(n));
  }
  progress.finish();
  if (kl != nullptr) MLA_TRY(kl->close());
  if (kl != nullptr && !kl->comparing()) note(fmt::format("wrote {}; run again with another setting to compare", o.kl_base));
  return write_stdout(terminal_options().json ? result_json(score, o, kl.get()).dump(2) + "\n" : result_text(score, o, kl.get()));
}

}  // namespace

Command add_perplexity(CLI::App& root) {
  auto o = std::make_shared<PerplexityOptions>();
  o->model.cache = "f32";
  CLI::App* app = add_subcommand(
      root, "perplexity", "How well the model predicts a text; how far a setting moves its predictions",
      {"mla perplexity -f book.txt", "mla perplexity -f book.txt --context 2048 --cache int8",
       "mla perplexity -f book.txt --kl-base base.kl               # no such file yet: write the reference",
       "mla perplexity -f book.txt --kl-base base.kl --cache int8  # it is there: compare with it"});
  app->add_option("-f,--file", o->file, "Text file, or - for standard input")->required()->type_name("TEXT");
  app->add_option("--context", o->window, "Tokens of a window, BOS included; windows do not overlap")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24))->capture_default_str();
  app->add_option("--max-tokens", o->max_tokens, "Score only this many tokens (default: all)")->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  app->add_option("--kl-base", o->kl_base, "Reference logits: written when the file is not there, else compared with")->type_name("FILE");
  add_model_option(*app, o->model);
  add_machine_options(*app, o->model);
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return perplexity(*o); }};
}

}  // namespace mla::cli
