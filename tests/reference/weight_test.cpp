#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

class Pack : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{29};

  void expect_refused(const Result<Weight>& weight, const std::string& part) {
    ASSERT_FALSE(weight.ok());
    EXPECT_EQ(weight.error().kind, ErrorKind::kInvalidFile);
    EXPECT_NE(weight.error().message.find(part), std::string::npos) << weight.error().message;
    EXPECT_NE(weight.error().message.find("'test'"), std::string::npos) << weight.error().message;
  }
};

TEST_F(Pack, KnowsShapesAndBytes) {
  const HostWeight vector = HostWeight::random(random_, {5});
  const HostWeight matrix = HostWeight::random(random_, {3, 32}, 1.0F, DType::kQ8_0);
  const HostWeight stack = HostWeight::random(random_, {2, 3, 5}, 1.0F, DType::kBF16);
  const Weight v = vector.pack(*backend_), m = matrix.pack(*backend_), s = stack.pack(*backend_);
  EXPECT_EQ(v->n_stack, 1);
  EXPECT_EQ(v->n_out, 1);
  EXPECT_EQ(v->n_in, 5);
  EXPECT_EQ(m->n_stack, 1);
  EXPECT_EQ(m->n_out, 3);
  EXPECT_EQ(m->n_in, 32);
  EXPECT_EQ(m->file_bytes, 3 * 34);
  EXPECT_EQ(m->dtype, DType::kQ8_0);
  EXPECT_EQ(s->n_stack, 2);
  EXPECT_EQ(s->n_out, 3);
  EXPECT_EQ(s->n_in, 5);
  EXPECT_EQ(s->file_bytes, 60);
  EXPECT_EQ(s->owned_bytes, 0) << "the file's bytes are used in place";
}

TEST_F(Pack, RefusesWhatIsNoWeight) {
  const std::vector<std::byte> bytes(4096);
  const TensorView ids{.name = "test", .dtype = DType::kI32, .shape = {4}, .data = bytes.data()};
  const TensorView scalar{.name = "test", .dtype = DType::kF32, .shape = {}, .data = bytes.data()};
  const TensorView deep{.name = "test", .dtype = DType::kF32, .shape = {2, 2, 2, 2}, .data = bytes.data()};
  const TensorView ragged{.name = "test", .dtype = DType::kQ8_0, .shape = {2, 33}, .data = bytes.data()};
  expect_refused(backend_->pack(ids), "element type");
  expect_refused(backend_->pack(scalar), "dimensions");
  expect_refused(backend_->pack(deep), "[2, 2, 2, 2]");
  expect_refused(backend_->pack(ragged), "block of 32");
}

TEST_F(Pack, RefusesStacksOfUnlikeMatrices) {
  const HostWeight a = HostWeight::random(random_, {2, 3}), b = HostWeight::random(random_, {3, 2});
  const HostWeight c = HostWeight::random(random_, {2, 3}, 1.0F, DType::kBF16),
                   v = HostWeight::random(random_, {6});
  expect_refused(backend_->pack_stack(std::vector<TensorView>{a.view, b.view}), "[3, 2]");
  expect_refused(backend_->pack_stack(std::vector<TensorView>{a.view, c.view}), "BF16");
  expect_refused(backend_->pack_stack(std::vector<TensorView>{v.view}), "2 dimensions");
  EXPECT_FALSE(backend_->pack_stack({}).ok());
}

TEST_F(Pack, StackOfOneMatrixIsAStack) {
  const HostWeight a = HostWeight::random(random_, {2, 3});
  const Weight w = backend_->pack_stack(std::vector<TensorView>{a.view}).value();
  EXPECT_EQ(w->n_stack, 1);
  EXPECT_EQ(w->n_out, 2);
}

TEST_F(Pack, DownloadPacksRows) {
  Matrix x = Matrix::random(random_, 3, 4, 1.0F, 6);
  std::vector<float> out(12);
  backend_->download(x.view(), out.data());
  EXPECT_TRUE(all_equal(out, x.packed()));
}

}  // namespace
}  // namespace mla
