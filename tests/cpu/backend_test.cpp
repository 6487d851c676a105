#include <sys/mman.h>
#include <unistd.h>

#include "cpu_test.h"
#include "support/forward_driver.h"
#include "support/golden.h"

namespace mla::test {
namespace {

TEST(CpuBackend, RefusesAnInstructionSetThatIsNotThere) {
  const Result<std::unique_ptr<Backend>> backend =
      make_cpu_backend({.n_threads = 1, .isa = static_cast<Isa>(99)});
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().kind, ErrorKind::kUsage);
  EXPECT_NE(backend.error().message.find(isa_name(available_isas().back())), std::string::npos);
}

TEST(CpuBackend, RefusesANegativeNumberOfThreads) {
  const Result<std::unique_ptr<Backend>> backend = make_cpu_backend({.n_threads = -1, .isa = Isa::kScalar});
  ASSERT_FALSE(backend.ok());
  EXPECT_EQ(backend.error().kind, ErrorKind::kUsage);
}

TEST(CpuBackend, SaysItsInstructionSet) {
  for (Isa isa : available_isas()) EXPECT_EQ(make_cpu(isa)->name(), isa_name(isa));
}

/// Memory whose last byte is followed by a page that must not be touched.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t n)
      : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), size_((n + page_ - 1) / page_ * page_) {
    base_ = static_cast<std::byte*>(
        mmap(nullptr, size_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + size_, page_, PROT_NONE);
    begin_ = base_ + size_ - n;
  }
  ~GuardedBytes() { munmap(base_, size_ + page_); }
  GuardedBytes(const GuardedBytes&) = delete;
  std::byte* data() { return begin_; }

 private:
  size_t page_, size_;
  std::byte* base_ = nullptr;
  std::byte* begin_ = nullptr;
};

using Guarded = CpuTest;
MLA_FOR_EVERY_ISA(Guarded);

TEST_P(Guarded, NothingIsReadBehindWeightsAndActivations) {
  for (DType dtype : weight_dtypes()) {
    const int64_t block = dtype_info(dtype).block_size;
    for (int64_t n_in : {block, 3 * block, block == 1 ? int64_t{45} : 2 * block}) {
      for (int64_t n_tokens : {1, 4, 14}) {
        HostWeight w = random_weight(random_, {3, n_in}, dtype);
        GuardedBytes bytes(w.bytes.size()), x_bytes(static_cast<size_t>(n_tokens * n_in) * 4),
            out(static_cast<size_t>(n_tokens * 3) * 4);
        std::memcpy(bytes.data(), w.bytes.data(), w.bytes.size());
        w.view.data = bytes.data();
        std::memset(x_bytes.data(), 0, static_cast<size_t>(n_tokens * n_in) * 4);
        const Activation x{reinterpret_cast<float*>(x_bytes.data()), n_tokens, n_in, n_in};
        const Activation y{reinterpret_cast<float*>(out.data()), n_tokens, 3, 3};
        cpu_->linear(x, *w.pack(*cpu_), nullptr, y);
        EXPECT_EQ(y.row(n_tokens - 1)[2], 0.0F);
      }
    }
  }
}

TEST_P(Guarded, NothingIsReadBehindRows) {
  for (int64_t n : {1, 3, 8, 15, 17, 33}) {
    GuardedBytes bytes(static_cast<size_t>(n) * 4), other(static_cast<size_t>(n) * 4);
    const Activation x{reinterpret_cast<float*>(bytes.data()), 1, n, n},
        y{reinterpret_cast<float*>(other.data()), 1, n, n};
    std::fill_n(x.data, n, 1.0F);
    std::fill_n(y.data, n, 1.0F);
    const HostWeight w = HostWeight::of({n}, std::vector<float>(static_cast<size_t>(n), 1.0F));
    cpu_->add(x, y);
    cpu_->silu_mul(x, y, y);
    cpu_->gelu(y, Gelu::kErf);
    cpu_->rms_norm(x, *w.pack(*cpu_), 0.0F, x);
    EXPECT_NEAR(x.data[n - 1], 1.0F, 1e-6F);
  }
}

/// Whole models on every instruction set against transformers' logits.
class CpuGolden : public testing::TestWithParam<GoldenCase> {};

TEST_P(CpuGolden, MatchesTransformersOnEveryIsa) {
  const Golden bundle = Golden::load(GetParam().golden);
  const std::vector<int32_t> ids = bundle.i32("ids");
  const std::vector<float> want = bundle.f32("logits");
  for (Isa isa : available_isas()) {
    SCOPED_TRACE(isa_name(isa));
    const auto backend = make_cpu(isa);
    const BoundModel model = open_and_bind(GetParam().checkpoint, *backend);
    EXPECT_LE(logit_error(logits_of(model, ids), want), 1e-4);
    EXPECT_LE(logit_error(logits_of(model, ids, {.form = MlaForm::kExpanded}, 7), want), 1e-4);
    EXPECT_LE(logit_error(logits_of(model, ids, {.form = MlaForm::kAbsorbed}, 1), want), 1e-4);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, CpuGolden, testing::ValuesIn(golden_cases()),
                         [](const testing::TestParamInfo<GoldenCase>& info) {
                           return test_name(info.param);
                         });

}  // namespace
}  // namespace mla::test
