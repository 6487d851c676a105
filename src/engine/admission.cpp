// Scheduler: which waiting sequence runs next.

#include <algorithm>
#include <chrono>
#include <span>
#include <tuple>

#include "engine/scheduler.h"

namespace mla {
namespace {

/// Leading tokens of both, in whole pages, that `follower` may take from `leader`.
int64_t common_rows(const Sequence& leader, const Sequence& follower) {
  const int64_t n = std::min(leader.n_tokens(), follower.n_shareable());
  if (n < kPageRows || leader.request.prefix_namespace != follower.request.prefix_namespace) return 0;
  const auto end =
      std::mismatch(follower.tokens.begin(), follower.tokens.begin() + n, leader.tokens.begin()).first;
  return (end - follower.tokens.begin()) / kPageRows * kPageRows;
}

/// Whether a running sequence, which has fewer rows than these, is going to compute or to load them.
bool will_have(const Sequence& running, int64_t n_rows) {
  return !running.paused && running.cache.size() < n_rows;
}

}  // namespace

void Scheduler::admit() {
  while (n_running() < max_sequences_ || youngest_paused() != nullptr) {
    Sequence* sequence = next_to_admit();
    if (sequence == nullptr || !admit(*sequence)) return;  // nobody overtakes one that does not fit
  }
}

int64_t Scheduler::n_places() const {
  const auto held_back = [&](SequenceId id) {
    const Sequence& sequence = *find(id);
    return !sequence.advances() || awaits(sequence);
  };
  if (!std::all_of(waiting_.begin(), waiting_.end(), held_back)) return 0;
  return max_sequences_ - n_running();
}

Sequence* Scheduler::next_to_admit() {
  const auto place = [](const Sequence& s) {
    const bool long_enough = s.n_overtaken >= kMaxOvertaken;
    return std::tuple(!long_enough, long_enough ? 0 : s.client->service, s.id);
  };
  Sequence* next = nullptr;
  for (const SequenceId id : waiting_) {
    Sequence& sequence = *find(id);
    if (!sequence.advances() || (next != nullptr && place(*next) < place(sequence))) continue;
    if (!awaits_another(sequence)) next = &sequence;
  }
  return next;
}

/// Whether what it was found to wait for is still to come.
bool Scheduler::awaits(const Sequence& sequence) const {
  return sequence.awaited_rows > 0 && runs(sequence.awaited) && will_have(*find(sequence.awaited), sequence.awaited_rows);
}

/// Whether a running sequence is about to compute or to load rows that this one would compute too. What it waits for is
/// looked at again before every step, so that nothing is to be undone when the other is cancelled, paused or
/// preempted.
bool Scheduler::awaits_another(Sequence& sequence) {
  if (!share_prefixes_ || sequence.n_overtaken >= kMaxOvertaken) return false;
  if (awaits(sequence)) return true;
  sequence.awaited_rows = 0;
  for (const SequenceId id : running_) {
    const Sequence& other = *find(id);
    if (other.n_pending() <= 1) continue;
    const int64_t rows = common_rows(other, sequence);
    if (rows <= sequence.awaited_rows || !will_have(other, rows)) continue;
    sequence.awaited = id;
    sequence.awaited_rows = rows;
  }
  return sequence.awaited_rows > 0;
}

PrefixIndex::Match Scheduler::known_prefix(const Sequence& sequence) {
  if (!share_prefixes_) return {};
  return prefixes_.match(std::span(sequence.tokens).first(static_cast<size_t>(sequence.n_shareable())),
                         sequence.request.prefix_namespace);
}

void Scheduler::copy_partial_page(Sequence& sequence, const PrefixIndex::Match& match) {
  if (match.partial_rows == 0) return;
  pool_.retain(match.partial_page);  // not to be evicted for its own copy
  const bool room = free_pages(1);
  pool_.release(match.partial_page);
  if (room) sequence.cache.adopt_copy(match.partial_page, match.partial_rows);
}

/// Room for all that is pending and one new token, here and in every running sequence: who is admitted starts
/// to answer before pages run out again.
bool Scheduler::fits(const Sequence& sequence) const {
  int64_t needed = sequence.cache.pages_needed(sequence.n_rows_wanted());
  for (const SequenceId id : running_) {
    const Sequence& other = *find(id);
    needed += other.cache.pages_needed(other.n_rows_wanted());
  }
  const int64_t missing = needed - pool_.n_free();
  return missing <= 0 || prefixes_.n_evictable(missing) >= missing;
}

bool Scheduler::admit(Sequence& sequence) {
  sequence.cache.clear();  // of what an attempt that ran out of memory has left
  const PrefixIndex::Match match = known_prefix(sequence);
  sequence.cache.adopt(match.pages);
  while (n_running() >= max_sequences_ || !fits(sequence)) {
    if (preempt_paused()) continue;
    sequence.cache.clear();
    return false;
  }
  if (!begin_load(sequence)) copy_partial_page(sequence, match);
  sequence.load_counts = !sequence.admitted_before;
  if (!sequence.admitted_before) {
    sequence.status.n_cached = sequence.cache.size();
    sequence.status.queue_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - sequence.submitted).count();
  }
  sequence.admitted_before = true;
  sequence.n_charged = std::max(sequence.n_charged, sequence.cache.size());
  for (const SequenceId id : waiting_) {
    if (id >= sequence.id) break;
    if (Sequence& older = *find(id); older.advances()) ++older.n_overtaken;
  }
  running_.insert(waiting_.extract(sequence.id));
  return true;
}

// -- pages from the store
// -------------------------------------------------------------------------------------------------------------------

/// Asks the store for full pages behind those that memory has. They come while others compute.
bool Scheduler::begin_load(Sequence& sequence) {
  if (store_ == nullptr || !share_prefixes_) return false;
  const auto tokens = std::span(sequence.tokens).first(static_cast<size_t>(sequence.n_shareable()));
  const std::string& space = sequence.request.prefix_namespace;
  const int64_t first = sequence.cache.size() / kPageRows;
  const int64_t n_rows = store_->find(space, tokens, first) * kPageRows;
  if (n_rows == 0 || !free_pages(sequence.cache.pages_needed(n_rows)) || !sequence.cache.reserve(n_rows)) return false;
  std::vector<std::byte*> pages;
  for (const PageId page : sequence.cache.pages().subspan(static_cast<size_t>(first))) pages.push_back(pool_.bytes(page));
  sequence.load = store_->load(space, tokens, first, std::move(pages));
  if (sequence.load == nullptr) sequence.cache.truncate(sequence.cache.size());
  return sequence.load != nullptr;
}

void Scheduler::finish_loads() {
  for (const SequenceId id : running_) {
    Sequence& sequence = *find(id);
    if (sequence.load == nullptr || !sequence.load->done()) continue;
    const int64_t n_rows = sequence.load->n_loaded() * kPageRows;
    sequence.load.reset();
    sequence.cache.append(n_rows);
    sequence.cache.truncate(sequence.cache.size());  // what did not come is reserved again when it is computed
    if (sequence.load_counts) sequence.status.n_cached += n_rows;
    sequence.n_charged = std::max(sequence.n_charged, sequence.cache.size());
    publish(sequence);
  }
}

int64_t Scheduler::n_loading() const {
  return std::count_if(running_.begin(), running_.end(), [&](SequenceId id) { return find(id)->load != nullptr; });
}

void Scheduler::wait_for_load(std::chrono::milliseconds limit) const {
  for (const SequenceId id : running_) {
    if (const auto& load = find(id)->load) return load->wait(limit);
  }
}

}  // namespace mla
