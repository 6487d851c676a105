#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "sampling/sampler.h"
#include "support/host_backend.h"

namespace mla::test {

/// A decoder without weights whose logits are a hash of everything a real one would read: the ids, positions
/// and layers of all rows of the sequence, taken from the cache's pages. A row that is missing, stale,
/// foreign or misplaced changes every logit, and nothing depends on rounding, so tests of the engine compare
/// tokens exactly.
class FakeDecoder : public Decoder {
 public:
  explicit FakeDecoder(const Config& config) : config_(config) {}
  Outputs forward(const ForwardContext& context) const override;

  /// What every forward was given.
  struct Call {
    int64_t n_tokens = 0;
    int64_t n_sequences = 0;
    int64_t n_decodes = 0;  ///< slices of one token
  };
  mutable std::vector<Call> calls;

 private:
  Config config_;
};

/// The logits that FakeDecoder gives after `tokens`, computed from them alone.
std::vector<float> fake_logits(const Config& config, std::span<const int32_t> tokens);

/// The final hidden state that FakeDecoder gives after the last token, or the mean over all, [d_model].
std::vector<float> fake_embedding(const Config& config, std::span<const int32_t> tokens, bool mean);

/// The answer that an engine must give: one sequence, no cache, no batch.
std::vector<int32_t> fake_answer(const Config& config, std::span<const int32_t> prompt,
                                 const SamplingParams& sampling, int64_t n_new,
                                 std::span<const int32_t> stop_tokens = {});

Config fake_config(int64_t n_vocab = 40, int64_t n_context = 2000);

struct FakeModel {
  explicit FakeModel(const Config& config = fake_config());

  Config config;
  HostBackend backend;
  const FakeDecoder* decoder = nullptr;
  std::shared_ptr<const Model> model;
};

}  // namespace mla::test
