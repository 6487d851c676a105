#include <cmath>

#include "cpu_test.h"
#include "support/paged_properties.h"

namespace mla::test {
namespace {

constexpr Tolerance kRounding{.absolute = 1e-6, .relative_to_range = 5e-6};
constexpr RowFormat kFormats[] = {RowFormat::kF32, RowFormat::kBF16, RowFormat::kInt8, RowFormat::kInt6, RowFormat::kInt4};

/// Root mean square of got - want, of the range of want's magnitudes.
double rms_error(const std::vector<float>& got, const std::vector<float>& want) {
  double squares = 0.0, range = 0.0;
  for (size_t i = 0; i < want.size(); ++i) {
    squares += std::pow(static_cast<double>(got[i]) - want[i], 2.0);
    range = std::max(range, std::fabs(static_cast<double>(want[i])));
  }
  return want.empty() || range == 0.0 ? 0.0 : std::sqrt(squares / static_cast<double>(want.size())) / range;
}
constexpr double kRmsOfBf16 = 1.5e-3;

/// For two results that are each off by so much.
Tolerance twice(Tolerance t) {
  return {.absolute = 2 * t.absolute, .relative_to_range = 2 * t.relative_to_range};
}

/// An attention over pages, on the CPU backend or on the reference.
using PagedCall = std::function<void(Backend&, const Batch&, Activation q, const LayerRows&, Activation out)>;

class AttentionTest : public CpuTest {
 protected:
  /// Both backends on one random ragged batch: rows stored by each (the bytes must be the same), then
  /// attended to.
  void compare(const RowLayout& layout, int64_t q_cols, int64_t out_cols,
               const std::vector<SequenceShape>& shapes, const PagedCall& call, Backend& cpu,
               float q_scale = 1.0F, Tolerance tolerance = kRounding) {
    const uint64_t seed = static_cast<uint64_t>(random_.integer(0, 1 << 30));
    Random a(seed), b(seed);
    PagedBatch got_batch(cpu, layout, shapes, a), want_batch(*reference_, layout, shapes, b);
    Random history_a(seed + 1), history_b(seed + 1);
    got_batch.store_random_past(history_a);
    want_batch.store_random_past(history_b);
    const int64_t n = got_batch.n_tokens();
    Matrix rows = Matrix::random(random_, n, layout.width()),
           q = Matrix::random(random_, n, q_cols, q_scale, q_cols + 3);
    Matrix got(n, out_cols, out_cols + 5), want(n, out_cols);
    cpu.store_rows(got_batch.batch(), rows.view(), got_batch.cache());
    reference_->store_rows(want_batch.batch(), rows.view(), want_batch.cache());
    for (size_t s = 0; s < shapes.size(); ++s) {
      for (int64_t r = 0; r < shapes[s].n_past + shapes[s].n_new; ++r) {
        ASSERT_EQ(std::memcmp(got_batch.cache().row(got_batch.batch().sequences[s], r),
                              want_batch.cache().row(want_batch.batch().sequences[s], r),
                              static_cast<size_t>(layout.row_bytes())),
                  0);
      }
    }
    call(cpu, got_batch.batch(), q.view(), got_batch.cache(), got.view());
    call(*reference_, want_batch.batch(), q.view(), want_batch.cache(), want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, rounding_of(layout.format(), tolerance)));
    EXPECT_LE(rms_error(got.packed(), want.data), kRmsOfBf16);  // a sharper bound than the worst value's
    EXPECT_TRUE(got.gaps_intact());
  }
};

PagedCall gqa(const AttentionSpec& spec) {
  return [spec](Backend& b, const Batch& batch, Activation q, const LayerRows& cache, Activation out) {
    b.attention(batch, q, cache, spec, out);
  };
}

class Gqa : public AttentionTest {};
MLA_FOR_EVERY_ISA(Gqa);

TEST_P(Gqa, EveryGroupingFormatAndWidth) {
  const AttentionSpec specs[] = {{.n_heads = 4, .n_kv_heads = 4, .d_k = 16, .d_v = 16, .scale = 0.25F},
                                 {.n_heads = 6, .n_kv_heads = 2, .d_k = 19, .d_v = 33, .scale = 0.2F},
                                 {.n_heads = 7, .n_kv_heads = 1, .d_k = 64, .d_v = 5, .scale = 0.125F},
                                 {.n_heads = 2, .n_kv_heads = 1, .d_k = 1, .d_v = 1, .scale = 1.0F},
                                 {.n_heads = 32, .n_kv_heads = 2, .d_k = 128, .d_v = 128, .scale = 0.088F}};
  for (const AttentionSpec& spec : specs) {
    for (RowFormat format : kFormats) {
      SCOPED_TRACE(std::string(row_format_name(format)) + " heads " + std::to_string(spec.n_heads) + " d_k " +
                   std::to_string(spec.d_k));
      const RowLayout layout = RowLayout::gqa(format, spec.n_kv_heads, spec.d_k, spec.d_v);
      compare(layout, spec.n_heads * spec.d_k, spec.n_heads * spec.d_v, random_sequences(random_, 5, 140, 20),
              gqa(spec), *cpu_);
      compare(layout, spec.n_heads * spec.d_k, spec.n_heads * spec.d_v,
              {{0, 1}, {0, 150}, {63, 2}, {500, 1}, {64, 64}}, gqa(spec), *cpu_);
    }
  }
}

TEST_P(Gqa, LongContextIsCutIntoRanges) {
  const AttentionSpec spec{.n_heads = 4, .n_kv_heads = 2, .d_k = 8, .d_v = 8, .scale = 0.35F};
  compare(RowLayout::gqa(RowFormat::kBF16, 2, 8, 8), 32, 32, {{9000, 1}, {5000, 3}, {128, 1}, {127, 1}},
          gqa(spec), *cpu_);
}

TEST_P(Gqa, HugeScores) {
  const AttentionSpec spec{.n_heads = 4, .n_kv_heads = 2, .d_k = 16, .d_v = 16, .scale = 1.0F};
  compare(RowLayout::gqa(RowFormat::kF32, 2, 16, 16), 64, 64, {{200, 3}, {0, 70}}, gqa(spec), *cpu_, 2000.0F);
}

TEST_P(Gqa, Properties) {
  const AttentionSpec spec{.n_heads = 6, .n_kv_heads = 2, .d_k = 12, .d_v = 20, .scale = 0.3F};
  for (RowFormat format : kFormats) {
    SCOPED_TRACE(row_format_name(format));
    const PagedOp op{*cpu_, RowLayout::gqa(format, 2, 12, 20), 72, 120,
                     [&](const Batch& batch, Activation q, const LayerRows& cache, Activation out) {
                       cpu_->attention(batch, q, cache, spec, out);
                     }};
    expect_chunked_equals_whole(op, twice(rounding_of(format, kRounding)));
    expect_every_offset_equals_whole(op, twice(rounding_of(format, kRounding)));
    expect_page_ids_do_not_matter(op);
    expect_ragged_equals_one_by_one(op, Tolerance{});
    expect_nan_stays_where_it_belongs(op);
    expect_empty_batch_is_harmless(op);
  }
}

struct MlaLayer {
  MlaSpec spec;
  HostWeight k_up, v_up;

  MlaLayer(Random& random, MlaSpec s, DType dtype = DType::kF32)
      : spec(s),
        k_up(random_weight(random, {s.n_heads, s.kv_rank, s.d_nope}, dtype)),
        v_up(random_weight(random, {s.n_heads, s.d_v, s.kv_rank}, dtype)) {}
  MlaProjections pack(Backend& b) const { return {k_up.pack(b), v_up.pack(b)}; }
  int64_t q_cols() const { return spec.n_heads * (spec.d_nope + spec.d_rope); }
  int64_t out_cols() const { return spec.n_heads * spec.d_v; }
  PagedCall call(MlaForm form) const {
    return [this, form](Backend& b, const Batch& batch, Activation q, const LayerRows& cache,
                        Activation out) { b.mla_attention(batch, q, cache, spec, pack(b), form, out); };
  }
};
constexpr MlaForm kForms[] = {MlaForm::kExpanded, MlaForm::kAbsorbed, MlaForm::kAuto};

class Mla : public AttentionTest {};
MLA_FOR_EVERY_ISA(Mla);

TEST_P(Mla, BothFormsAndAllTypesMatchTheReference) {
  const MlaSpec specs[] = {
      {.n_heads = 3, .kv_rank = 10, .d_nope = 6, .d_rope = 4, .d_v = 5, .scale = 0.1F},
      {.n_heads = 16, .kv_rank = 64, .d_nope = 32, .d_rope = 16, .d_v = 32, .scale = 0.02F},
      {.n_heads = 1, .kv_rank = 33, .d_nope = 17, .d_rope = 2, .d_v = 40, .scale = 0.05F},
      {.n_heads = 37, .kv_rank = 64, .d_nope = 32, .d_rope = 32, .d_v = 48, .scale = 0.02F}};
  for (const MlaSpec& spec : specs) {
    const MlaLayer layer(random_, spec);
    for (RowFormat format : kFormats) {
      for (MlaForm form : kForms) {
        SCOPED_TRACE(std::string(row_format_name(format)) + " " + std::string(mla_form_name(form)) +
                     " heads " + std::to_string(spec.n_heads));
        const RowLayout layout = RowLayout::mla(format, spec.kv_rank, spec.d_rope);
        compare(layout, layer.q_cols(), layer.out_cols(), random_sequences(random_, 5, 140, 20),
                layer.call(form), *cpu_);
        compare(layout, layer.q_cols(), layer.out_cols(), {{0, 1}, {0, 90}, {300, 1}, {64, 5}},
                layer.call(form), *cpu_);
      }
    }
  }
}

TEST_P(Mla, QuantisedProjections) {
  const MlaSpec spec{.n_heads = 4, .kv_rank = 256, .d_nope = 32, .d_rope = 8, .d_v = 24, .scale = 0.02F};
  for (DType dtype : {DType::kQ4_0, DType::kQ8_0, DType::kQ5_0, DType::kBF16}) {  // d_nope is too short for K types
    const MlaLayer layer(random_, spec, dtype);
    for (MlaForm form : kForms) {
      SCOPED_TRACE(std::string(dtype_info(dtype).name) + " " + std::string(mla_form_name(form)));
      compare(RowLayout::mla(RowFormat::kBF16, 256, 8), layer.q_cols(), layer.out_cols(), {{70, 1}, {0, 40}},
              layer.call(form), *cpu_, 1.0F, rounding_of(dtype, kRounding));
    }
  }
}

TEST_P(Mla, Properties) {
  const MlaLayer layer(random_,
                       {.n_heads = 3, .kv_rank = 24, .d_nope = 6, .d_rope = 4, .d_v = 5, .scale = 0.1F});
  const MlaProjections projections = layer.pack(*cpu_);
  for (MlaForm form : kForms) {
    for (RowFormat format : kFormats) {
      SCOPED_TRACE(std::string(mla_form_name(form)) + " " + std::string(row_format_name(format)));
      const PagedOp op{*cpu_, RowLayout::mla(format, 24, 4), layer.q_cols(), layer.out_cols(),
                       [&](const Batch& batch, Activation q, const LayerRows& cache, Activation out) {
                         cpu_->mla_attention(batch, q, cache, layer.spec, projections, form, out);
                       }};
      expect_chunked_equals_whole(op, twice(rounding_of(format, kF32Rounding)));
      expect_every_offset_equals_whole(op, twice(rounding_of(format, kF32Rounding)));
      expect_page_ids_do_not_matter(op);
      expect_ragged_equals_one_by_one(op, kRounding);
      expect_nan_stays_where_it_belongs(op);
      expect_empty_batch_is_harmless(op);
    }
  }
}

TEST_P(Mla, ThreadsDoNotChangeABit) {
  const MlaLayer layer(random_,
                       {.n_heads = 8, .kv_rank = 64, .d_nope = 32, .d_rope = 16, .d_v = 32, .scale = 0.02F});
  for (MlaForm form : {MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    std::vector<float> want;
    for (int n_threads : {1, 2, 3, 4}) {
      const auto backend = make_cpu(GetParam(), n_threads);
      Random random(5);
      PagedBatch paged(*backend, RowLayout::mla(RowFormat::kBF16, 64, 16), {{700, 1}, {0, 80}, {300, 9}},
                       random);
      paged.store_random_past(random);
      Matrix rows = Matrix::random(random, paged.n_tokens(), 80),
             q = Matrix::random(random, paged.n_tokens(), layer.q_cols());
      Matrix out(paged.n_tokens(), layer.out_cols());
      backend->store_rows(paged.batch(), rows.view(), paged.cache());
      backend->mla_attention(paged.batch(), q.view(), paged.cache(), layer.spec, layer.pack(*backend), form,
                             out.view());
      if (want.empty()) want = out.data;
      EXPECT_TRUE(all_equal(out.data, want)) << n_threads << " threads";
    }
  }
}

using RowFormats = CpuTest;
MLA_FOR_EVERY_ISA(RowFormats);

TEST_P(RowFormats, SameBytesAsTheSpecificationForEveryWidthAndOddValue) {
  const std::vector<float> odd = {0.0F, -0.0F, 1e-40F, -1e-42F, 3e38F, -1e4F, 1e-30F, 65504.0F};
  for (RowFormat format : kFormats) {
    for (int64_t width = 1; width <= 257; width += width < 40 ? 1 : 31) {
      for (int kind = 0; kind < 5; ++kind) {
        const RowLayout layout = RowLayout::mla(format, width, 6);
        Matrix rows = Matrix::random(random_, 1, layout.width());
        const auto at = static_cast<size_t>(random_.integer(0, width - 1));
        if (kind == 1) rows.data[at] = odd[static_cast<size_t>(random_.integer(0, 7))];
        if (kind == 2) rows.data[at] = std::nanf("");
        if (kind == 3) rows.data[at] = -std::numeric_limits<float>::infinity();
        if (kind == 4) std::fill(rows.data.begin(), rows.data.end(), width % 2 == 0 ? 0.0F : 1e-44F);
        Random random(1);
        PagedBatch paged(*cpu_, layout, {{0, 1}}, random);
        cpu_->store_rows(paged.batch(), rows.view(), paged.cache());
        std::vector<std::byte> want(static_cast<size_t>(layout.row_bytes()), std::byte{0xff});
        encode_row(layout, rows.data.data(), want.data());
        EXPECT_EQ(std::memcmp(paged.cache().row(paged.batch().sequences[0], 0), want.data(), want.size()), 0)
            << row_format_name(format) << " width " << width << " kind " << kind;
      }
    }
  }
}

TEST_P(RowFormats, DecodesAsTheSpecification) {
  const cpu::Kernels& kernels = cpu::kernels_for(GetParam());
  for (RowFormat format : kFormats) {
    for (int64_t width = 1; width <= 200; width += width < 70 ? 1 : 13) {
      const RowLayout layout = RowLayout::mla(format, width, 6);
      std::vector<std::byte> row(static_cast<size_t>(layout.row_bytes()));
      for (std::byte& b : row) b = static_cast<std::byte>(random_.integer(0, 255));  // any bytes are a row
      std::vector<float> want(static_cast<size_t>(layout.width())), got(want.size() + 1, 7.0F);
      decode_row(layout, row.data(), 0, layout.width(), want.data());
      for (const RowSegment& s : layout.segments())
        kernels.decode_segment(s, reinterpret_cast<const uint8_t*>(row.data()), got.data() + s.first);
      EXPECT_EQ(got.back(), 7.0F) << "wrote past the segment";
      got.pop_back();
      EXPECT_TRUE(all_equal(got, want)) << row_format_name(format) << " width " << width;
    }
  }
}

using DenseAttention = CpuTest;
MLA_FOR_EVERY_ISA(DenseAttention);

TEST_P(DenseAttention, SelfMaskedAndCross) {
  for (int64_t n_q : {0, 1, 5, 63, 65, 130}) {
    for (int64_t n_kv : {0, 1, 4, 64, 129}) {
      for (bool causal : {false, true}) {
        const AttentionSpec spec{.n_heads = 4, .n_kv_heads = 2, .d_k = 9, .d_v = 18, .scale = 0.3F};
        Matrix q = Matrix::random(random_, n_q, 36, 1.0F, 37),
               k = Matrix::random(random_, n_kv, 18, 1.0F, 20), v = Matrix::random(random_, n_kv, 36);
        Matrix got(n_q, 72, 75), want(n_q, 72);
        cpu_->dense_attention({q.view(), k.view(), v.view(), got.view(), spec, causal});
        reference_->dense_attention({q.view(), k.view(), v.view(), want.view(), spec, causal});
        EXPECT_TRUE(all_close(got.packed(), want.data, kRounding)) << n_q << " " << n_kv << " " << causal;
        EXPECT_TRUE(got.gaps_intact());
      }
    }
  }
}

using AdditiveAttention = CpuTest;
MLA_FOR_EVERY_ISA(AdditiveAttention);

TEST_P(AdditiveAttention, WithMaskBiasAndWeights) {
  const HostWeight w_query = HostWeight::random(random_, {21, 10}),
                   w_key = HostWeight::random(random_, {21, 7});
  const HostWeight bias = HostWeight::random(random_, {21}), v = HostWeight::random(random_, {21});
  for (int64_t n_valid : {-1, 0, 1, 5}) {
    for (bool with_bias : {false, true}) {
      Matrix query = Matrix::random(random_, 6, 10), keys = Matrix::random(random_, 9, 7);
      std::vector<std::vector<float>> results;
      for (Backend* b : {cpu_.get(), reference_.get()}) {
        Matrix out(6, 7), weights(6, 9);
        b->additive_attention({query.view(), keys.view(), out.view(), w_query.pack(*b), w_key.pack(*b),
                               with_bias ? bias.pack(*b) : nullptr, v.pack(*b), n_valid, weights.view()});
        results.push_back(out.data);
        results.push_back(weights.data);
      }
      EXPECT_TRUE(all_close(results[0], results[2], kRounding)) << n_valid;
      EXPECT_TRUE(all_close(results[1], results[3], kRounding)) << n_valid;
    }
  }
}

}  // namespace
}  // namespace mla::test
