#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/page_pool.h"

namespace mla {

/// Full pages that may be used again, found by the tokens they and all pages before them were computed from.
/// A radix tree whose edges are the kPageRows tokens of one page; tokens themselves are compared, never
/// hashes. There is a tree for every namespace (any bytes: a salt, a tenant), and nothing is found across
/// them; what was used last is known over all of them together. Holds one reference to every page in it, so
/// that a finished sequence's pages stay until evict() gives back those that nobody else uses, least recently
/// used first. The pool must outlive it. Not thread-safe.
class PrefixIndex {
 public:
  struct Match {
    std::vector<PageId> pages;  ///< full pages of equal tokens, from the beginning
    PageId partial_page = -1;   ///< a page that continues them, equal in its first rows only; -1: none
    int64_t partial_rows = 0;

    int64_t full_rows() const { return static_cast<int64_t>(pages.size()) * kPageRows; }
  };

  explicit PrefixIndex(PagePool& pool) : pool_(&pool) {}
  ~PrefixIndex() { clear(); }
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// The longest known beginning of `tokens`; its pages become the most recently used. The match holds no
  /// references: take them (SequenceCache::adopt) before the next call.
  Match match(std::span<const int32_t> tokens, std::string_view prefix_namespace = {});
  /// Remembers the full pages of a sequence: page i holds the rows of tokens [i * kPageRows, (i + 1) *
  /// kPageRows). Where equal tokens are known already the page known first stays.
  void insert(std::span<const int32_t> tokens, std::span<const PageId> pages,
              std::string_view prefix_namespace = {});
  /// Gives back up to n_pages pages that nobody else refers to. Returns how many became free.
  int64_t evict(int64_t n_pages);
  /// How many pages evict() could free. Counting ends at `enough`, which takes little when what was used
  /// least recently is free.
  int64_t n_evictable(int64_t enough = std::numeric_limits<int64_t>::max()) const;
  void clear();

  int64_t n_pages() const { return static_cast<int64_t>(by_use_.size()); }

 private:
  using PageTokens = std::array<int32_t, kPageRows>;
  struct Node;
  using Children = std::map<PageTokens, std::list<Node>::iterator>;
  using Roots = std::map<std::string, Children, std::less<>>;
  struct Node {
    Roots::iterator root;    ///< of its namespace
    Node* parent = nullptr;  ///< null: the page is a sequence's first
    Children children;
    Children::iterator edge;  ///< its own entry in the parent's children
    PageId page = -1;
    mutable int64_t pinned_in = 0;  ///< the count of n_evictable() that found it or a page below it in use
  };

  void touch(Node* node);
  void remove(std::list<Node>::iterator node);

  PagePool* pool_;
  mutable int64_t n_counts_ = 0;  ///< calls of n_evictable()
  /// Every node, most recently used first. A parent always stands before its children.
  std::list<Node> by_use_;
  Roots roots_;  ///< namespace -> first pages; a namespace without pages has no entry
};

}  // namespace mla
