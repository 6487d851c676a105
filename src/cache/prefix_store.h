#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace mla {

/// Pages that are being brought into memory by another thread. Destroying it ends the load: when the destructor returns,
/// nothing is written to the pages any more.
class PageLoad {
 public:
  virtual ~PageLoad() = default;
  virtual bool done() const = 0;
  /// When done: how many pages, from the first one on, hold their rows. The others' bytes are undefined.
  virtual int64_t n_loaded() const = 0;
  /// Waits until it is done, but not longer than `limit`.
  virtual void wait(std::chrono::milliseconds limit) = 0;
};

/// Where full pages go that should outlive the memory that holds them, and come from. Page i of a chain holds the rows of
/// tokens [i * kPageRows, (i + 1) * kPageRows); what is found was stored for exactly these tokens from the beginning on,
/// in the same namespace. Calls return at once: they read and write no files.
class PrefixStore {
 public:
  virtual ~PrefixStore() = default;
  /// How many full pages of `tokens` from page `first_page` on are likely to be loaded, without a gap.
  virtual int64_t find(std::string_view prefix_namespace, std::span<const int32_t> tokens, int64_t first_page) = 0;
  /// Begins to read pages first_page ... first_page + pages.size() - 1 of `tokens` into `pages`, each page_bytes long in host
  /// memory that nobody else touches until the load is done or destroyed.
  virtual std::unique_ptr<PageLoad> load(std::string_view prefix_namespace, std::span<const int32_t> tokens,
                                         int64_t first_page, std::vector<std::byte*> pages) = 0;
  /// Keeps the full pages of `tokens`, `pages[i]` being page i, that are not kept already. They are copied before it returns;
  /// what cannot be taken is dropped.
  virtual void store(std::string_view prefix_namespace, std::span<const int32_t> tokens,
                     std::span<const std::byte* const> pages) = 0;
};

}  // namespace mla
