#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

namespace mla {

inline constexpr uint32_t kNoMerge = ~uint32_t{0};

namespace merging {

/// Up to this many symbols, looking through all pairs for each merge is faster than keeping them in order.
inline constexpr uint32_t kFew = 48;

template <typename Rank, typename Join>
void merge_few(uint32_t n, Rank rank, Join join) {
  std::vector<uint32_t> alive(n), ranks(n - 1);  // ranks[i] is that of alive[i] and alive[i + 1]
  for (uint32_t i = 0; i < n; ++i) alive[i] = i;
  for (uint32_t i = 0; i + 1 < n; ++i) ranks[i] = rank(i, i + 1);
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNoMerge) return;
    const auto i = static_cast<size_t>(best - ranks.begin());
    join(alive[i], alive[i + 1]);
    alive.erase(alive.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(best);
    if (i < ranks.size()) ranks[i] = rank(alive[i], alive[i + 1]);
    if (i > 0) ranks[i - 1] = rank(alive[i - 1], alive[i]);
  }
}

/// The pairs of one rank wait in a list of positions, and the ranks that have pairs in a heap: there are few
/// ranks and many pairs, so nearly all work is going along lists. A pair is stale when its position has
/// another rank by the time it comes up.
template <typename Rank, typename Join>
class ManyMerger {
 public:
  ManyMerger(uint32_t n, Rank rank, Join join) : rank_(rank), join_(join), next_(n), previous_(n) {
    for (uint32_t i = 0; i < n; ++i) {
      next_[i] = i + 1 < n ? i + 1 : kNoMerge;
      previous_[i] = i == 0 ? kNoMerge : i - 1;
    }
    for (uint32_t i = 0; i + 1 < n; ++i) offer(i);
  }

  void run() {
    while (!ranks_.empty()) {
      const uint32_t rank = ranks_.top();
      Waiting& waiting = waiting_.find(rank)->second;
      // A merge may bring up a pair of better rank, which then has precedence over the rest of this list.
      while (ranks_.top() == rank && !waiting.empty()) merge_at(waiting.take_leftmost(), rank);
      if (ranks_.top() == rank) {
        ranks_.pop();
        waiting_.erase(rank);
      }
    }
  }

 private:
  /// Positions of one rank, leftmost first. Most come in order and go to the end of a list; the others wait
  /// in a heap.
  class Waiting {
   public:
    void add(uint32_t position) {
      if (in_order_.empty() || position >= in_order_.back()) {
        in_order_.push_back(position);
      } else {
        others_.push(position);
      }
    }
    bool empty() const { return taken_ == in_order_.size() && others_.empty(); }
    uint32_t take_leftmost() {
      const bool other =
          taken_ == in_order_.size() || (!others_.empty() && others_.top() < in_order_[taken_]);
      if (!other) return in_order_[taken_++];
      const uint32_t position = others_.top();
      others_.pop();
      return position;
    }

   private:
    std::vector<uint32_t> in_order_;
    size_t taken_ = 0;
    std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> others_;
  };

  uint32_t rank_at(uint32_t left) const {
    return next_[left] == kNoMerge ? kNoMerge : rank_(left, next_[left]);
  }

  void offer(uint32_t left) {
    const uint32_t rank = rank_at(left);
    if (rank == kNoMerge) return;
    const auto [entry, fresh] = waiting_.try_emplace(rank);
    if (fresh) ranks_.push(rank);
    entry->second.add(left);
  }

  void merge_at(uint32_t left, uint32_t rank) {
    if (previous_[left] == kJoined || rank_at(left) != rank) return;
    const uint32_t right = next_[left];
    join_(left, right);
    next_[left] = next_[right];
    if (next_[left] != kNoMerge) previous_[next_[left]] = left;
    previous_[right] = kJoined;
    offer(left);
    if (previous_[left] != kNoMerge) offer(previous_[left]);
  }

  static constexpr uint32_t kJoined = kNoMerge - 1;  // in previous_: no longer a symbol of its own
  Rank rank_;
  Join join_;
  std::vector<uint32_t> next_, previous_;
  std::unordered_map<uint32_t, Waiting> waiting_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
};

}  // namespace merging

/// Joins neighbours among symbols 0..n-1 until none may join: always the pair of lowest rank, of equal ranks
/// the leftmost. `rank(left, right)` is kNoMerge when two neighbours do not join; `join(left, right)` makes
/// `left` stand for both. O(n log n).
template <typename Rank, typename Join>
void merge_by_rank(uint32_t n, Rank rank, Join join) {
  if (n < 2) return;
  if (n <= merging::kFew) {
    merging::merge_few(n, rank, join);
  } else {
    merging::ManyMerger<Rank, Join>(n, rank, join).run();
  }
}

}  // namespace mla
