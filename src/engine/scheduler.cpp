#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <span>
#include <utility>

namespace mla {

Scheduler::Scheduler(PagePool& pool, int64_t chunk, int64_t max_batch_tokens, bool share_prefixes)
    : pool_(pool),
      prefixes_(pool),
      chunk_(chunk),
      max_batch_tokens_(max_batch_tokens),
      share_prefixes_(share_prefixes) {}

Sequence* Scheduler::find(SequenceId id) const {
  const auto found = sequences_.find(id);
  return found == sequences_.end() ? nullptr : found->second.get();
}

void Scheduler::submit(std::unique_ptr<Sequence> sequence) {
  std::set<SequenceId> entry{sequence->id};
  sequences_.emplace(sequence->id, std::move(sequence));
  waiting_.merge(entry);  // like every change of state, it cannot fail and lose the sequence
}

void Scheduler::publish(const Sequence& sequence) {
  if (!share_prefixes_) return;
  const auto computed = std::span(sequence.tokens).first(static_cast<size_t>(sequence.cache.size()));
  try {
    prefixes_.insert(computed, sequence.cache.pages(), sequence.request.prefix_namespace);
  } catch (const std::bad_alloc&) {
    // Pages that are not remembered are computed again; nothing else is lost.
  }
}

void Scheduler::remove(SequenceId id) {
  const auto found = sequences_.find(id);
  assert(found != sequences_.end());
  publish(*found->second);
  running_.erase(id);
  waiting_.erase(id);
  sequences_.erase(found);
}

bool Scheduler::free_pages(int64_t n) {
  if (pool_.n_free() < n) prefixes_.evict(n - pool_.n_free());
  return pool_.n_free() >= n;
}

PrefixIndex::Match Scheduler::known_prefix(const Sequence& sequence) {
  if (!share_prefixes_) return {};
  // The last token is always computed: its logits are wanted.
  return prefixes_.match(std::span(sequence.tokens).first(sequence.tokens.size() - 1),
                         sequence.request.prefix_namespace);
}

void Scheduler::copy_partial_page(Sequence& sequence, const PrefixIndex::Match& match) {
  if (match.partial_rows == 0) return;
  pool_.retain(match.partial_page);  // not to be evicted for its own copy
  const bool room = free_pages(1);
  pool_.release(match.partial_page);
  if (room) sequence.cache.adopt_copy(match.partial_page, match.partial_rows);
}

int64_t Scheduler::pages_promised() const {
  int64_t pages = 0;
  for (const SequenceId id : running_) {
    const Sequence& sequence = *find(id);
    pages += sequence.cache.pages_needed(sequence.n_pending() + 1);
  }
  return pages;
}

bool Scheduler::admit(Sequence& sequence) {
  sequence.cache.clear();  // of what an attempt that ran out of memory has left
  const PrefixIndex::Match match = known_prefix(sequence);
  sequence.cache.adopt(match.pages);
  // Room for all that is pending and one new token, here and in every running sequence: who is admitted
  // starts to answer before pages run out again.
  const int64_t needed = sequence.cache.pages_needed(sequence.n_pending() + 1) + pages_promised();
  const bool fits = needed <= pool_.n_free() || needed <= pool_.n_free() + prefixes_.n_evictable();
  if (!fits) {
    sequence.cache.clear();
    return false;
  }
  copy_partial_page(sequence, match);
  if (!sequence.admitted_before) sequence.status.n_cached = sequence.cache.size();
  sequence.admitted_before = true;
  sequence.last_chunk_step = step_;
  running_.insert(waiting_.extract(sequence.id));
  return true;
}

void Scheduler::admit() {
  while (!waiting_.empty() && n_running() < max_batch_tokens_) {
    if (!admit(*find(*waiting_.begin()))) return;  // nobody overtakes
  }
}

std::vector<Sequence*> Scheduler::in_order_of_service() {
  std::vector<Sequence*> order;
  for (const SequenceId id : running_) order.push_back(find(id));
  std::stable_sort(order.begin(), order.end(), [](const Sequence* a, const Sequence* b) {
    const bool a_decodes = a->n_pending() == 1, b_decodes = b->n_pending() == 1;
    if (a_decodes != b_decodes) return a_decodes;
    return !a_decodes && a->last_chunk_step < b->last_chunk_step;
  });
  return order;
}

std::vector<PlannedSlice> Scheduler::plan() {
  admit();
  ++step_;
  Plan plan{{}, max_batch_tokens_};
  for (Sequence* sequence : in_order_of_service()) {
    if (sequence->paused || !running_.contains(sequence->id)) continue;  // or preempted for one before it
    const int64_t n_new = std::min({sequence->n_pending(), chunk_, plan.budget});
    if (n_new == 0) break;
    if (!reserve_or_preempt(*sequence, n_new, plan)) continue;
    if (sequence->n_pending() > 1) sequence->last_chunk_step = step_;
    plan.slices.push_back({sequence->id, n_new, n_new == sequence->n_pending()});
    plan.budget -= n_new;
  }
  return std::move(plan.slices);
}

bool Scheduler::reserve_or_preempt(Sequence& sequence, int64_t n_new, Plan& plan) {
  while (!free_pages(sequence.cache.pages_needed(n_new))) {
    Sequence& youngest = *find(*running_.rbegin());
    std::erase_if(plan.slices, [&](const PlannedSlice& slice) {
      if (slice.id != youngest.id) return false;
      plan.budget += slice.n_new;
      return true;
    });
    preempt(youngest);
    if (&youngest == &sequence) return false;
  }
  [[maybe_unused]] const bool reserved = sequence.cache.reserve(n_new);
  assert(reserved);
  return true;
}

void Scheduler::preempt(Sequence& sequence) {
  // Its full pages stay findable: they are freed one by one, last page first, and what is left of them
  // shortens the recomputation.
  publish(sequence);
  sequence.cache.clear();
  waiting_.insert(running_.extract(sequence.id));
  ++n_preemptions_;
}

void Scheduler::unplan(std::span<const PlannedSlice> slices) {
  for (const PlannedSlice& slice : slices) {
    if (Sequence* sequence = find(slice.id)) sequence->cache.truncate(sequence->cache.size());
  }
}

}  // namespace mla
