#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "cache/prefix_index.h"
#include "engine/sequence.h"

namespace mla {

/// A sequence's part in a step.
struct PlannedSlice {
  SequenceId id = 0;
  int64_t n_new = 0;       ///< how many of its pending tokens
  bool completes = false;  ///< they are all that is pending: the logits of the last are wanted
};

/// Decides who runs, and owns the sequences and the pages they hold.
///
/// Older requests come first everywhere: waiting ones are admitted in order of submission, and when pages run
/// out the youngest running sequence gives its pages back and waits again (it recomputes them later from its
/// tokens). So the oldest always advances, and every request that fits alone is finished.
class Scheduler {
 public:
  Scheduler(PagePool& pool, int64_t chunk, int64_t max_batch_tokens, bool share_prefixes);

  void submit(std::unique_ptr<Sequence> sequence);
  /// The next step: one token of every sequence that decodes, then prompt chunks within max_batch_tokens, the
  /// sequences that waited longest for a chunk first. Rows for all planned tokens are reserved. May preempt.
  std::vector<PlannedSlice> plan();
  /// Takes rows back that plan() reserved and no forward filled.
  void unplan(std::span<const PlannedSlice> slices);
  /// Makes the full pages of a sequence findable for others.
  void publish(const Sequence& sequence);
  /// Ends a sequence and releases its pages (published first). The sequence is gone afterwards.
  void remove(SequenceId id);
  /// Frees pages until n are free, from the prefix index only. False when they are too few.
  bool free_pages(int64_t n);

  /// Null for one that is finished or unknown.
  Sequence* find(SequenceId id) const;
  bool runs(SequenceId id) const { return running_.contains(id); }
  int64_t n_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t n_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t n_preemptions() const { return n_preemptions_; }
  PrefixIndex& prefixes() { return prefixes_; }
  const PrefixIndex& prefixes() const { return prefixes_; }

 private:
  struct Plan {
    std::vector<PlannedSlice> slices;
    int64_t budget = 0;  ///< tokens that still fit
  };

  void admit();
  bool admit(Sequence& sequence);
  PrefixIndex::Match known_prefix(const Sequence& sequence);
  void copy_partial_page(Sequence& sequence, const PrefixIndex::Match& match);
  int64_t pages_promised() const;
  std::vector<Sequence*> in_order_of_service();
  bool reserve_or_preempt(Sequence& sequence, int64_t n_new, Plan& plan);
  void preempt(Sequence& sequence);

  PagePool& pool_;
  PrefixIndex prefixes_;
  int64_t chunk_;
  int64_t max_batch_tokens_;
  bool share_prefixes_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::set<SequenceId> waiting_, running_;  ///< ids grow with every submission: the first is the oldest
  int64_t step_ = 0;
  int64_t n_preemptions_ = 0;
};

}  // namespace mla
