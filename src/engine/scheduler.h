#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "cache/prefix_index.h"
#include "cache/prefix_store.h"
#include "engine/client_service.h"
#include "engine/sequence.h"

namespace mla {

/// A sequence's part in a step.
struct PlannedSlice {
  SequenceId id = 0;
  int64_t n_new = 0;       ///< how many of its pending tokens
  bool completes = false;  ///< they are all that is pending
  int64_t n_logits = 0;    ///< of so many of the last of them (all or one) the logits are wanted,
  int64_t n_hidden = 0;    ///< of so many the final hidden states
};

/// Decides who runs, and owns the sequences and the pages they hold. How, and why every request is finished
/// that fits alone: docs/decisions/0004-scheduling-and-pages.md.
///
/// Admission: the client that was served least, and of its sequences the one submitted first; when that one
/// does not fit, nobody overtakes it. Pages: when they run out, those only remembered go first, then a paused
/// sequence's, then the youngest running one's, which waits again and recomputes them later from its tokens;
/// so the oldest always advances. Sharing: a sequence is not admitted while a running one computes the pages
/// that it would compute next, or loads them.
///
/// Pages that memory has no more may come from a PrefixStore: the sequence is admitted, holds its pages, and has no part in
/// any step until they are loaded, while the others go on.
class Scheduler {
 public:
  /// A sequence that so many later ones have overtaken is admitted before all others and waits for nobody's
  /// pages.
  static constexpr int64_t kMaxOvertaken = 256;

  /// `max_scored_rows`: rows of scored prompts in a step, at least 1. `store` may be null: nothing outlives the pool's memory then.
  Scheduler(PagePool& pool, const EngineOptions& options, int64_t max_scored_rows, std::shared_ptr<PrefixStore> store = nullptr);

  void submit(std::unique_ptr<Sequence> sequence);
  /// The next step: one token of every sequence that decodes, then prompt chunks within the budget. Rows for
  /// all planned tokens are reserved. May preempt.
  std::vector<PlannedSlice> plan();
  /// Takes rows back that plan() reserved and no forward filled.
  void unplan(std::span<const PlannedSlice> slices);
  /// Counts rows that a forward has stored; full pages of a prompt can be found by others from now on.
  void computed(Sequence& sequence, int64_t n_rows);
  /// Charges for a token of the answer.
  void answered(Sequence& sequence) { sequence.client->service += ClientService::kAnswerWeight; }
  void pause(Sequence& sequence);
  void resume(Sequence& sequence);
  /// Ends a sequence and releases its pages (published first). The sequence is gone afterwards.
  void remove(SequenceId id);
  /// Frees pages until n are free, from the prefix index only. False when they are too few.
  bool free_pages(int64_t n);

  /// Null for one that is finished or unknown.
  Sequence* find(SequenceId id) const;
  bool runs(SequenceId id) const { return running_.contains(id); }
  int64_t n_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t n_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t n_places() const;
  int64_t n_preemptions() const { return n_preemptions_; }
  /// Running sequences whose pages are being loaded; plan() takes up those that are done.
  int64_t n_loading() const;
  /// Waits until one of them may go on, but not longer than `limit`.
  void wait_for_load(std::chrono::milliseconds limit) const;
  PrefixIndex& prefixes() { return prefixes_; }
  const PrefixIndex& prefixes() const { return prefixes_; }

 private:
  struct Plan {
    std::vector<PlannedSlice> slices;
    int64_t budget = 0;  ///< tokens that still fit
  };
  struct Share {
    Sequence* sequence = nullptr;
    int64_t n_new = 0;
  };

  // Admission (admission.cpp).
  void admit();
  bool admit(Sequence& sequence);
  Sequence* next_to_admit();
  bool preempt_paused();
  bool awaits(const Sequence& sequence) const;
  bool awaits_another(Sequence& sequence);
  bool fits(const Sequence& sequence) const;
  PrefixIndex::Match known_prefix(const Sequence& sequence);
  void copy_partial_page(Sequence& sequence, const PrefixIndex::Match& match);
  bool begin_load(Sequence& sequence);
  void finish_loads();

  // A step (scheduler.cpp).
  void plan_decodes(Plan& plan);
  void plan_prompts(Plan& plan);
  std::vector<Share> divide(int64_t budget) const;
  void take(Sequence& sequence, int64_t n_new, Plan& plan);
  bool reserve_or_preempt(Sequence& sequence, int64_t n_new, Plan& plan);
  Sequence* youngest_paused() const;
  void preempt(Sequence& sequence);
  void publish(const Sequence& sequence);
  void keep(const Sequence& sequence);

  PagePool& pool_;
  std::shared_ptr<PrefixStore> store_;
  PrefixIndex prefixes_;
  int64_t chunk_;
  int64_t prefill_budget_;
  int64_t max_batch_tokens_;
  int64_t max_sequences_;
  int64_t max_scored_rows_;
  bool share_prefixes_;
  ClientService clients_;
  std::map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::set<SequenceId> waiting_, running_;  ///< ids grow with every submission: the first is the oldest
  int64_t n_preemptions_ = 0;
};

}  // namespace mla
