#include "cache/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "support/host_backend.h"
#include "support/random.h"

namespace mla {
namespace {

using test::HostBackend;

class PrefixIndexTest : public testing::Test {
 protected:
  static constexpr int64_t kPages = 8;

  std::vector<PageId> acquire(int n) {
    std::vector<PageId> pages;
    for (int i = 0; i < n; ++i) pages.push_back(pool_->acquire());
    return pages;
  }
  void release(const std::vector<PageId>& pages) {
    for (PageId page : pages) pool_->release(page);
  }
  static std::vector<int32_t> tokens(int64_t n, int32_t first = 0) {
    std::vector<int32_t> ids(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), first);
    return ids;
  }

  HostBackend backend_;
  std::unique_ptr<PagePool> pool_ =
      PagePool::create(backend_, RowLayout::gqa(RowFormat::kF32, 1, 1, 1), 1, kPages).value();
  PrefixIndex index_{*pool_};
};

TEST_F(PrefixIndexTest, FindsFullPagesFromTheBeginningOnly) {
  const auto pages = acquire(3);
  index_.insert(tokens(3 * kPageRows), pages);
  release(pages);
  EXPECT_EQ(index_.n_pages(), 3);
  EXPECT_EQ(pool_->n_free(), kPages - 3);

  EXPECT_EQ(index_.match(tokens(3 * kPageRows + 7)).pages, pages);
  EXPECT_EQ(index_.match(tokens(2 * kPageRows)).pages, std::vector<PageId>(pages.begin(), pages.begin() + 2));
  EXPECT_TRUE(index_.match(tokens(kPageRows, kPageRows)).pages.empty())
      << "the second page's tokens at the beginning";
  EXPECT_TRUE(index_.match({}).pages.empty());

  auto changed = tokens(3 * kPageRows);
  changed[0] = -5;
  EXPECT_TRUE(index_.match(changed).pages.empty())
      << "one different token before a page makes it another page";
}

TEST_F(PrefixIndexTest, NamespacesShareNothing) {
  const auto pages = acquire(4);
  const auto ids = tokens(2 * kPageRows);
  const std::string salt("a\0b", 3), other("a\0c", 3);
  index_.insert(ids, std::vector{pages[0], pages[1]}, salt);
  EXPECT_TRUE(index_.match(ids).pages.empty());
  EXPECT_TRUE(index_.match(ids, other).pages.empty());
  EXPECT_EQ(index_.match(ids, other).partial_page, -1);
  index_.insert(ids, std::vector{pages[2], pages[3]}, other);
  EXPECT_EQ(index_.match(ids, salt).pages, (std::vector{pages[0], pages[1]}));
  EXPECT_EQ(index_.match(ids, other).pages, (std::vector{pages[2], pages[3]}));
  release(pages);

  index_.match(ids, salt);
  EXPECT_EQ(index_.evict(2), 2) << "least recently used, whosever it is";
  EXPECT_TRUE(index_.match(ids, other).pages.empty());
  EXPECT_EQ(index_.match(ids, salt).pages.size(), 2U);
  index_.clear();
  EXPECT_EQ(pool_->n_free(), kPages);
}

TEST_F(PrefixIndexTest, FindsTheLongestPartiallyEqualPage) {
  const auto pages = acquire(3);
  auto a = tokens(2 * kPageRows), b = a;
  b[static_cast<size_t>(kPageRows) + 40] = 9999;
  index_.insert(a, std::vector{pages[0], pages[1]});
  index_.insert(b, std::vector{pages[0], pages[2]});
  release(pages);

  auto query = b;
  query[static_cast<size_t>(kPageRows) + 50] = 7777;
  PrefixIndex::Match match = index_.match(query);
  EXPECT_EQ(match.pages, std::vector{pages[0]});
  EXPECT_EQ(match.partial_page, pages[2]);
  EXPECT_EQ(match.partial_rows, 50);

  query = a;
  query.resize(static_cast<size_t>(kPageRows) + 60);
  match = index_.match(query);
  EXPECT_EQ(match.partial_page, pages[1]);
  EXPECT_EQ(match.partial_rows, 60);

  match = index_.match(tokens(kPageRows, 12345));
  EXPECT_EQ(match.partial_page, -1);
  EXPECT_EQ(match.partial_rows, 0);
}

TEST_F(PrefixIndexTest, KeepsThePageKnownFirst) {
  const auto first = acquire(1), second = acquire(1);
  index_.insert(tokens(kPageRows), first);
  index_.insert(tokens(kPageRows), second);
  EXPECT_EQ(index_.match(tokens(kPageRows)).pages, first);
  EXPECT_EQ(pool_->references(first[0]), 2);
  EXPECT_EQ(pool_->references(second[0]), 1);
  release(first);
  release(second);
}

TEST_F(PrefixIndexTest, IgnoresRowsOfAnUnfinishedPage) {
  const auto pages = acquire(2);
  index_.insert(tokens(2 * kPageRows - 1), pages);
  EXPECT_EQ(index_.n_pages(), 1);
  EXPECT_EQ(pool_->references(pages[1]), 1);
  release(pages);
}

TEST_F(PrefixIndexTest, EvictsLeastRecentlyUsedLeavesFirst) {
  const auto old_pages = acquire(2), new_pages = acquire(2);
  index_.insert(tokens(2 * kPageRows), old_pages);
  index_.insert(tokens(2 * kPageRows, 500), new_pages);
  release(old_pages);
  release(new_pages);
  index_.match(tokens(2 * kPageRows));  // makes the older one the more recently used

  EXPECT_EQ(index_.n_evictable(), 4);
  EXPECT_EQ(index_.evict(1), 1);
  EXPECT_EQ(index_.match(tokens(2 * kPageRows, 500)).pages, std::vector{new_pages[0]})
      << "the leaf went, not its parent";
  index_.match(tokens(2 * kPageRows));
  EXPECT_EQ(index_.evict(2), 2);
  EXPECT_TRUE(index_.match(tokens(2 * kPageRows, 500)).pages.empty());
  EXPECT_EQ(index_.match(tokens(2 * kPageRows)).pages, std::vector{old_pages[0]});
  EXPECT_EQ(index_.evict(10), 1);
  EXPECT_EQ(pool_->n_free(), kPages);
}

TEST_F(PrefixIndexTest, NeverEvictsPagesInUseNorTheirParents) {
  const auto pages = acquire(3);
  index_.insert(tokens(3 * kPageRows), pages);
  pool_->release(pages[0]);  // page 1 stays in use, its parent only through the tree
  pool_->release(pages[2]);
  EXPECT_EQ(index_.n_evictable(), 1);
  EXPECT_EQ(index_.evict(kPages), 1);
  EXPECT_EQ(index_.match(tokens(3 * kPageRows)).pages, (std::vector{pages[0], pages[1]}));
  pool_->release(pages[1]);
  EXPECT_EQ(index_.n_evictable(), 2);
  EXPECT_EQ(index_.evict(kPages), 2);
  EXPECT_EQ(pool_->n_free(), kPages);
}

// Against the naive model: the longest common beginning with anything inserted, found by comparing with all
// of it.
TEST(PrefixIndex, FindsWhatComparingWithEverySequenceFinds) {
  HostBackend backend;
  const auto pool = PagePool::create(backend, RowLayout::gqa(RowFormat::kF32, 1, 1, 1), 1, 600).value();
  PrefixIndex index(*pool);
  test::Random random(71);
  std::vector<std::vector<int32_t>> known = {{}};  // full pages only
  std::map<std::vector<int32_t>, PageId> page_of;  // by all tokens up to the page's end
  int64_t n_full = 0, n_partial = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const auto& parent =
        known[static_cast<size_t>(random.integer(0, static_cast<int64_t>(known.size()) - 1))];
    std::vector<int32_t> query(parent.begin(),
                               parent.begin() + random.integer(0, static_cast<int64_t>(parent.size())));
    for (int64_t i = random.integer(0, 2 * kPageRows); i > 0; --i)
      query.push_back(static_cast<int32_t>(random.integer(0, 1)));

    int64_t longest = 0;
    for (const auto& other : known) {
      const auto end = std::mismatch(query.begin(), query.end(), other.begin(), other.end()).first;
      longest = std::max<int64_t>(longest, end - query.begin());
    }
    const PrefixIndex::Match match = index.match(query);
    ASSERT_EQ(match.full_rows() + match.partial_rows, longest) << "trial " << trial;
    ASSERT_LT(match.partial_rows, kPageRows);
    for (size_t i = 0; i < match.pages.size(); ++i) {
      const auto end = query.begin() + static_cast<int64_t>(i + 1) * kPageRows;
      ASSERT_EQ(match.pages[i], page_of.at({query.begin(), end})) << "page " << i;
    }
    ASSERT_EQ(match.partial_page >= 0, match.partial_rows > 0);
    n_full += match.pages.empty() ? 0 : 1;
    n_partial += match.partial_rows > 0 ? 1 : 0;

    query.resize(query.size() / kPageRows * kPageRows);
    std::vector<PageId> pages;
    for (size_t end = kPageRows; end <= query.size(); end += kPageRows) {
      pages.push_back(pool->acquire());
      page_of.try_emplace({query.begin(), query.begin() + static_cast<int64_t>(end)}, pages.back());
    }
    index.insert(query, pages);
    for (PageId page : pages) pool->release(page);
    known.push_back(std::move(query));
  }
  EXPECT_EQ(index.n_pages(), static_cast<int64_t>(page_of.size()));
  EXPECT_GT(n_full, 20);
  EXPECT_GT(n_partial, 20);
}

TEST_F(PrefixIndexTest, ClearGivesEverythingBack) {
  const auto pages = acquire(4);
  index_.insert(tokens(4 * kPageRows), pages);
  release(pages);
  index_.clear();
  EXPECT_EQ(index_.n_pages(), 0);
  EXPECT_EQ(pool_->n_free(), kPages);
  EXPECT_TRUE(index_.match(tokens(4 * kPageRows)).pages.empty());
}

}  // namespace
}  // namespace mla
