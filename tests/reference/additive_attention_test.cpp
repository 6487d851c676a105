#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/golden.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

/// The learned part of a golden, packed.
struct Network {
  HostWeight w_query, w_key, v, bias;
  Weight packed_query, packed_key, packed_v, packed_bias;

  Network(Backend& backend, const Golden& g)
      : w_query(HostWeight::of(g.shape("w_query"), g.f32("w_query"))),
        w_key(HostWeight::of(g.shape("w_key"), g.f32("w_key"))),
        v(HostWeight::of(g.shape("v"), g.f32("v"))),
        packed_query(w_query.pack(backend)),
        packed_key(w_key.pack(backend)),
        packed_v(v.pack(backend)) {
    if (!g.has("bias")) return;
    bias = HostWeight::of(g.shape("bias"), g.f32("bias"));
    packed_bias = bias.pack(backend);
  }
};

class AdditiveAttention : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();

  /// Runs and returns {out, weights}.
  std::pair<Matrix, Matrix> run(const Network& net, Matrix& query, Matrix& keys, int64_t n_valid) {
    Matrix out(query.n_rows, keys.n_cols), weights(query.n_rows, keys.n_rows);
    backend_->additive_attention({query.view(), keys.view(), out.view(), net.packed_query, net.packed_key,
                                  net.packed_bias, net.packed_v, n_valid, weights.view()});
    return {out, weights};
  }
};

TEST_F(AdditiveAttention, EqualsPyTorch) {
  for (const char* name : {"plain", "bias", "one_key", "masked"}) {
    SCOPED_TRACE(name);
    const Golden g = Golden::load(std::string("ops/additive_") + name + ".safetensors");
    const Network net(*backend_, g);
    Matrix query = Matrix::of(g.shape("query")[0], g.shape("query")[1], g.f32("query"));
    Matrix keys = Matrix::of(g.shape("keys")[0], g.shape("keys")[1], g.f32("keys"));
    const auto [out, weights] = run(net, query, keys, static_cast<int64_t>(g.number("n_valid")));
    EXPECT_TRUE(all_close(out.data, g.f32("out"), {.relative_to_range = 3e-7}));
    EXPECT_TRUE(all_close(weights.data, g.f32("weights"), {.relative_to_range = 3e-7}));
  }
}

TEST_F(AdditiveAttention, EqualsPyTorchForRaggedBatches) {
  const Golden g = Golden::load("ops/additive_batch.safetensors");
  const Network net(*backend_, g);
  const std::vector<int32_t> n_valid = g.i32("n_valid");
  const int64_t n_q = g.shape("query")[1], n_kv = g.shape("keys")[1], d = g.shape("keys")[2];
  const std::vector<float> queries = g.f32("query"), all_keys = g.f32("keys"), want = g.f32("out");
  for (size_t b = 0; b < n_valid.size(); ++b) {
    const auto at = static_cast<int64_t>(b);
    Matrix query = Matrix::of(n_q, d, {queries.begin() + at * n_q * d, queries.begin() + (at + 1) * n_q * d});
    Matrix keys =
        Matrix::of(n_kv, d, {all_keys.begin() + at * n_kv * d, all_keys.begin() + (at + 1) * n_kv * d});
    const auto [out, weights] = run(net, query, keys, n_valid[b]);
    EXPECT_TRUE(all_close(
        out.data, std::span(want).subspan(b * static_cast<size_t>(n_q * d), static_cast<size_t>(n_q * d)),
        {.relative_to_range = 3e-7}))
        << "row " << b;
  }
}

TEST_F(AdditiveAttention, NothingValidGivesZeros) {
  const Golden g = Golden::load("ops/additive_bias.safetensors");
  const Network net(*backend_, g);
  Matrix query = Matrix::of(3, 6, g.f32("query")), keys = Matrix::of(9, 5, g.f32("keys")), no_keys(0, 5);
  const auto [out, weights] = run(net, query, keys, 0);
  EXPECT_EQ(std::count(out.data.begin(), out.data.end(), 0.0F), 15);
  EXPECT_EQ(std::count(weights.data.begin(), weights.data.end(), 0.0F), 27);
  const auto [none, no_weights] = run(net, query, no_keys, -1);
  EXPECT_EQ(std::count(none.data.begin(), none.data.end(), 0.0F), 15);
  EXPECT_TRUE(no_weights.data.empty());
}

TEST_F(AdditiveAttention, WeightsAreOptionalAndMaskedKeysUnread) {
  const Golden g = Golden::load("ops/additive_masked.safetensors");
  const Network net(*backend_, g);
  Matrix query = Matrix::of(5, 6, g.f32("query")), keys = Matrix::of(8, 5, g.f32("keys")), out(5, 5);
  std::fill(keys.data.begin() + 6 * 5, keys.data.end(), std::numeric_limits<float>::quiet_NaN());
  backend_->additive_attention({query.view(),
                                keys.view(),
                                out.view(),
                                net.packed_query,
                                net.packed_key,
                                net.packed_bias,
                                net.packed_v,
                                6,
                                {}});
  EXPECT_TRUE(all_close(out.data, g.f32("out"), {.relative_to_range = 3e-7}));
}

}  // namespace
}  // namespace mla
