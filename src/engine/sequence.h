#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cache/prefix_store.h"
#include "cache/sequence_cache.h"
#include "engine/client_service.h"
#include "engine/engine.h"
#include "sampling/sampler.h"

namespace mla {

/// One request while it is not finished. Its state is plain: `tokens` is everything said so far, `cache` the
/// rows computed so far, and the tokens between are pending. A new prompt, the middle of a prompt, one decode
/// step and the recomputation after preemption differ only in how many tokens are pending.
struct Sequence {
  Sequence(SequenceId sequence_id, Request r, int64_t n_vocab, PagePool& pool)
      : id(sequence_id),
        request(std::move(r)),
        sampler(request.sampling, n_vocab),
        cache(pool),
        tokens(std::move(request.prompt)) {
    status.n_prompt = static_cast<int64_t>(tokens.size());
    sampler.observe_prompt(tokens);
  }

  int64_t n_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t n_pending() const { return n_tokens() - cache.size(); }
  /// Its next token follows one that it has said: all but that one is computed.
  bool decodes() const { return status.n_generated > 0 && n_pending() == 1; }
  bool embeds() const { return request.pooling != Pooling::kNone; }
  bool answers() const { return !embeds() && request.max_new_tokens > 0; }
  /// Whether log-probabilities of prompt tokens are still to be told.
  bool scores() const { return request.on_prompt_token && n_scored < status.n_prompt; }
  /// Whether it may have a part in a step. What is to hold a sequence back for a while is asked here and
  /// nowhere else: it then keeps its place and its pages, nobody waits for what it would compute, and it goes
  /// on in the step after.
  bool advances() const { return !paused && load == nullptr; }
  /// How many leading tokens' rows may come from elsewhere. The last token is always computed, for its
  /// logits; and so are, for a mean over all tokens, those that are not in it yet, and those whose logits score the next one.
  int64_t n_shareable() const {
    return request.pooling == Pooling::kMean ? n_pooled : scores() ? n_scored - 1 : n_tokens() - 1;
  }
  /// Rows it needs to say its next token (or its embedding) and hold that.
  int64_t n_rows_wanted() const { return n_pending() + (answers() ? 1 : 0); }

  SequenceId id;
  Request request;
  Sampler sampler;
  SequenceCache cache;
  std::vector<int32_t> tokens;  ///< prompt and answer
  SequenceStatus status;
  std::vector<float> pooled;  ///< [d_model] of an embedding: the sum over n_pooled tokens, or the last one's
  int64_t n_pooled = 0;       ///< leading tokens in the sum; stays when pages are given back
  int64_t n_scored = 1;       ///< leading prompt tokens that on_prompt_token was told, or (the first) has none for

  // The scheduler's.
  ClientService::Client* client = nullptr;
  bool paused = false;
  bool admitted_before = false;  ///< preempted sequences are admitted again
  int64_t n_charged = 0;  ///< leading prompt tokens that its client has paid for, or that were found in pages
  int64_t n_overtaken = 0;   ///< later ones that were admitted before it
  SequenceId awaited = 0;    ///< it waits for this one to compute
  int64_t awaited_rows = 0;  ///<   so many rows, which it will share; 0: for none
  std::unique_ptr<PageLoad> load;  ///< into pages behind its rows; declared after `cache`, which has them
  bool load_counts = false;        ///< what is loaded counts as found: it was admitted for the first time
  std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
};

}  // namespace mla
