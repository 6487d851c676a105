#include "ops/attention.h"

#include <gtest/gtest.h>

namespace mla {
namespace {

constexpr MlaSpec kDeepSeekV3{
    .n_heads = 128, .kv_rank = 512, .d_nope = 128, .d_rope = 64, .d_v = 128, .scale = 0.135234F};

MlaForm automatic(const MlaSpec& spec, int64_t n_past, int64_t n_new) {
  return choose_mla_form(spec, {.n_new = n_new, .n_past = n_past}, MlaForm::kAuto);
}

TEST(MlaForm, HasNames) {
  for (MlaForm form : {MlaForm::kAuto, MlaForm::kExpanded, MlaForm::kAbsorbed}) {
    const Result<MlaForm> named = mla_form_from_name(mla_form_name(form));
    ASSERT_TRUE(named.ok());
    EXPECT_EQ(named.value(), form);
  }
  const Result<MlaForm> bad = mla_form_from_name("folded");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().kind, ErrorKind::kUsage);
  EXPECT_NE(bad.error().message.find("'folded'"), std::string::npos);
}

TEST(MlaCost, CountsTheOperationsOfEachForm) {
  // 2 heads, rank 3, nope 4, rope 5, v 6; 2 queries over 7 rows, 13 pairs.
  const MlaSpec spec{.n_heads = 2, .kv_rank = 3, .d_nope = 4, .d_rope = 5, .d_v = 6};
  const MlaCost cost = mla_cost(spec, 2, 7, 13);
  EXPECT_EQ(cost.expanded, 2.0 * 2 * (7 * 3 * (4 + 6) + 13 * (4 + 5 + 6)));
  EXPECT_EQ(cost.absorbed, 2.0 * 2 * (2 * 3 * (4 + 6) + 13 * (3 + 5 + 3)));
}

TEST(MlaCost, PrefersAbsorbedForDecodeAndExpandedForLongPrompts) {
  EXPECT_EQ(automatic(kDeepSeekV3, 4095, 1), MlaForm::kAbsorbed);
  EXPECT_EQ(automatic(kDeepSeekV3, 0, 4096), MlaForm::kExpanded);
  EXPECT_EQ(automatic(kDeepSeekV3, 4096, 1024), MlaForm::kExpanded);
}

// For T new tokens over a long past the forms break even at T (2 kv_rank - d_nope - d_v) = kv_rank (d_nope +
// d_v) (1 - T / rows): about 171 tokens for DeepSeek-V3's dimensions.
TEST(MlaCost, BreaksEvenNear171TokensForDeepSeekV3) {
  const int64_t past = int64_t{1} << 40;
  EXPECT_EQ(automatic(kDeepSeekV3, past, 170), MlaForm::kAbsorbed);
  EXPECT_EQ(automatic(kDeepSeekV3, past, 171), MlaForm::kExpanded);
}

struct BreakEven {
  int64_t n_past, n_new;
};

// The table of docs/mla.md, section 5. The number of heads does not matter: V2-Lite (16) and Kimi-K2 (64) are V3.
TEST(MlaBreakEven, IsWhatTheDocumentationSays) {
  constexpr BreakEven kV3[] = {{0, 1}, {64, 97}, {256, 135}, {1024, 159}, {4096, 168}, {16384, 170}, {65536, 171}};
  constexpr BreakEven kGlm47Flash[] = {{0, 1}, {64, 171}, {256, 263}, {1024, 342}, {4096, 381}, {16384, 394}, {65536, 398}};
  for (const int64_t n_heads : {16, 64, 128}) {
    MlaSpec spec = kDeepSeekV3;
    spec.n_heads = n_heads;
    for (const BreakEven& b : kV3) EXPECT_EQ(mla_break_even(spec, b.n_past), b.n_new) << n_heads << " heads, " << b.n_past;
  }
  constexpr MlaSpec kGlm{.n_heads = 20, .kv_rank = 512, .d_nope = 192, .d_rope = 64, .d_v = 256, .scale = 0.0625F};
  for (const BreakEven& b : kGlm47Flash) EXPECT_EQ(mla_break_even(kGlm, b.n_past), b.n_new) << b.n_past;
}

TEST(MlaBreakEven, IsWhereTheCostsCross) {
  for (const int64_t n_past : {1, 63, 1000, 30000}) {
    const std::optional<int64_t> n = mla_break_even(kDeepSeekV3, n_past);
    ASSERT_TRUE(n.has_value());
    const auto expanding_gains = [&](int64_t n_new) {
      const SequenceSlice s{.n_new = n_new, .n_past = n_past};
      const MlaCost cost = mla_cost(kDeepSeekV3, s.n_new, s.n_rows(), s.n_pairs());
      return cost.expanded < cost.absorbed;
    };
    EXPECT_TRUE(expanding_gains(*n)) << n_past;
    EXPECT_FALSE(expanding_gains(*n - 1)) << n_past;
  }
}

// Heads as wide as their latent: a pair costs as much in both forms, and absorbing expands no rows.
TEST(MlaBreakEven, NeedNotExist) {
  constexpr MlaSpec kWide{.n_heads = 2, .kv_rank = 64, .d_nope = 64, .d_rope = 16, .d_v = 64, .scale = 0.1F};
  for (const int64_t n_past : {int64_t{0}, int64_t{100}, int64_t{1} << 40}) {
    EXPECT_EQ(mla_break_even(kWide, n_past), std::nullopt) << n_past;
  }
}

}  // namespace
}  // namespace mla
