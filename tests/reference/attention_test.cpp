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

PagedOp paged_op(Backend& backend, const AttentionSpec& spec, RowFormat format = RowFormat::kF32) {
  return {backend, RowLayout::gqa(format, spec.n_kv_heads, spec.d_k, spec.d_v), spec.n_heads * spec.d_k,
          spec.n_heads * spec.d_v,
          [&backend, spec](const Batch& batch, Activation q, const LayerRows& cache, Activation out) {
            backend.attention(batch, q, cache, spec, out);
          }};
}

/// One of the attention goldens as matrices.
struct DenseCase {
  AttentionSpec spec;
  bool causal = false;
  Matrix q, k, v;
  std::vector<float> out;

  explicit DenseCase(const std::string& name) {
    const Golden g = Golden::load("ops/attention_" + name + ".safetensors");
    const auto n = [&](const char* key) { return static_cast<int64_t>(g.number(key)); };
    spec = {n("n_heads"), n("n_kv_heads"), n("d_k"), n("d_v"), static_cast<float>(g.number("scale"))};
    causal = n("causal") != 0;
    q = Matrix::of(g.shape("q")[0], spec.n_heads * spec.d_k, g.f32("q"));
    k = Matrix::of(g.shape("k")[0], spec.n_kv_heads * spec.d_k, g.f32("k"));
    v = Matrix::of(g.shape("v")[0], spec.n_kv_heads * spec.d_v, g.f32("v"));
    out = g.f32("out");
  }
};

class Attention : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{5};
};

TEST_F(Attention, DenseEqualsPyTorch) {
  for (const char* name : {"self", "causal", "cross", "cross_one_key", "gqa_causal", "mqa_causal",
                           "gqa_cross", "gqa_past", "decode", "value_width", "value_wide"}) {
    DenseCase c(name);
    Matrix out(c.q.n_rows, c.spec.n_heads * c.spec.d_v, c.spec.n_heads * c.spec.d_v + 3);
    backend_->dense_attention({c.q.view(), c.k.view(), c.v.view(), out.view(), c.spec, c.causal});
    EXPECT_TRUE(all_close(out.packed(), c.out, {.relative_to_range = 3e-7})) << name;
    EXPECT_TRUE(out.gaps_intact());
  }
}

// The causal goldens again, through the cache: rows are [keys | values].
TEST_F(Attention, PagedEqualsPyTorch) {
  for (const char* name : {"causal", "gqa_causal", "mqa_causal", "gqa_past", "decode", "value_width"}) {
    DenseCase c(name);
    const PagedOp op = paged_op(*backend_, c.spec);
    Matrix rows(c.k.n_rows, op.layout.width());
    for (int64_t r = 0; r < rows.n_rows; ++r) {
      std::copy_n(c.k.view().row(r), c.k.n_cols, rows.view().row(r));
      std::copy_n(c.v.view().row(r), c.v.n_cols, rows.view().row(r) + c.k.n_cols);
    }
    const int64_t n_past = c.k.n_rows - c.q.n_rows;
    PagedBatch paged(*backend_, op.layout, {{n_past, c.q.n_rows}}, random_);
    paged.store_past(0, rows.view().rows(0, n_past));
    backend_->store_rows(paged.batch(), rows.view().rows(n_past, c.q.n_rows), paged.cache());
    Matrix out(c.q.n_rows, op.out_cols);
    op.run(paged.batch(), c.q.view(), paged.cache(), out.view());
    EXPECT_TRUE(all_close(out.data, c.out, {.relative_to_range = 3e-7})) << name;
  }
}

TEST_F(Attention, PagedHasTheProperties) {
  // MHA, GQA, MQA; values wider and narrower than keys.
  for (const AttentionSpec& spec :
       {AttentionSpec{3, 3, 5, 5, 0.4F}, AttentionSpec{6, 2, 4, 7, 0.5F}, AttentionSpec{5, 1, 6, 3, 0.4F}}) {
    SCOPED_TRACE(std::to_string(spec.n_heads) + " heads, " + std::to_string(spec.n_kv_heads) + " KV heads");
    const PagedOp op = paged_op(*backend_, spec);
    expect_chunked_equals_whole(op, kSameBits);
    expect_every_offset_equals_whole(op, kSameBits);
    expect_page_ids_do_not_matter(op);
    expect_ragged_equals_one_by_one(op, kSameBits);
    expect_nan_stays_where_it_belongs(op);
    expect_empty_batch_is_harmless(op);
  }
}

TEST_F(Attention, PagedHasThemForEveryRowFormat) {
  for (RowFormat format : {RowFormat::kBF16, RowFormat::kInt8, RowFormat::kInt6, RowFormat::kInt4}) {
    SCOPED_TRACE(row_format_name(format));
    const PagedOp op = paged_op(*backend_, {4, 2, 5, 3, 0.4F}, format);
    expect_chunked_equals_whole(op, kSameBits);
    expect_ragged_equals_one_by_one(op, kSameBits);
  }
}

// MQA and GQA are MHA with shared keys and values: repeating them for every head changes nothing.
TEST_F(Attention, GroupedEqualsRepeatedHeads) {
  const AttentionSpec gqa{6, 2, 5, 4, 0.4F};
  Matrix q = Matrix::random(random_, 9, 6 * 5), k = Matrix::random(random_, 9, 2 * 5),
         v = Matrix::random(random_, 9, 2 * 4);
  Matrix k_all(9, 6 * 5), v_all(9, 6 * 4);
  for (int64_t r = 0; r < 9; ++r) {
    for (int64_t h = 0; h < 6; ++h) {
      std::copy_n(k.view().row(r) + h / 3 * 5, 5, k_all.view().row(r) + h * 5);
      std::copy_n(v.view().row(r) + h / 3 * 4, 4, v_all.view().row(r) + h * 4);
    }
  }
  Matrix grouped(9, 6 * 4), repeated(9, 6 * 4);
  backend_->dense_attention({q.view(), k.view(), v.view(), grouped.view(), gqa, true});
  backend_->dense_attention(
      {q.view(), k_all.view(), v_all.view(), repeated.view(), {6, 6, 5, 4, 0.4F}, true});
  EXPECT_TRUE(all_equal(grouped.data, repeated.data));
}

// Causal with more queries than keys: the first queries see nothing and give zeros, the others are as always.
TEST_F(Attention, QueriesThatSeeNothingGiveZeros) {
  const AttentionSpec spec{2, 1, 3, 4, 0.5F};
  Matrix q = Matrix::random(random_, 5, 6), k = Matrix::random(random_, 2, 3),
         v = Matrix::random(random_, 2, 4);
  Matrix out(5, 8);
  backend_->dense_attention({q.view(), k.view(), v.view(), out.view(), spec, true});
  EXPECT_EQ(std::count(out.data.begin(), out.data.begin() + 3 * 8, 0.0F), 3 * 8);
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_FLOAT_EQ(out.view().row(3)[i], v.view().row(0)[i]) << "query 3 sees key 0 only";
  Matrix last(1, 8);
  backend_->dense_attention({q.view().rows(4, 1), k.view(), v.view(), last.view(), spec, false});
  EXPECT_TRUE(all_equal(std::span(out.data).subspan(4 * 8), last.data));
}

TEST_F(Attention, NoKeysGiveZerosAndNoQueriesNothing) {
  const AttentionSpec spec{2, 2, 3, 3, 0.5F};
  Matrix q = Matrix::random(random_, 3, 6), none(0, 6), out(3, 6);
  for (bool causal : {false, true}) {
    std::fill(out.data.begin(), out.data.end(), 7.0F);
    backend_->dense_attention({q.view(), none.view(), none.view(), out.view(), spec, causal});
    EXPECT_EQ(std::count(out.data.begin(), out.data.end(), 0.0F), 18);
    backend_->dense_attention({none.view(), q.view(), q.view(), none.view(), spec, causal});
  }
}

TEST_F(Attention, HugeScoresPickOneKey) {
  Matrix q = Matrix::of(2, 1, {1e4F, -1e4F}), k = Matrix::of(3, 1, {0.5F, 1.0F, -1.0F}),
         v = Matrix::random(random_, 3, 4);
  Matrix out(2, 4);
  backend_->dense_attention({q.view(), k.view(), v.view(), out.view(), {1, 1, 1, 4, 1.0F}, false});
  EXPECT_TRUE(all_equal(std::span(out.view().row(0), 4), std::span(v.view().row(1), 4)));
  EXPECT_TRUE(all_equal(std::span(out.view().row(1), 4), std::span(v.view().row(2), 4)));
}

TEST_F(Attention, EqualScoresGiveTheMeanOverALongContext) {
  constexpr int64_t kRows = 131072;
  const AttentionSpec spec{1, 1, 1, 1, 1.0F};
  const PagedOp op = paged_op(*backend_, spec);
  PagedBatch paged(*backend_, op.layout, {{kRows - 1, 1}}, random_);
  Matrix rows(kRows, 2);
  for (int64_t r = 0; r < kRows; ++r)
    rows.view().row(r)[0] = 0.0F, rows.view().row(r)[1] = static_cast<float>(r % 4);
  paged.store_past(0, rows.view().rows(0, kRows - 1));
  backend_->store_rows(paged.batch(), rows.view().rows(kRows - 1, 1), paged.cache());
  Matrix q = Matrix::of(1, 1, {3.0F}), out(1, 1);
  op.run(paged.batch(), q.view(), paged.cache(), out.view());
  EXPECT_FLOAT_EQ(out.data[0], 1.5F);
}

// A cache larger than 32-bit offsets reach. Only the touched pages are committed.
TEST_F(Attention, RowsBeyondFourGiBAreReached) {
  const AttentionSpec spec{1, 1, 2, 2, 1.0F};
  const RowLayout layout = RowLayout::gqa(RowFormat::kF32, 1, 2, 2);
  constexpr int64_t kPageStride = int64_t{1} << 30;
  const auto memory = backend_->allocate_pages(6 * kPageStride);
  if (!memory.ok()) GTEST_SKIP() << memory.error().message;
  const LayerRows cache{&layout, memory.value().get(), kPageStride};
  const std::vector<PageId> pages{5};
  const std::vector<int32_t> zero{0};
  const SequenceSlice slice{0, 1, 0, pages};
  const Batch batch{zero, zero, {&slice, 1}, {}};
  Matrix row = Matrix::of(1, 4, {1, 2, 3, 4}), q = Matrix::of(1, 2, {1, 1}), out(1, 2);
  backend_->store_rows(batch, row.view(), cache);
  backend_->attention(batch, q.view(), cache, spec, out.view());
  EXPECT_EQ(out.data, (std::vector<float>{3, 4}));
  EXPECT_EQ(reinterpret_cast<const float*>(memory.value().get() + 5 * kPageStride)[3], 4.0F);
}

}  // namespace
}  // namespace mla
