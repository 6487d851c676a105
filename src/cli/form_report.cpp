#include "cli/form_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

namespace mla::cli {
namespace {

constexpr int64_t kDepths[] = {0, 256, 1024, 4096, 16384, 65536};

struct BreakEven {
  int64_t n_cached = 0;
  std::optional<int64_t> n_new;
  MlaCost cost;  ///< of one layer at n_new
};

std::vector<BreakEven> break_even_points(const Config& config) {
  const MlaSpec spec = config.mla_spec();
  std::vector<BreakEven> points;
  for (const int64_t n_cached : kDepths) {
    if (n_cached >= config.n_context) break;
    BreakEven point{n_cached, mla_break_even(spec, n_cached), {}};
    if (point.n_new) {
      const SequenceSlice s{.n_new = *point.n_new, .n_past = n_cached};
      point.cost = mla_cost(spec, s.n_new, s.n_rows(), s.n_pairs());
    }
    points.push_back(point);
  }
  return points;
}

/// Calls of one phase by the form they took.
struct FormCounts {
  int64_t absorbed = 0, expanded = 0, both = 0, other = 0;
};

FormCounts count_forms(const std::vector<OperationCost>& profile) {
  FormCounts n;
  for (const OperationCost& c : profile) {
    if (c.operation == kMlaAbsorbedOperation) n.absorbed += c.calls;
    if (c.operation == kMlaExpandedOperation) n.expanded += c.calls;
    if (c.operation == kMlaBothFormsOperation) n.both += c.calls;
    if (c.operation == kAttentionOperation) n.other += c.calls;
  }
  return n;
}

Json counts_json(const std::vector<OperationCost>& profile) {
  const FormCounts n = count_forms(profile);
  return {{"absorbed", n.absorbed}, {"expanded", n.expanded}, {"both", n.both}, {"without_latents", n.other}};
}

std::string counts_text(const std::vector<OperationCost>& profile) {
  const FormCounts n = count_forms(profile);
  std::string text;
  const auto add = [&](int64_t calls, const char* form) {
    if (calls > 0) text += fmt::format("{}{} in {} call{}", text.empty() ? "" : ", ", form, grouped(calls), calls == 1 ? "" : "s");
  };
  add(n.absorbed, "absorbed");
  add(n.expanded, "expanded");
  add(n.both, "both forms side by side");
  add(n.other, "without latents, so of one form,");
  return text.empty() ? "nothing computed" : text;
}

}  // namespace

Json break_even_json(const Config& config) {
  if (config.attention != AttentionKind::kMla) return nullptr;
  Json list = Json::array();
  for (const BreakEven& p : break_even_points(config)) {
    list.push_back({{"cached", p.n_cached}, {"new_tokens", p.n_new ? Json(*p.n_new) : Json(nullptr)},
                    {"absorbed_flop", p.n_new ? Json(p.cost.absorbed) : Json(nullptr)},
                    {"expanded_flop", p.n_new ? Json(p.cost.expanded) : Json(nullptr)}});
  }
  return {{"heads", config.n_heads}, {"kv_rank", config.kv_rank}, {"d_nope", config.d_nope}, {"d_rope", config.d_rope},
          {"d_v", config.d_v}, {"break_even", list}};
}

std::string break_even_text(const Config& config) {
  if (config.attention != AttentionKind::kMla) return "mla form    none: this model has no latents, its attention has one form\n";
  constexpr const char* kLine = "            {:>8} {:>12} {:>18} {:>10}\n";
  std::string text = fmt::format("mla form    {} heads, kv_rank {}, d_nope {}, d_rope {}, d_v {}: expanded from so many new tokens of a sequence on,\n"
                                 "            absorbed below (operations of one layer at that point; docs/mla.md, section 5)\n",
                                 config.n_heads, config.kv_rank, config.d_nope, config.d_rope, config.d_v);
  text += fmt::format(kLine, "cached", "new tokens", "GFLOP absorbed", "expanded");
  for (const BreakEven& p : break_even_points(config)) {
    text += fmt::format(kLine, grouped(p.n_cached), p.n_new ? grouped(*p.n_new) : "never", p.n_new ? short_number(p.cost.absorbed / 1e9) : "-",
                        p.n_new ? short_number(p.cost.expanded / 1e9) : "-");
  }
  return text;
}

Json forms_json(const Generation& g) {
  return {{"prompt", counts_json(g.prompt_profile)}, {"decode", counts_json(g.decode_profile)}};
}

std::string forms_text(const Config& config, const Generation& g, bool forced) {
  std::string text = fmt::format("attention of the prompt: {}; of the answer: {} (a call is one layer of one step)", counts_text(g.prompt_profile),
                                 counts_text(g.decode_profile));
  if (config.attention != AttentionKind::kMla) return text;
  if (forced) return text + "\nthe form was forced with --mla";
  const int64_t n_cached = g.status.n_prompt;
  const std::optional<int64_t> n_new = mla_break_even(config.mla_spec(), n_cached);
  return text + fmt::format("\nover the {} tokens of the prompt, expanding costs less from {} on; `mla doctor -m MODEL` shows more points", grouped(n_cached),
                            n_new ? fmt::format("{} new token{}", grouped(*n_new), *n_new == 1 ? "" : "s") : "no number of new tokens");
}

}  // namespace mla::cli
