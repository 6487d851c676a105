#include "cache/page_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>

#include "support/host_backend.h"

namespace mla {
namespace {

using test::HostBackend;

TEST(PagePool, AccountsForEveryByte) {
  HostBackend backend;
  auto pool = PagePool::create(backend, RowLayout::mla(RowFormat::kBF16, 512, 64), 3, 5);
  ASSERT_TRUE(pool.ok());
  PagePool& p = **pool;
  EXPECT_EQ(p.token_bytes(), 3 * 576 * 2);
  EXPECT_EQ(p.page_bytes(), 64 * 3 * 576 * 2);
  EXPECT_EQ(p.total_bytes(), 5 * p.page_bytes());
  EXPECT_EQ(p.used_bytes(), 0);
  const PageId page = p.acquire();
  EXPECT_EQ(p.used_bytes(), p.page_bytes());
  EXPECT_EQ(p.n_free(), 4);
  p.release(page);
  EXPECT_EQ(p.n_free(), 5);
}

TEST(PagePool, HandsOutEveryPageOnceThenNone) {
  HostBackend backend;
  auto pool = PagePool::create(backend, RowLayout::gqa(RowFormat::kF32, 1, 2, 2), 1, 7);
  ASSERT_TRUE(pool.ok());
  std::set<PageId> pages;
  for (int i = 0; i < 7; ++i) pages.insert((*pool)->acquire());
  EXPECT_EQ(pages.size(), 7U);
  EXPECT_EQ(*pages.begin(), 0);
  EXPECT_EQ(*pages.rbegin(), 6);
  EXPECT_EQ((*pool)->acquire(), -1);
  (*pool)->release(3);
  EXPECT_EQ((*pool)->acquire(), 3);
}

TEST(PagePool, FreesAPageWithItsLastReference) {
  HostBackend backend;
  auto pool = PagePool::create(backend, RowLayout::gqa(RowFormat::kF32, 1, 2, 2), 1, 2);
  ASSERT_TRUE(pool.ok());
  const PageId page = (*pool)->acquire();
  (*pool)->retain(page);
  EXPECT_EQ((*pool)->references(page), 2);
  (*pool)->release(page);
  EXPECT_EQ((*pool)->n_free(), 1);
  (*pool)->release(page);
  EXPECT_EQ((*pool)->n_free(), 2);
}

TEST(PagePool, LayersAndPagesDoNotOverlap) {
  HostBackend backend;
  const int64_t n_layers = 3, n_pages = 2;
  auto pool = PagePool::create(backend, RowLayout::gqa(RowFormat::kInt8, 3, 5, 7), n_layers, n_pages);
  ASSERT_TRUE(pool.ok());
  const int64_t row_bytes = (*pool)->layout().row_bytes();
  std::set<std::byte*> rows;
  for (int64_t l = 0; l < n_layers; ++l) {
    for (PageId page = 0; page < n_pages; ++page) {
      for (int64_t slot = 0; slot < kPageRows; ++slot) rows.insert((*pool)->layer(l).row(page, slot));
    }
  }
  ASSERT_EQ(static_cast<int64_t>(rows.size()), n_layers * n_pages * kPageRows);
  EXPECT_EQ(*rows.rbegin() - *rows.begin(), (*pool)->total_bytes() - row_bytes);
  for (auto row = rows.begin(); std::next(row) != rows.end(); ++row)
    EXPECT_EQ(*std::next(row) - *row, row_bytes);
}

TEST(PagePool, CopiesAllRowsOfAllLayers) {
  HostBackend backend;
  auto pool = PagePool::create(backend, RowLayout::mla(RowFormat::kInt8, 6, 2), 2, 3);
  ASSERT_TRUE(pool.ok());
  PagePool& p = **pool;
  const PageId from = p.acquire(), other = p.acquire(), to = p.acquire();
  const auto fill = [&](PageId page, int value) {
    for (int64_t l = 0; l < 2; ++l) {
      std::memset(p.layer(l).row(page, 0), value, static_cast<size_t>(kPageRows * p.layout().row_bytes()));
    }
  };
  fill(from, 11);
  fill(other, 22);
  fill(to, 33);
  p.copy_page(from, to);
  for (int64_t l = 0; l < 2; ++l) {
    for (int64_t slot : {int64_t{0}, kPageRows - 1}) {
      EXPECT_EQ(static_cast<int>(*p.layer(l).row(to, slot)), 11);
      EXPECT_EQ(static_cast<int>(*p.layer(l).row(other, slot)), 22);
    }
  }
}

TEST(PagePool, RefusesSizesThatCannotBe) {
  HostBackend backend;
  const RowLayout row = RowLayout::mla(RowFormat::kBF16, 512, 64);
  for (int64_t n_pages : {int64_t{0}, int64_t{-1}, int64_t{1} << 31}) {
    const auto pool = PagePool::create(backend, row, 1, n_pages);
    ASSERT_FALSE(pool.ok());
    EXPECT_EQ(pool.error().kind, ErrorKind::kUsage);
    EXPECT_NE(pool.error().message.find(std::to_string(n_pages)), std::string::npos) << pool.error().message;
  }
  EXPECT_EQ(PagePool::create(backend, row, 0, 1).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(PagePool::create(backend, RowLayout(), 1, 1).error().kind, ErrorKind::kUsage);
}

TEST(PagePool, ReportsMissingMemoryWithNumbers) {
  HostBackend backend;
  backend.max_bytes = 1000;
  const auto pool = PagePool::create(backend, RowLayout::mla(RowFormat::kF32, 512, 64), 61, 10);
  ASSERT_FALSE(pool.ok());
  EXPECT_EQ(pool.error().kind, ErrorKind::kResource);
  EXPECT_NE(pool.error().message.find("89948160 bytes"), std::string::npos) << pool.error().message;

  const auto huge = PagePool::create(backend, RowLayout::mla(RowFormat::kF32, int64_t{1} << 40, 64), 1000,
                                     std::numeric_limits<PageId>::max());
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.error().kind, ErrorKind::kResource);
}

}  // namespace
}  // namespace mla
