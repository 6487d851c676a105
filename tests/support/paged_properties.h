#pragma once

#include <functional>

#include "ops/backend.h"
#include "support/compare.h"

namespace mla::test {

/// An attention over cached rows, whichever: what it reads, and a call.
struct PagedOp {
  Backend& backend;
  RowLayout layout;
  int64_t q_cols = 0;
  int64_t out_cols = 0;
  std::function<void(const Batch&, Activation q, const LayerRows&, Activation out)> run;
};

// Properties that every attention over pages has. Each function is a whole test with failures of its own. A
// tolerance of zero asks for the same bits.

/// A prompt in chunks of any size gives what it gives in one piece.
void expect_chunked_equals_whole(const PagedOp& op, Tolerance tolerance);
/// A decode step and a chunk of three at every n_past of 0 ... 130 give the whole prompt's rows: all page
/// borders.
void expect_every_offset_equals_whole(const PagedOp& op, Tolerance tolerance);
/// The same rows in other pages give the same bits.
void expect_page_ids_do_not_matter(const PagedOp& op);
/// Sequences in one batch, empty ones among them, give what each gives alone.
void expect_ragged_equals_one_by_one(const PagedOp& op, Tolerance tolerance);
/// NaN in one row reaches exactly the queries that may see it; NaN in one query reaches that token only.
void expect_nan_stays_where_it_belongs(const PagedOp& op);
/// A batch without tokens writes nothing.
void expect_empty_batch_is_harmless(const PagedOp& op);

}  // namespace mla::test
