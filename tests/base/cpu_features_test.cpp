#include "base/cpu_features.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace mla {
namespace {
using testing::HasSubstr;

/// Sets MLA_ISA, or removes it (null), until the end of the scope.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* value) : had_(std::getenv("MLA_ISA") != nullptr) {
    if (had_) before_ = std::getenv("MLA_ISA");
    set(value);
  }
  ~ForcedIsa() { set(had_ ? before_.c_str() : nullptr); }
  ForcedIsa(const ForcedIsa&) = delete;

 private:
  static void set(const char* value) {
    if (value == nullptr) {
      ::unsetenv("MLA_ISA");
    } else {
      ::setenv("MLA_ISA", value, 1);
    }
  }
  bool had_;
  std::string before_;
};

TEST(CpuFeatures, WiderSetsNeedTheNarrowerOnes) {
  const CpuFeatures& f = cpu_features();
  EXPECT_FALSE(f.vendor.empty());
  EXPECT_FALSE(f.model.empty());
  EXPECT_TRUE(f.avx2 || !f.avx512);
  EXPECT_TRUE(f.avx512 || !(f.avx512_vnni || f.avx512_bf16));
  EXPECT_TRUE(f.amx_tile || !(f.amx_bf16 || f.amx_int8));
  const std::vector<Isa> isas = available_isas();
  EXPECT_EQ(isas.front(), Isa::kScalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  EXPECT_EQ(std::count(isas.begin(), isas.end(), Isa::kAvx512), f.avx512 ? 1 : 0);
}

TEST(CpuFeatures, ChoosesTheBestUnlessOneIsForced) {
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    const ForcedIsa forced(unset);
    EXPECT_EQ(choose_isa().value(), available_isas().back());
  }
  for (const Isa isa : available_isas()) {
    const ForcedIsa forced(std::string(isa_name(isa)).c_str());
    EXPECT_EQ(choose_isa().value(), isa);
  }
}

TEST(CpuFeatures, KR09_ForcedSetsThatCannotRunAreUsageErrors) {
  const ForcedIsa unknown("sse9");
  const auto refused = choose_isa();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(refused.error().message, HasSubstr("MLA_ISA=sse9"));
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmx}) {
    const std::vector<Isa> isas = available_isas();
    if (std::count(isas.begin(), isas.end(), isa) > 0) continue;
    const ForcedIsa forced(std::string(isa_name(isa)).c_str());
    EXPECT_THAT(choose_isa().error().message, HasSubstr("lacks"));
  }
}

TEST(CpuFeatures, SaysWhyNothingBetterWasChosen) {
  EXPECT_TRUE(refused_isas(Isa::kAmx).empty());
  const std::vector<std::string> lines = refused_isas(Isa::kScalar);
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_THAT(lines[0], HasSubstr(cpu_features().avx2 ? "avx2: available" : "avx2: this machine lacks"));
}

}  // namespace
}  // namespace mla
