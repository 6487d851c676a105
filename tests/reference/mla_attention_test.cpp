#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/golden.h"
#include "support/paged_properties.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

constexpr Tolerance kSameBits{};
constexpr MlaForm kForms[] = {MlaForm::kExpanded, MlaForm::kAbsorbed, MlaForm::kAuto};

/// A small MLA layer with random up-projections.
struct Layer {
  MlaSpec spec;
  HostWeight k_up, v_up;
  MlaProjections projections;

  Layer(Backend& backend, MlaSpec s, Random& random)
      : spec(s),
        k_up(HostWeight::random(random, {s.n_heads, s.kv_rank, s.d_nope}, 0.4F)),
        v_up(HostWeight::random(random, {s.n_heads, s.d_v, s.kv_rank}, 0.4F)),
        projections{k_up.pack(backend), v_up.pack(backend)} {}

  PagedOp op(Backend& backend, MlaForm form, RowFormat format = RowFormat::kF32) const {
    return {backend, RowLayout::mla(format, spec.kv_rank, spec.d_rope),
            spec.n_heads * (spec.d_nope + spec.d_rope), spec.n_heads * spec.d_v,
            [this, &backend, form](const Batch& batch, Activation q, const LayerRows& cache, Activation out) {
              backend.mla_attention(batch, q, cache, spec, projections, form, out);
            }};
  }
};

constexpr MlaSpec kSmall{.n_heads = 3, .kv_rank = 10, .d_nope = 6, .d_rope = 4, .d_v = 5, .scale = 0.3F};

class MlaAttention : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{7};
  Layer layer_{*backend_, kSmall, random_};
};

TEST_F(MlaAttention, EqualsPyTorch) {
  for (const char* name : {"prefill", "decode", "chunk", "wide_value", "first_token"}) {
    SCOPED_TRACE(name);
    const Golden g = Golden::load(std::string("ops/mla_") + name + ".safetensors");
    const auto n = [&](const char* key) { return static_cast<int64_t>(g.number(key)); };
    const MlaSpec spec{.n_heads = n("n_heads"),
                       .kv_rank = n("kv_rank"),
                       .d_nope = n("d_nope"),
                       .d_rope = n("d_rope"),
                       .d_v = n("d_v"),
                       .scale = static_cast<float>(g.number("scale"))};
    const HostWeight k_up = HostWeight::of(g.shape("k_up"), g.f32("k_up"));
    const HostWeight v_up = HostWeight::of(g.shape("v_up"), g.f32("v_up"));
    const MlaProjections projections{k_up.pack(*backend_), v_up.pack(*backend_)};
    const int64_t n_past = n("n_past");
    const int64_t n_new = g.shape("q")[0];
    const RowLayout layout = RowLayout::mla(RowFormat::kF32, spec.kv_rank, spec.d_rope);
    Matrix rows = Matrix::of(n_past + n_new, layout.width(), g.f32("rows"));
    Matrix q = Matrix::of(n_new, spec.n_heads * (spec.d_nope + spec.d_rope), g.f32("q"));
    for (MlaForm form : kForms) {
      PagedBatch paged(*backend_, layout, {{n_past, n_new}}, random_);
      paged.store_past(0, rows.view().rows(0, n_past));
      backend_->store_rows(paged.batch(), rows.view().rows(n_past, n_new), paged.cache());
      Matrix out(n_new, spec.n_heads * spec.d_v);
      backend_->mla_attention(paged.batch(), q.view(), paged.cache(), spec, projections, form, out.view());
      EXPECT_TRUE(all_close(out.data, g.f32("out"), {.relative_to_range = 3e-7})) << mla_form_name(form);
    }
  }
}

// Beyond the goldens: many random shapes, in the published proportions and in odd ones.
TEST_F(MlaAttention, AbsorbedEqualsExpanded) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    const MlaSpec spec{.n_heads = random.integer(1, 5),
                       .kv_rank = random.integer(1, 40),
                       .d_nope = random.integer(1, 20),
                       .d_rope = 2 * random.integer(0, 5),
                       .d_v = random.integer(1, 20),
                       .scale = 0.2F};
    const Layer layer(*backend_, spec, random);
    for (RowFormat format : {RowFormat::kF32, RowFormat::kBF16, RowFormat::kInt8, RowFormat::kInt6, RowFormat::kInt4}) {
      const PagedOp op = layer.op(*backend_, MlaForm::kExpanded, format);
      PagedBatch paged(*backend_, op.layout, random_sequences(random, 4, 100, 9), random);
      paged.store_random_past(random);
      Matrix rows = Matrix::random(random, paged.n_tokens(), op.layout.width());
      Matrix q = Matrix::random(random, paged.n_tokens(), op.q_cols);
      backend_->store_rows(paged.batch(), rows.view(), paged.cache());
      Matrix expanded(paged.n_tokens(), op.out_cols), absorbed(paged.n_tokens(), op.out_cols);
      op.run(paged.batch(), q.view(), paged.cache(), expanded.view());
      layer.op(*backend_, MlaForm::kAbsorbed, format)
          .run(paged.batch(), q.view(), paged.cache(), absorbed.view());
      // Both sum in f64, so that only the last rounding to f32 may differ.
      EXPECT_TRUE(all_close(absorbed.data, expanded.data, {.relative_to_range = 2e-7})) << "seed " << seed;
    }
  }
}

// Independent composition: keys and values made with linear(), attended with dense_attention().
TEST_F(MlaAttention, EqualsDenseAttentionOverRebuiltKeysAndValues) {
  constexpr int64_t kRows = 90;
  const int64_t d_k = kSmall.d_nope + kSmall.d_rope;
  Matrix rows = Matrix::random(random_, kRows, kSmall.kv_rank + kSmall.d_rope);
  Matrix q = Matrix::random(random_, kRows, kSmall.n_heads * d_k);
  Matrix k(kRows, kSmall.n_heads * d_k), v(kRows, kSmall.n_heads * kSmall.d_v),
      want(kRows, kSmall.n_heads * kSmall.d_v);
  const std::vector<float> k_up = layer_.k_up.values();  // [n_heads, kv_rank, d_nope]
  const std::vector<float> v_up = layer_.v_up.values();  // [n_heads, d_v, kv_rank]
  const Activation latents = rows.view().columns(0, kSmall.kv_rank);
  for (int64_t h = 0; h < kSmall.n_heads; ++h) {
    std::vector<float> k_up_t;  // [d_nope, kv_rank]
    for (int64_t i = 0; i < kSmall.d_nope; ++i) {
      for (int64_t j = 0; j < kSmall.kv_rank; ++j)
        k_up_t.push_back(k_up[static_cast<size_t>((h * kSmall.kv_rank + j) * kSmall.d_nope + i)]);
    }
    const auto v_begin = v_up.begin() + h * kSmall.d_v * kSmall.kv_rank;
    const HostWeight w_k = HostWeight::of({kSmall.d_nope, kSmall.kv_rank}, k_up_t);
    const HostWeight w_v =
        HostWeight::of({kSmall.d_v, kSmall.kv_rank}, {v_begin, v_begin + kSmall.d_v * kSmall.kv_rank});
    backend_->linear(latents, *w_k.pack(*backend_), nullptr, k.view().columns(h * d_k, kSmall.d_nope));
    backend_->linear(latents, *w_v.pack(*backend_), nullptr, v.view().columns(h * kSmall.d_v, kSmall.d_v));
    for (int64_t r = 0; r < kRows; ++r)
      std::copy_n(rows.view().row(r) + kSmall.kv_rank, kSmall.d_rope,
                  k.view().row(r) + h * d_k + kSmall.d_nope);
  }
  backend_->dense_attention({q.view(),
                             k.view(),
                             v.view(),
                             want.view(),
                             {kSmall.n_heads, kSmall.n_heads, d_k, kSmall.d_v, kSmall.scale},
                             true});

  PagedBatch paged(*backend_, RowLayout::mla(RowFormat::kF32, kSmall.kv_rank, kSmall.d_rope), {{0, kRows}},
                   random_);
  backend_->store_rows(paged.batch(), rows.view(), paged.cache());
  for (MlaForm form : kForms) {
    Matrix got(kRows, want.n_cols);
    backend_->mla_attention(paged.batch(), q.view(), paged.cache(), kSmall, layer_.projections, form,
                            got.view());
    EXPECT_TRUE(all_close(got.data, want.data, {.relative_to_range = 1e-6})) << mla_form_name(form);
  }
}

TEST_F(MlaAttention, HasThePropertiesOfPagedAttention) {
  for (MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    SCOPED_TRACE(mla_form_name(form));
    const PagedOp op = layer_.op(*backend_, form);
    expect_chunked_equals_whole(op, kSameBits);
    expect_every_offset_equals_whole(op, kSameBits);
    expect_page_ids_do_not_matter(op);
    expect_ragged_equals_one_by_one(op, kSameBits);
    expect_nan_stays_where_it_belongs(op);
    expect_empty_batch_is_harmless(op);
  }
}

TEST_F(MlaAttention, AutoHasThemUpToRounding) {
  const PagedOp op = layer_.op(*backend_, MlaForm::kAuto);
  expect_chunked_equals_whole(op, kF32Rounding);
  expect_page_ids_do_not_matter(op);
  expect_ragged_equals_one_by_one(op, kSameBits);  // the form is chosen for each sequence alone
}

TEST_F(MlaAttention, HasThemForEveryRowFormat) {
  for (RowFormat format : {RowFormat::kBF16, RowFormat::kInt8, RowFormat::kInt6, RowFormat::kInt4}) {
    SCOPED_TRACE(row_format_name(format));
    const PagedOp op = layer_.op(*backend_, MlaForm::kAbsorbed, format);
    expect_chunked_equals_whole(op, kSameBits);
    expect_ragged_equals_one_by_one(op, kSameBits);
    expect_nan_stays_where_it_belongs(op);
  }
}

// With one visible row the softmax is 1, whatever the score: the output is W_UV c.
TEST_F(MlaAttention, SingleTokenGivesItsOwnValue) {
  Matrix row = Matrix::random(random_, 1, kSmall.kv_rank + kSmall.d_rope);
  Matrix q = Matrix::random(random_, 1, kSmall.n_heads * (kSmall.d_nope + kSmall.d_rope), 1e4F);
  const HostWeight all_v =
      HostWeight::of({kSmall.n_heads * kSmall.d_v, kSmall.kv_rank}, layer_.v_up.values());
  Matrix want(1, kSmall.n_heads * kSmall.d_v);
  backend_->linear(row.view().columns(0, kSmall.kv_rank), *all_v.pack(*backend_), nullptr, want.view());
  for (MlaForm form : kForms) {
    const PagedOp op = layer_.op(*backend_, form);
    PagedBatch paged(*backend_, op.layout, {{0, 1}}, random_);
    backend_->store_rows(paged.batch(), row.view(), paged.cache());
    Matrix out(1, op.out_cols);
    op.run(paged.batch(), q.view(), paged.cache(), out.view());
    EXPECT_TRUE(all_close(out.data, want.data, {.relative_to_range = 1e-7}));
  }
}

TEST_F(MlaAttention, HugeScoresPickOneRow) {
  constexpr int64_t kRows = 66;
  Matrix rows = Matrix::random(random_, kRows, kSmall.kv_rank + kSmall.d_rope);
  Matrix q(1, kSmall.n_heads * (kSmall.d_nope + kSmall.d_rope));
  std::fill(q.data.begin(), q.data.end(), 0.0F);
  for (int64_t r = 0; r < kRows; ++r) rows.view().row(r)[kSmall.kv_rank] = r == 17 ? 1.0F : -1.0F;
  for (int64_t h = 0; h < kSmall.n_heads; ++h)
    q.data[static_cast<size_t>(h * 10 + kSmall.d_nope)] = 1e4F / kSmall.scale;
  const HostWeight all_v =
      HostWeight::of({kSmall.n_heads * kSmall.d_v, kSmall.kv_rank}, layer_.v_up.values());
  Matrix want(1, kSmall.n_heads * kSmall.d_v);
  backend_->linear(rows.view().rows(17, 1).columns(0, kSmall.kv_rank), *all_v.pack(*backend_), nullptr,
                   want.view());
  for (MlaForm form : kForms) {
    const PagedOp op = layer_.op(*backend_, form);
    PagedBatch paged(*backend_, op.layout, {{kRows - 1, 1}}, random_);
    paged.store_past(0, rows.view().rows(0, kRows - 1));
    backend_->store_rows(paged.batch(), rows.view().rows(kRows - 1, 1), paged.cache());
    Matrix out(1, op.out_cols);
    op.run(paged.batch(), q.view(), paged.cache(), out.view());
    EXPECT_TRUE(all_close(out.data, want.data, {.relative_to_range = 1e-7})) << mla_form_name(form);
  }
}

// How much a compressed row costs on unit-variance rows. The bounds are twice the errors measured.
TEST_F(MlaAttention, RowFormatsHaveBoundedError) {
  Matrix rows = Matrix::random(random_, 120, kSmall.kv_rank + kSmall.d_rope);
  Matrix q = Matrix::random(random_, 120, kSmall.n_heads * (kSmall.d_nope + kSmall.d_rope));
  const auto run = [&](RowFormat format) {
    const PagedOp op = layer_.op(*backend_, MlaForm::kAbsorbed, format);
    PagedBatch paged(*backend_, op.layout, {{0, 120}}, random_);
    backend_->store_rows(paged.batch(), rows.view(), paged.cache());
    Matrix out(120, op.out_cols);
    op.run(paged.batch(), q.view(), paged.cache(), out.view());
    return out.data;
  };
  const std::vector<float> exact = run(RowFormat::kF32);
  EXPECT_LT(range_error(run(RowFormat::kBF16), exact), 7e-3);
  EXPECT_LT(range_error(run(RowFormat::kInt8), exact), 1e-2);
  EXPECT_GT(range_error(run(RowFormat::kInt8), exact), 1e-5) << "int8 rows were not used";
  EXPECT_LT(range_error(run(RowFormat::kInt6), exact), 4e-2);
  EXPECT_GT(range_error(run(RowFormat::kInt6), exact), range_error(run(RowFormat::kInt8), exact));
  EXPECT_LT(range_error(run(RowFormat::kInt4), exact), 0.15);
  EXPECT_GT(range_error(run(RowFormat::kInt4), exact), range_error(run(RowFormat::kInt6), exact));
}

}  // namespace
}  // namespace mla
