#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/row_layout.h"

namespace mla {

using PageId = int32_t;

/// One sequence's part of a batch: `n_new` tokens whose rows follow `n_past` rows already cached. New token i of the
/// sequence has position n_past + i and attends to rows 0 ... n_past + i.
struct SequenceSlice {
  int64_t first_token = 0;        ///< its first token's index in the batch
  int64_t n_new = 0;              ///< may be 0
  int64_t n_past = 0;
  std::span<const PageId> pages;  ///< covers at least n_past + n_new rows, kPageRows a page

  int64_t n_rows() const { return n_past + n_new; }
  int64_t n_pairs() const { return n_new * n_past + n_new * (n_new + 1) / 2; }  ///< (new token, row it attends to)
};

/// Tokens of many sequences that go through one forward: prompts, prompt chunks and single decode steps side by side.
struct Batch {
  std::span<const int32_t> ids;              ///< [n_tokens]
  std::span<const int32_t> positions;        ///< [n_tokens]
  std::span<const SequenceSlice> sequences;  ///< slices are disjoint and cover all tokens, in order
  std::span<const int32_t> logit_rows;       ///< indices of the tokens whose logits are wanted, ascending
  std::span<const int32_t> hidden_rows = {};  ///< ... and of those whose final hidden states are, ascending

  int64_t n_tokens() const { return static_cast<int64_t>(ids.size()); }
};

/// The cached rows of one layer: row r of a sequence lies in its page r / kPageRows at slot r % kPageRows.
struct LayerRows {
  const RowLayout* layout = nullptr;
  std::byte* base = nullptr;     ///< this layer's rows of page 0, in the backend's memory
  int64_t page_stride = 0;       ///< bytes from a page to the next (a page holds the rows of all layers)

  std::byte* row(PageId page, int64_t slot) const {
    return base + static_cast<int64_t>(page) * page_stride + slot * layout->row_bytes();
  }
  std::byte* row(const SequenceSlice& s, int64_t r) const {
    return row(s.pages[static_cast<size_t>(r / kPageRows)], r % kPageRows);
  }
};

}  // namespace mla
