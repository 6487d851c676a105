#include "cache/prefix_index.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace mla {
namespace {

int64_t common_length(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return end - a.begin();
}

}  // namespace

PrefixIndex::Match PrefixIndex::match(std::span<const int32_t> tokens, std::string_view prefix_namespace) {
  Match found;
  const auto root = roots_.find(prefix_namespace);
  if (root == roots_.end()) return found;
  Node* last = nullptr;
  PageTokens key;
  size_t done = 0;
  for (; done + kPageRows <= tokens.size(); done += kPageRows) {
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(done), kPageRows, key.begin());
    Children& children = last == nullptr ? root->second : last->children;
    const auto child = children.find(key);
    if (child == children.end()) break;
    last = &*child->second;
    found.pages.push_back(last->page);
  }

  // Among sorted keys the one that shares most leading tokens with the rest stands beside the rest's own
  // place.
  const std::span<const int32_t> rest =
      tokens.subspan(done, std::min<size_t>(kPageRows, tokens.size() - done));
  Children& children = last == nullptr ? root->second : last->children;
  key.fill(std::numeric_limits<int32_t>::min());
  std::copy(rest.begin(), rest.end(), key.begin());
  const auto after = children.lower_bound(key);
  Node* partial = nullptr;
  const auto consider = [&](Children::iterator candidate) {
    const int64_t rows = common_length(candidate->first, rest);
    if (rows <= found.partial_rows) return;
    found.partial_rows = rows;
    partial = &*candidate->second;
    found.partial_page = partial->page;
  };
  if (after != children.end()) consider(after);
  if (after != children.begin()) consider(std::prev(after));

  touch(partial != nullptr ? partial : last);
  return found;
}

void PrefixIndex::insert(std::span<const int32_t> tokens, std::span<const PageId> pages,
                         std::string_view prefix_namespace) {
  const size_t n_full = std::min(tokens.size() / kPageRows, pages.size());
  if (n_full == 0) return;
  auto root = roots_.find(prefix_namespace);
  if (root == roots_.end()) root = roots_.emplace(prefix_namespace, Children()).first;
  Node* parent = nullptr;
  PageTokens key;
  for (size_t i = 0; i < n_full; ++i) {
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(i * kPageRows), kPageRows, key.begin());
    Children& children = parent == nullptr ? root->second : parent->children;
    auto child = children.find(key);
    if (child == children.end()) {
      std::list<Node> fresh(1);
      child = children.emplace(key, fresh.begin()).first;
      fresh.front().root = root;
      fresh.front().parent = parent;
      fresh.front().edge = child;
      fresh.front().page = pages[i];
      pool_->retain(pages[i]);
      by_use_.splice(by_use_.end(), fresh);  // iterators stay valid; touch() below brings it to the front
    }
    parent = &*child->second;
  }
  touch(parent);
}

void PrefixIndex::touch(Node* node) {
  // From the deepest page up, so that every parent ends before its children.
  for (; node != nullptr; node = node->parent) {
    by_use_.splice(by_use_.begin(), by_use_, node->edge->second);
  }
}

int64_t PrefixIndex::evict(int64_t n_pages) {
  int64_t n_freed = 0;
  auto node = by_use_.end();
  while (n_freed < n_pages && node != by_use_.begin()) {
    --node;  // children stand behind their parent, so one pass from the end frees whole branches
    if (!node->children.empty() || pool_->references(node->page) > 1) continue;
    const auto gone = node++;
    remove(gone);
    ++n_freed;
  }
  return n_freed;
}

int64_t PrefixIndex::n_evictable(int64_t enough) const {
  ++n_counts_;
  int64_t n = 0;
  for (auto node = by_use_.rbegin(); node != by_use_.rend() && n < enough; ++node) {
    if (pool_->references(node->page) > 1) node->pinned_in = n_counts_;
    const bool pinned = node->pinned_in == n_counts_;
    if (!pinned) ++n;
    if (pinned && node->parent != nullptr) node->parent->pinned_in = n_counts_;
  }
  return n;
}

void PrefixIndex::remove(std::list<Node>::iterator node) {
  pool_->release(node->page);
  const Roots::iterator root = node->root;
  (node->parent == nullptr ? root->second : node->parent->children).erase(node->edge);
  by_use_.erase(node);
  if (root->second.empty()) roots_.erase(root);
}

void PrefixIndex::clear() {
  for (const Node& node : by_use_) pool_->release(node.page);
  roots_.clear();
  by_use_.clear();
}

}  // namespace mla
