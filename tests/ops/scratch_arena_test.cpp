#include "ops/scratch_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

namespace mla {
namespace {

TEST(ScratchArena, PiecesAreAlignedAndDoNotOverlap) {
  ScratchArena arena;
  std::vector<Activation> pieces;
  for (int64_t n = 1; n < 200; ++n) {
    pieces.push_back(arena.activation(n, 67));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back().data) % 64, 0U);
    EXPECT_TRUE(pieces.back().contiguous());
    std::fill_n(pieces.back().data, n * 67, static_cast<float>(n));
  }
  for (const Activation& a : pieces) {
    EXPECT_EQ(std::count(a.data, a.data + a.n_rows * 67, static_cast<float>(a.n_rows)), a.n_rows * 67);
  }
}

TEST(ScratchArena, KeepsItsMemoryOverSteps) {
  ScratchArena arena;
  const auto step = [&] {
    for (int i = 0; i < 10; ++i) arena.activation(100, 1000);
    arena.routing(100, 8);
    arena.release();
  };
  step();
  const int64_t held = arena.held_bytes();
  EXPECT_GE(held, 4000000);
  for (int i = 0; i < 20; ++i) step();
  EXPECT_EQ(arena.held_bytes(), held);
}

TEST(ScratchArena, RoutingHoldsExpertsAndWeights) {
  ScratchArena arena;
  const Routing r = arena.routing(5, 3);
  EXPECT_EQ(r.n_tokens, 5);
  EXPECT_EQ(r.n_used, 3);
  std::fill_n(r.experts, 15, 7);
  std::fill_n(r.weights, 15, 0.5F);
  EXPECT_EQ(std::count(r.experts, r.experts + 15, 7), 15);
}

TEST(ScratchArena, EmptyActivationsAreAllowed) {
  ScratchArena arena;
  EXPECT_EQ(arena.activation(0, 9).n_rows, 0);
  EXPECT_EQ(arena.activation(9, 0).n_cols, 0);
}

TEST(ScratchArena, AbsurdSizesThrow) {
  ScratchArena arena;
  const int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_THROW(arena.activation(huge, 2), std::bad_alloc);
  EXPECT_THROW(arena.allocate(-1), std::bad_alloc);
  EXPECT_THROW(arena.allocate(huge), std::bad_alloc);
  EXPECT_EQ(arena.activation(2, 2).n_cols, 2) << "usable afterwards";
}

}  // namespace
}  // namespace mla
