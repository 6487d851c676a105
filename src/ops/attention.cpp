#include "ops/attention.h"

namespace mla {

std::string_view mla_form_name(MlaForm form) {
  switch (form) {
    case MlaForm::kAuto: return "auto";
    case MlaForm::kExpanded: return "expanded";
    case MlaForm::kAbsorbed: return "absorbed";
  }
  return "unknown";
}

Result<MlaForm> mla_form_from_name(std::string_view name) {
  for (MlaForm form : {MlaForm::kAuto, MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    if (mla_form_name(form) == name) return form;
  }
  return Error::usage("MLA form '" + std::string(name) + "': expected auto, expanded or absorbed");
}

MlaCost mla_cost(const MlaSpec& s, int64_t n_queries, int64_t n_rows, int64_t n_pairs) {
  const double heads = static_cast<double>(s.n_heads);
  const double pairs = static_cast<double>(n_pairs);
  const double up = static_cast<double>(s.kv_rank) * static_cast<double>(s.d_nope + s.d_v);  // both up-projections, per head
  MlaCost cost;
  cost.expanded = 2.0 * heads * (static_cast<double>(n_rows) * up + pairs * static_cast<double>(s.d_nope + s.d_rope + s.d_v));
  cost.absorbed = 2.0 * heads * (static_cast<double>(n_queries) * up + pairs * static_cast<double>(2 * s.kv_rank + s.d_rope));
  return cost;
}

MlaForm choose_mla_form(const MlaSpec& spec, const SequenceSlice& slice, MlaForm wanted) {
  if (wanted != MlaForm::kAuto) return wanted;
  const MlaCost cost = mla_cost(spec, slice.n_new, slice.n_rows(), slice.n_pairs());
  return cost.expanded < cost.absorbed ? MlaForm::kExpanded : MlaForm::kAbsorbed;
}

std::optional<int64_t> mla_break_even(const MlaSpec& spec, int64_t n_past) {
  const auto expands = [&](int64_t n_new) {
    return choose_mla_form(spec, {.n_new = n_new, .n_past = n_past}, MlaForm::kAuto) == MlaForm::kExpanded;
  };
  constexpr int64_t kMostTokens = int64_t{1} << 22;  // beyond any step, and n_pairs() stays in 64 bits
  int64_t low = 0, high = 1;                         // low absorbs, high expands
  for (; !expands(high); high *= 2) {
    if (high >= kMostTokens) return std::nullopt;
    low = high;
  }
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (expands(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace mla
