#pragma once

#include <cstdint>
#include <span>

#include "model/model.h"

namespace mla {

/// Where every decoder ends. x [n_tokens, d_model] is the residual stream after the last layer;
/// `final_norm(rows)` normalises rows in place; `head` is [n_vocab, d_model]. Only rows that the batch asks
/// for are normalised and multiplied.
template <typename FinalNorm>
Outputs outputs(const ForwardContext& context, Activation x, const FinalNorm& final_norm,
                const PackedWeight& head, int64_t n_vocab) {
  Backend& b = context.backend;
  const auto normalised = [&](std::span<const int32_t> rows) {
    const Activation h = b.scratch(static_cast<int64_t>(rows.size()), x.n_cols);  // [n_wanted, d_model]
    b.gather_rows(x, rows, h);
    final_norm(h);
    return h;
  };
  Outputs out;
  if (const auto rows = context.batch.hidden_rows; !rows.empty()) out.hidden = normalised(rows);
  if (const auto rows = context.batch.logit_rows; !rows.empty()) {
    out.logits = b.scratch(static_cast<int64_t>(rows.size()), n_vocab);  // [n_wanted, n_vocab]
    b.linear(normalised(rows), head, nullptr, out.logits);
  }
  return out;
}

}  // namespace mla
