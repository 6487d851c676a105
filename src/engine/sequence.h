#pragma once

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "cache/sequence_cache.h"
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

  SequenceId id;
  Request request;
  Sampler sampler;
  SequenceCache cache;
  std::vector<int32_t> tokens;  ///< prompt and answer
  SequenceStatus status;
  int64_t last_chunk_step = 0;   ///< step in which it was admitted or last got a prompt chunk
  bool paused = false;
  bool admitted_before = false;  ///< preempted sequences are admitted again
  std::chrono::steady_clock::time_point submitted = std::chrono::steady_clock::now();
};

}  // namespace mla
