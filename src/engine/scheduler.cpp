#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <span>
#include <utility>

namespace mla {

Scheduler::Scheduler(PagePool& pool, const EngineOptions& options, int64_t max_scored_rows, std::shared_ptr<PrefixStore> store)
    : pool_(pool),
      store_(std::move(store)),
      prefixes_(pool),
      chunk_(options.chunk),
      prefill_budget_(options.prefill_budget),
      max_batch_tokens_(options.max_batch_tokens),
      max_sequences_(std::min(options.max_sequences, options.max_batch_tokens)),
      max_scored_rows_(max_scored_rows),
      share_prefixes_(options.share_prefixes) {}

// -- sequences
// -------------------------------------------------------------------------------------------------------------------

Sequence* Scheduler::find(SequenceId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

void Scheduler::submit(std::unique_ptr<Sequence> sequence) {
  std::set<SequenceId> entry{sequence->id};
  Sequence& s = *sequence;
  sequences_.emplace(s.id, std::move(sequence));
  try {
    s.client = &clients_.enter(s.request.client);
  } catch (...) {
    sequences_.erase(s.id);
    throw;
  }
  clients_.activate(*s.client);
  waiting_.merge(entry);  // like every change of state, it cannot fail and lose the sequence
}

void Scheduler::remove(SequenceId id) {
  const auto found = sequences_.find(id);
  assert(found != sequences_.end());
  Sequence& sequence = *found->second;
  publish(sequence);
  if (!sequence.paused) clients_.deactivate(*sequence.client);
  clients_.leave(sequence.request.client);
  running_.erase(id);
  waiting_.erase(id);
  sequences_.erase(found);
}

void Scheduler::pause(Sequence& sequence) {
  if (!std::exchange(sequence.paused, true)) clients_.deactivate(*sequence.client);
}

void Scheduler::resume(Sequence& sequence) {
  if (std::exchange(sequence.paused, false)) clients_.activate(*sequence.client);
}

// -- pages
// -------------------------------------------------------------------------------------------------------------------

void Scheduler::publish(const Sequence& sequence) {
  if (!share_prefixes_) return;
  const auto computed = std::span(sequence.tokens).first(static_cast<size_t>(sequence.cache.size()));
  try {
    prefixes_.insert(computed, sequence.cache.pages(), sequence.request.prefix_namespace);
  } catch (const std::bad_alloc&) {
    // Pages that are not remembered are computed again; nothing else is lost.
  }
  if (store_ != nullptr) keep(sequence);
}

/// Gives a sequence's full pages to the store, which takes those that it has not.
void Scheduler::keep(const Sequence& sequence) {
  const auto computed = std::span(sequence.tokens).first(static_cast<size_t>(sequence.cache.size()));
  try {
    std::vector<const std::byte*> pages;
    for (const PageId page : sequence.cache.pages().first(computed.size() / kPageRows)) pages.push_back(pool_.bytes(page));
    store_->store(sequence.request.prefix_namespace, computed, pages);
  } catch (const std::bad_alloc&) {
    // As above.
  }
}

bool Scheduler::free_pages(int64_t n) {
  if (pool_.n_free() < n) prefixes_.evict(n - pool_.n_free());
  return pool_.n_free() >= n;
}

Sequence* Scheduler::youngest_paused() const {
  for (auto id = running_.rbegin(); id != running_.rend(); ++id) {
    if (Sequence* sequence = find(*id); sequence->paused) return sequence;
  }
  return nullptr;
}

/// So that others may have its pages and its place.
bool Scheduler::preempt_paused() {
  Sequence* const sequence = youngest_paused();
  if (sequence != nullptr) preempt(*sequence);
  return sequence != nullptr;
}

void Scheduler::preempt(Sequence& sequence) {
  // Its full pages stay findable: they are freed one by one, last page first, and what is left of them
  // shortens the recomputation.
  publish(sequence);
  sequence.load.reset();
  sequence.cache.clear();
  waiting_.insert(running_.extract(sequence.id));
  ++n_preemptions_;
}

bool Scheduler::reserve_or_preempt(Sequence& sequence, int64_t n_new, Plan& plan) {
  while (!free_pages(sequence.cache.pages_needed(n_new))) {
    Sequence* const paused = youngest_paused();
    Sequence& victim = paused != nullptr ? *paused : *find(*running_.rbegin());
    std::erase_if(plan.slices, [&](const PlannedSlice& slice) {
      if (slice.id != victim.id) return false;
      plan.budget += slice.n_new;
      return true;
    });
    preempt(victim);
    if (&victim == &sequence) return false;
  }
  [[maybe_unused]] const bool reserved = sequence.cache.reserve(n_new);
  assert(reserved);
  return true;
}

// -- a step
// -------------------------------------------------------------------------------------------------------------------

std::vector<PlannedSlice> Scheduler::plan() {
  finish_loads();
  admit();
  Plan plan{{}, max_batch_tokens_};
  plan_decodes(plan);
  plan_prompts(plan);
  return std::move(plan.slices);
}

void Scheduler::take(Sequence& sequence, int64_t n_new, Plan& plan) {
  if (!runs(sequence.id)) return;  // preempted for one before it
  if (!reserve_or_preempt(sequence, n_new, plan)) return;
  const bool completes = n_new == sequence.n_pending(), mean = sequence.request.pooling == Pooling::kMean;
  plan.slices.push_back({.id = sequence.id,
                         .n_new = n_new,
                         .completes = completes,
                         .n_logits = sequence.scores() ? n_new : completes && sequence.answers() ? 1 : 0,
                         .n_hidden = mean                             ? n_new
                                     : completes && sequence.embeds() ? 1
                                                                      : 0});
  plan.budget -= n_new;
}

void Scheduler::plan_decodes(Plan& plan) {
  const std::vector<SequenceId> oldest_first(running_.begin(), running_.end());  // take() may preempt
  for (const SequenceId id : oldest_first) {
    Sequence& sequence = *find(id);
    if (sequence.advances() && sequence.decodes()) take(sequence, 1, plan);
  }
}

void Scheduler::plan_prompts(Plan& plan) {
  const bool others_decode = !plan.slices.empty();
  const int64_t budget = others_decode ? std::min(plan.budget, prefill_budget_) : plan.budget;
  for (const Share& share : divide(budget)) take(*share.sequence, share.n_new, plan);
}

/// Half of the prompt tokens of a step goes to the oldest prompt, which so is computed in a time that younger
/// ones cannot lengthen beyond twice; the other half to those that need least, so that a short prompt does
/// not wait for a long one. What is left over goes to the oldest again.
std::vector<Scheduler::Share> Scheduler::divide(int64_t budget) const {
  std::vector<Share> shares;  // the oldest first
  for (const SequenceId id : running_) {
    Sequence* sequence = find(id);
    if (sequence->advances() && !sequence->decodes()) shares.push_back({sequence, 0});
  }
  if (shares.empty()) return shares;
  int64_t scored_rows = max_scored_rows_;
  const auto give = [&](Share& share, int64_t at_most) {
    int64_t n = std::min({at_most, budget, share.sequence->n_pending() - share.n_new, chunk_ - share.n_new});
    if (share.sequence->scores()) {
      n = std::min(n, scored_rows);
      scored_rows -= n;
    }
    share.n_new += n;
    budget -= n;
  };
  give(shares.front(), (budget + 1) / 2);
  std::stable_sort(shares.begin() + 1, shares.end(), [](const Share& a, const Share& b) {
    return a.sequence->n_pending() < b.sequence->n_pending();
  });
  for (auto share = shares.begin() + 1; share != shares.end(); ++share) give(*share, budget);
  give(shares.front(), budget);
  std::erase_if(shares, [](const Share& share) { return share.n_new == 0; });
  return shares;
}

void Scheduler::unplan(std::span<const PlannedSlice> slices) {
  for (const PlannedSlice& slice : slices) {
    if (Sequence* sequence = find(slice.id)) sequence->cache.truncate(sequence->cache.size());
  }
}

void Scheduler::computed(Sequence& sequence, int64_t n_rows) {
  const int64_t full_before = sequence.cache.size() / kPageRows;
  sequence.cache.append(n_rows);
  const int64_t n_paid = std::min(sequence.cache.size(), sequence.status.n_prompt);
  if (n_paid > sequence.n_charged) {
    sequence.client->service += ClientService::kPromptWeight * (n_paid - sequence.n_charged);
    sequence.n_charged = n_paid;
  }
  const bool prompt = n_rows > 1 || sequence.cache.size() <= sequence.status.n_prompt;
  if (prompt && sequence.cache.size() / kPageRows > full_before) publish(sequence);
}

}  // namespace mla
