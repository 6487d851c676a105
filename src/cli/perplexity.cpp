#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "cli/command.h"
#include "cli/kl_base.h"
#include "cli/load.h"
#include "cli/moments.h"
#include "cli/terminal.h"
#include "cli/text_windows.h"

namespace mla::cli {
namespace {

constexpr uint64_t kMaxText = uint64_t{1} << 30;
constexpr int64_t kDefaultWindow = 512;

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int64_t window = 0;  // 0 = kDefaultWindow, or the model's context where that is less
  int64_t max_tokens = 0;
  std::string kl_base;
};

/// What the scored tokens sum up to.
struct Score {
  Moments nll;  // of each token, nats
  double scored_bytes = 0.0;
  bool complete = true;  // false after Ctrl-C

  double perplexity() const { return std::exp(nll.mean()); }
  double bits_per_byte() const { return nll.sum / std::log(2.0) / scored_bytes; }
};

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
      score.nll.add(normalizer - static_cast<double>(logits[static_cast<size_t>(target)]));
      MLA_ASSIGN(const std::string bytes, tokenizer.token_bytes(target, true));
      score.scored_bytes += static_cast<double>(bytes.size());
      if (kl != nullptr) MLA_TRY(kl->row(target, logits, normalizer));
    }
    return {};
  });
}

Json result_json(const Score& s, const PerplexityOptions& o, const KlBase* kl) {
  Json document = {{"file", o.file}, {"context", o.window}, {"complete", s.complete}, {"n_scored", s.nll.n}, {"nll", s.nll.mean()},
                   {"perplexity", s.perplexity()}, {"perplexity_error", s.perplexity() * s.nll.standard_error()},
                   {"bits_per_byte", s.bits_per_byte()}};
  if (kl != nullptr && kl->comparing()) {
    document["kl_mean"] = kl->divergence().mean();
    document["kl_error"] = kl->divergence().standard_error();
    document["kl_max"] = kl->divergence().max;
    document["same_top_1"] = kl->same_top_1();
  }
  return document;
}

/// " ± 0.12", or nothing where there is no error bar.
std::string error_bar(double error, const char* format) {
  return std::isfinite(error) ? fmt::format(fmt::runtime(format), error) : "";
}

std::string result_text(const Score& s, const PerplexityOptions& o, const KlBase* kl) {
  std::string text = fmt::format("perplexity {:.4f}{} over {} tokens (windows of {}), {:.4f} bits per byte\n", s.perplexity(),
                                 error_bar(s.perplexity() * s.nll.standard_error(), " ± {:.4f}"), grouped(s.nll.n), o.window,
                                 s.bits_per_byte());
  if (kl != nullptr && kl->comparing()) {
    text += fmt::format("KL divergence from {}: mean {:.3g}{}, max {:.3g} nats; same most likely token {:.3f} %\n",
                        o.kl_base, kl->divergence().mean(), error_bar(kl->divergence().standard_error(), " ± {:.2g}"),
                        kl->divergence().max, 100.0 * kl->same_top_1());
  }
  return text;
}

/// The whole text in windows that do not overlap. Ctrl-C leaves the score of what came before it.
Status score_text(Engine& engine, const Tokenizer& tokenizer, const std::vector<int32_t>& ids, int64_t window_size, KlBase* kl,
                  Score& score) {
  const GracefulInterrupt graceful;
  const std::vector<std::vector<int32_t>> windows = cut_windows(ids, tokenizer, window_size);
  Progress progress("scoring", "windows");
  for (size_t i = 0; i < windows.size(); ++i) {
    const Status status = score_window(engine, tokenizer, windows[i], kl, score);
    if (!status.ok() && status.error().kind == ErrorKind::kCancelled && score.nll.n > 0) {
      score.complete = false;
      return {};
    }
    MLA_TRY(status);
    progress.update(static_cast<double>(i + 1), static_cast<double>(windows.size()));
  }
  return {};
}

Status perplexity(PerplexityOptions& o) {
  if (o.kl_base == "-") return Error::usage("--kl-base -: expected the name of a file");
  MLA_ASSIGN(const std::string text, read_text_file(o.file, kMaxText));
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model));
  if (o.window == 0) o.window = std::min(kDefaultWindow, opened.config.n_context);
  o.model.context = o.window;
  MLA_ASSIGN(const LoadedModel loaded, load_model(opened, o.model));
  const auto& tokenizer = loaded.model->tokenizer();
  if (tokenizer == nullptr) return Error::invalid_file("the model has no tokenizer; perplexity needs one");
  std::vector<int32_t> ids = tokenizer->encode(text);
  if (o.max_tokens > 0 && static_cast<int64_t>(ids.size()) > o.max_tokens) ids.resize(static_cast<size_t>(o.max_tokens));
  MLA_ASSIGN(const std::unique_ptr<Engine> engine, make_engine(loaded, o.model));
  std::unique_ptr<KlBase> kl;
  if (!o.kl_base.empty()) {
    MLA_ASSIGN(kl, KlBase::open(o.kl_base, loaded.model->config().n_vocab));
  }

  Score score;
  MLA_TRY(score_text(*engine, *tokenizer, ids, o.window, kl.get(), score));
  if (score.nll.n == 0) return Error::usage(fmt::format("{}: too short to score: {} tokens", o.file, ids.size()));
  if (!score.complete) note("interrupted: this is the score of the part before");
  if (kl != nullptr && score.complete) {
    MLA_TRY(kl->close());
    if (!kl->comparing()) note(fmt::format("wrote {}; run again with another setting to compare", o.kl_base));
  }
  return terminal_options().json ? write_json(result_json(score, o, kl.get())) : write_stdout(result_text(score, o, kl.get()));
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
  app->add_option("-f,--file", o->file, "Text file, or - for standard input")->required()->check(not_empty())->type_name("TEXT");
  app->add_option("--context", o->window, "Tokens of a window, BOS included; windows do not overlap (default: 512, or the model's context)")
      ->transform(whole_number(2, int64_t{1} << 31));
  app->add_option("--max-tokens", o->max_tokens, "Score only the first tokens of the text, this many (default: all)")
      ->transform(whole_number(0, int64_t{1} << 40));
  app->add_option("--kl-base", o->kl_base, "Reference distributions: written when the file is not there, else compared with")
      ->check(not_empty())->type_name("FILE");
  add_model_option(*app, o->model);
  add_machine_options(*app, o->model);
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return perplexity(*o); }};
}

}  // namespace mla::cli
