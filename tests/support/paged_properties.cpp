#include "support/paged_properties.h"

#include <cmath>
#include <limits>
#include <vector>

#include "support/random.h"

namespace mla::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// One sequence of n rows, and what the operation gives when all of them are new.
struct Sequence {
  Matrix rows, q;

  Sequence(const PagedOp& op, int64_t n, uint64_t seed) {
    Random random(seed);
    rows = Matrix::random(random, n, op.layout.width());
    q = Matrix::random(random, n, op.q_cols);
  }
};

/// Runs the op on the new rows of a sequence whose first n_past rows are cached: out [n_new, out_cols].
std::vector<float> run_part(const PagedOp& op, Sequence& s, int64_t n_past, int64_t n_new,
                            uint64_t page_seed) {
  Random random(page_seed);
  PagedBatch paged(op.backend, op.layout, {{n_past, n_new}}, random);
  paged.store_past(0, s.rows.view().rows(0, n_past));
  op.backend.store_rows(paged.batch(), s.rows.view().rows(n_past, n_new), paged.cache());
  Matrix out(n_new, op.out_cols);
  op.run(paged.batch(), s.q.view().rows(n_past, n_new), paged.cache(), out.view());
  return out.data;
}

std::vector<float> rows_of(const std::vector<float>& values, int64_t n_cols, int64_t first, int64_t n) {
  return {values.begin() + first * n_cols, values.begin() + (first + n) * n_cols};
}

testing::AssertionResult agree(const std::vector<float>& got, const std::vector<float>& want,
                               Tolerance tolerance) {
  const bool exact = tolerance.absolute == 0.0 && tolerance.relative_to_range == 0.0;
  return exact ? all_equal(got, want) : all_close(got, want, tolerance);
}

bool any_nan(const std::vector<float>& values, int64_t n_cols, int64_t row) {
  for (int64_t i = 0; i < n_cols; ++i) {
    if (std::isnan(values[static_cast<size_t>(row * n_cols + i)])) return true;
  }
  return false;
}

}  // namespace

void expect_chunked_equals_whole(const PagedOp& op, Tolerance tolerance) {
  constexpr int64_t kRows = 150;
  Sequence s(op, kRows, 11);
  const std::vector<float> whole = run_part(op, s, 0, kRows, 12);
  for (int64_t chunk : {1, 7, 63, 64, 65, 128}) {
    SCOPED_TRACE("chunks of " + std::to_string(chunk));
    for (int64_t at = 0; at < kRows; at += chunk) {
      const int64_t n = std::min(chunk, kRows - at);
      EXPECT_TRUE(agree(run_part(op, s, at, n, 13), rows_of(whole, op.out_cols, at, n), tolerance))
          << "from row " << at;
    }
  }
}

void expect_every_offset_equals_whole(const PagedOp& op, Tolerance tolerance) {
  constexpr int64_t kOffsets = 131;
  Sequence s(op, kOffsets + 3, 21);
  const std::vector<float> whole = run_part(op, s, 0, kOffsets + 3, 22);
  for (int64_t n_past = 0; n_past < kOffsets; ++n_past) {
    for (int64_t n_new : {1, 3}) {
      const std::vector<float> want = rows_of(whole, op.out_cols, n_past, n_new);
      EXPECT_TRUE(agree(run_part(op, s, n_past, n_new, 23), want, tolerance))
          << n_past << " past, " << n_new << " new";
    }
  }
}

void expect_page_ids_do_not_matter(const PagedOp& op) {
  Sequence s(op, 300, 31);
  const std::vector<float> first = run_part(op, s, 290, 10, 1);
  for (uint64_t seed = 2; seed < 6; ++seed)
    EXPECT_TRUE(all_equal(run_part(op, s, 290, 10, seed), first)) << seed;
}

void expect_ragged_equals_one_by_one(const PagedOp& op, Tolerance tolerance) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(40 + seed);
    std::vector<SequenceShape> shapes = random_sequences(random, 6, 140, 20);
    shapes.insert(shapes.begin() + random.integer(0, 6), {random.integer(0, 70), 0});
    shapes.push_back({0, 0});
    PagedBatch paged(op.backend, op.layout, shapes, random);
    paged.store_random_past(random);
    Matrix rows = Matrix::random(random, paged.n_tokens(), op.layout.width());
    Matrix q = Matrix::random(random, paged.n_tokens(), op.q_cols, 1.0F, op.q_cols + 3);
    Matrix out(paged.n_tokens(), op.out_cols, op.out_cols + 5);
    op.backend.store_rows(paged.batch(), rows.view(), paged.cache());
    op.run(paged.batch(), q.view(), paged.cache(), out.view());
    EXPECT_TRUE(out.gaps_intact());
    for (size_t i = 0; i < shapes.size(); ++i) {
      const SequenceSlice& slice = paged.batch().sequences[i];
      PagedBatch::Single alone;
      paged.single(static_cast<int64_t>(i), 0, slice.n_new, alone);
      Matrix got(slice.n_new, op.out_cols);
      op.run(alone.batch, q.view().rows(slice.first_token, slice.n_new), paged.cache(), got.view());
      EXPECT_TRUE(
          agree(rows_of(out.packed(), op.out_cols, slice.first_token, slice.n_new), got.data, tolerance))
          << "sequence " << i << ": " << shapes[i].n_past << " past, " << shapes[i].n_new << " new";
    }
  }
}

void expect_nan_stays_where_it_belongs(const PagedOp& op) {
  constexpr int64_t kRows = 70;
  constexpr int64_t kBad = 66;
  Sequence bad_row(op, kRows, 51);
  bad_row.rows.view().row(kBad)[0] = kNan;
  std::vector<float> out = run_part(op, bad_row, 0, kRows, 52);
  for (int64_t t = 0; t < kRows; ++t) EXPECT_EQ(any_nan(out, op.out_cols, t), t >= kBad) << "token " << t;

  Sequence bad_query(op, kRows, 53);
  bad_query.q.view().row(kBad)[0] = kNan;
  out = run_part(op, bad_query, 0, kRows, 54);
  for (int64_t t = 0; t < kRows; ++t) EXPECT_EQ(any_nan(out, op.out_cols, t), t == kBad) << "token " << t;
}

void expect_empty_batch_is_harmless(const PagedOp& op) {
  for (const std::vector<SequenceShape>& shapes :
       {std::vector<SequenceShape>{}, {{0, 0}}, {{5, 0}, {64, 0}}}) {
    Random random(61);
    PagedBatch paged(op.backend, op.layout, shapes, random);
    paged.store_random_past(random);
    Matrix rows(0, op.layout.width()), q(0, op.q_cols), out(0, op.out_cols);
    op.backend.store_rows(paged.batch(), rows.view(), paged.cache());
    op.run(paged.batch(), q.view(), paged.cache(), out.view());
    EXPECT_TRUE(out.data.empty());
  }
}

}  // namespace mla::test
