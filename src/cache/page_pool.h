#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "ops/backend.h"
#include "ops/paged.h"

namespace mla {

/// All cache memory of an engine: pages of kPageRows rows for every layer at once. A page is
/// [n_layers][kPageRows][row_bytes]; its id is the same for all layers, so one table per sequence serves them
/// all. Pages are reference counted: sequences with the same prefix share full pages. Not thread-safe: the
/// step loop owns it.
class PagePool {
 public:
  /// The backend must outlive the pool. Errors: kUsage for n_pages or n_layers < 1 or an empty row; kResource
  /// when the memory cannot be had (message with the numbers).
  static Result<std::unique_ptr<PagePool>> create(Backend& backend, RowLayout layout, int64_t n_layers,
                                                  int64_t n_pages);

  /// A page with one reference, or -1 when none is free. Its bytes are whatever its last owner left.
  PageId acquire();
  void retain(PageId page);
  /// Drops one reference; the page is free again at zero.
  void release(PageId page);
  int64_t references(PageId page) const;
  /// Copies all rows of `from` to `to` (copy on write).
  void copy_page(PageId from, PageId to);

  int64_t n_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t n_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t n_used() const { return n_pages() - n_free(); }
  int64_t page_bytes() const { return page_bytes_; }
  /// Exact bytes one token occupies over all layers.
  int64_t token_bytes() const { return n_layers_ * layout_.row_bytes(); }
  int64_t total_bytes() const { return n_pages() * page_bytes_; }
  int64_t used_bytes() const { return n_used() * page_bytes_; }
  const RowLayout& layout() const { return layout_; }
  LayerRows layer(int64_t layer) const;
  /// All layers' rows of a page, [n_layers][kPageRows][row_bytes], in host memory: page_bytes() of them.
  std::byte* bytes(PageId page) const { return memory_.get() + page * page_bytes_; }

 private:
  PagePool() = default;
  Backend* backend_ = nullptr;
  RowLayout layout_;
  int64_t n_layers_ = 0;
  int64_t page_bytes_ = 0;
  std::shared_ptr<std::byte> memory_;
  std::vector<int32_t> references_;  ///< [n_pages]; 0 = free
  std::vector<PageId> free_;         ///< a stack: the page freed last is the warmest
};

/// Pages that hold `n_tokens` rows.
constexpr int64_t pages_for(int64_t n_tokens) {
  return (n_tokens + kPageRows - 1) / kPageRows;
}

}  // namespace mla
