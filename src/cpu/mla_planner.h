#pragma once

#include "ops/attention.h"
#include "ops/paged.h"

namespace mla::cpu {

/// The form that needs fewer operations for one sequence's part of a batch. Decided per sequence, so that its
/// numbers do not depend on its neighbours.
inline MlaForm choose_mla_form(const MlaSpec& spec, const SequenceSlice& slice, MlaForm wanted) {
  if (wanted != MlaForm::kAuto) return wanted;
  const int64_t n_pairs = slice.n_new * slice.n_past + slice.n_new * (slice.n_new + 1) / 2;
  const MlaCost cost = mla_cost(spec, slice.n_new, slice.n_rows(), n_pairs);
  return cost.expanded < cost.absorbed ? MlaForm::kExpanded : MlaForm::kAbsorbed;
}

}  // namespace mla::cpu
