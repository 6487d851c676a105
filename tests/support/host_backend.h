#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>
#include <vector>

#include "ops/backend.h"

namespace mla::test {

/// A Backend that has memory and nothing else: for tests of the rooms that only keep rows and pages. Calls of
/// the operations of a transformer end the test program.
class HostBackend : public Backend {
 public:
  std::string_view name() const override { return "host memory"; }

  Activation scratch(int64_t n_rows, int64_t n_cols) override {
    if (fail_scratch) throw std::bad_alloc();
    if (fail_scratch_calls > 0) {
      --fail_scratch_calls;
      throw std::bad_alloc();
    }
    scratch_.emplace_back(static_cast<size_t>(n_rows * n_cols));
    return {scratch_.back().data(), n_rows, n_cols, n_cols};
  }
  void release_scratch() override { scratch_.clear(); }

  Result<std::shared_ptr<std::byte>> allocate_pages(int64_t bytes) override {
    if (bytes > max_bytes) return Error::resource("no memory for the cache");
    auto* memory = static_cast<std::byte*>(std::calloc(static_cast<size_t>(bytes), 1));
    return std::shared_ptr<std::byte>(memory, [](std::byte* p) { std::free(p); });
  }
  void copy_bytes(std::byte* to, const std::byte* from, int64_t n) override {
    ++n_copies;
    std::memcpy(to, from, static_cast<size_t>(n));
  }
  void download(const Activation& x, float* out) override {
    for (int64_t r = 0; r < x.n_rows; ++r)
      std::memcpy(out + r * x.n_cols, x.row(r), sizeof(float) * static_cast<size_t>(x.n_cols));
  }

  Result<Weight> pack(const TensorView&) override { std::abort(); }
  Result<Weight> pack_stack(std::span<const TensorView>) override { std::abort(); }
  Routing scratch_routing(int64_t, int64_t) override { std::abort(); }
  void embed(std::span<const int32_t>, const PackedWeight&, Activation) override { std::abort(); }
  void gather_rows(Activation, std::span<const int32_t>, Activation) override { std::abort(); }
  void add(Activation, Activation) override { std::abort(); }
  void rms_norm(Activation, const PackedWeight&, float, Activation) override { std::abort(); }
  void layer_norm(Activation, const PackedWeight&, const PackedWeight*, float, Activation) override {
    std::abort();
  }
  void rope(Activation, int64_t, int64_t, const RopeTable&, std::span<const int32_t>) override {
    std::abort();
  }
  void silu_mul(Activation, Activation, Activation) override { std::abort(); }
  void gelu(Activation, Gelu) override { std::abort(); }
  void linear(Activation, const PackedWeight&, const PackedWeight*, Activation) override { std::abort(); }
  void route(Activation, const RouterSpec&, const PackedWeight*, Routing) override { std::abort(); }
  void experts(Activation, const Routing&, const ExpertWeights&, Activation) override { std::abort(); }
  void store_rows(const Batch&, Activation, const LayerRows&) override { std::abort(); }
  void attention(const Batch&, Activation, const LayerRows&, const AttentionSpec&, Activation) override {
    std::abort();
  }
  void mla_attention(const Batch&, Activation, const LayerRows&, const MlaSpec&, const MlaProjections&,
                     MlaForm, Activation) override {
    std::abort();
  }
  void dense_attention(const DenseAttentionArgs&) override { std::abort(); }
  void additive_attention(const AdditiveAttentionArgs&) override { std::abort(); }

  bool fail_scratch = false;             ///< scratch() throws std::bad_alloc
  int64_t fail_scratch_calls = 0;        ///< the next so many calls of scratch() throw
  int64_t max_bytes = int64_t{1} << 32;  ///< allocate_pages() refuses more
  int64_t n_copies = 0;                  ///< calls of copy_bytes()

 private:
  std::vector<std::vector<float>> scratch_;
};

}  // namespace mla::test
