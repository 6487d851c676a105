#include "cache/sequence_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "cache/prefix_index.h"
#include "support/host_backend.h"

namespace mla {
namespace {

using test::HostBackend;

/// A pool of tiny rows (one layer pair, 8 bytes a row and layer) and helpers that write recognisable rows.
class SequenceCacheTest : public testing::Test {
 protected:
  static constexpr int64_t kLayers = 2;

  void make_pool(int64_t n_pages) {
    pool_ = PagePool::create(backend_, RowLayout::gqa(RowFormat::kF32, 1, 1, 1), kLayers, n_pages).value();
  }

  void write_row(const SequenceCache& cache, int64_t row, int64_t value) {
    for (int64_t l = 0; l < kLayers; ++l) {
      const int64_t stored = value * kLayers + l;
      std::memcpy(row_address(cache, row, l), &stored, sizeof stored);
    }
  }
  std::optional<int64_t> read_row(const SequenceCache& cache, int64_t row) const {
    int64_t stored = 0;
    std::memcpy(&stored, row_address(cache, row, 0), sizeof stored);
    for (int64_t l = 1; l < kLayers; ++l) {
      int64_t other = 0;
      std::memcpy(&other, row_address(cache, row, l), sizeof other);
      if (other != stored + l) return std::nullopt;
    }
    return stored / kLayers;
  }
  std::byte* row_address(const SequenceCache& cache, int64_t row, int64_t l) const {
    return pool_->layer(l).row(cache.pages()[static_cast<size_t>(row / kPageRows)], row % kPageRows);
  }

  /// Reserves, writes values first, first + 1, ... and appends.
  bool grow(SequenceCache& cache, int64_t n, int64_t first) {
    if (!cache.reserve(n)) return false;
    for (int64_t i = 0; i < n; ++i) write_row(cache, cache.size() + i, first + i);
    cache.append(n);
    return true;
  }

  HostBackend backend_;
  std::unique_ptr<PagePool> pool_;
};

TEST_F(SequenceCacheTest, TakesPagesAsRowsNeedThem) {
  make_pool(3);
  {
    SequenceCache cache(*pool_);
    EXPECT_EQ(cache.pages_needed(0), 0);
    EXPECT_TRUE(cache.reserve(0));
    EXPECT_EQ(cache.pages().size(), 0U);
    EXPECT_TRUE(grow(cache, 1, 0));
    EXPECT_EQ(cache.pages().size(), 1U);
    EXPECT_EQ(cache.pages_needed(kPageRows - 1), 0);
    EXPECT_EQ(cache.pages_needed(kPageRows), 1);
    EXPECT_TRUE(grow(cache, kPageRows, 1));
    EXPECT_EQ(cache.pages().size(), 2U);
    EXPECT_FALSE(cache.reserve(2 * kPageRows)) << "three more rows than the pool has";
    EXPECT_EQ(cache.pages().size(), 2U);
    EXPECT_EQ(pool_->n_free(), 1);
  }
  EXPECT_EQ(pool_->n_free(), 3);
}

TEST_F(SequenceCacheTest, CopiesASharedPageBeforeWriting) {
  make_pool(4);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, kPageRows + 10, 100));
  SequenceCache b = a.fork();
  EXPECT_EQ(pool_->n_free(), 2);
  EXPECT_EQ(backend_.n_copies, 0);

  ASSERT_TRUE(grow(b, 1, 9000));
  EXPECT_EQ(backend_.n_copies, 1);
  ASSERT_TRUE(grow(a, 1, 8000));
  EXPECT_EQ(backend_.n_copies, 1) << "the copy left the original with one owner";
  EXPECT_EQ(a.pages()[0], b.pages()[0]);
  EXPECT_NE(a.pages()[1], b.pages()[1]);
  for (int64_t i = 0; i < kPageRows + 10; ++i) {
    EXPECT_EQ(read_row(a, i), 100 + i);
    EXPECT_EQ(read_row(b, i), 100 + i);
  }
  EXPECT_EQ(read_row(a, kPageRows + 10), 8000);
  EXPECT_EQ(read_row(b, kPageRows + 10), 9000);
}

TEST_F(SequenceCacheTest, ForkAtAPageBorderCopiesNothing) {
  make_pool(3);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, kPageRows, 0));
  SequenceCache b = a.fork();
  ASSERT_TRUE(grow(a, 1, 1));
  ASSERT_TRUE(grow(b, 1, 2));
  EXPECT_EQ(backend_.n_copies, 0);
  EXPECT_EQ(pool_->n_free(), 0);
}

TEST_F(SequenceCacheTest, RollbackIntoASharedPageCopiesItOnTheNextWrite) {
  make_pool(4);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, 2 * kPageRows, 0));
  SequenceCache b = a.fork();
  b.truncate(kPageRows + 5);
  EXPECT_EQ(b.pages().size(), 2U);
  ASSERT_TRUE(grow(b, 1, 777));
  EXPECT_EQ(read_row(a, kPageRows + 5), kPageRows + 5);
  EXPECT_EQ(read_row(b, kPageRows + 5), 777);
  b.truncate(0);
  EXPECT_EQ(b.pages().size(), 0U);
  EXPECT_EQ(pool_->n_free(), 2);
}

TEST_F(SequenceCacheTest, FailsWholeWhenTheCopyHasNoPage) {
  make_pool(1);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, 3, 0));
  SequenceCache b = a.fork();
  EXPECT_EQ(b.pages_needed(1), 1);
  EXPECT_FALSE(b.reserve(1));
  EXPECT_EQ(b.size(), 3);
  EXPECT_EQ(b.pages()[0], a.pages()[0]);
}

TEST_F(SequenceCacheTest, AdoptsFullPagesAndACopyOfAPartlyEqualOne) {
  make_pool(4);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, 2 * kPageRows, 0));
  SequenceCache b(*pool_);
  b.adopt(a.pages().first(1));
  ASSERT_TRUE(b.adopt_copy(a.pages()[1], 9));
  EXPECT_EQ(b.size(), kPageRows + 9);
  ASSERT_TRUE(grow(b, 1, 5555));
  EXPECT_EQ(backend_.n_copies, 1) << "the copied page is its own";
  EXPECT_EQ(read_row(b, kPageRows + 8), kPageRows + 8);
  EXPECT_EQ(read_row(a, kPageRows + 9), kPageRows + 9);
  EXPECT_EQ(pool_->references(a.pages()[0]), 2);
  EXPECT_EQ(pool_->references(a.pages()[1]), 1);
}

TEST_F(SequenceCacheTest, MovedFromSequenceOwnsNothing) {
  make_pool(2);
  SequenceCache a(*pool_);
  ASSERT_TRUE(grow(a, 5, 0));
  SequenceCache b = std::move(a);
  EXPECT_EQ(b.size(), 5);
  SequenceCache c(*pool_);
  ASSERT_TRUE(grow(c, 5, 50));
  c = std::move(b);
  EXPECT_EQ(pool_->n_free(), 1);
  EXPECT_EQ(read_row(c, 4), 4);
}

// -- model-based
// -------------------------------------------------------------------------------------------------------

/// A row's content as a function of all tokens up to it.
int64_t row_value(const std::vector<int32_t>& tokens, int64_t row) {
  uint64_t h = 1469598103934665603ULL;
  for (int64_t i = 0; i <= row; ++i)
    h = (h ^ static_cast<uint32_t>(tokens[static_cast<size_t>(i)])) * 1099511628211ULL;
  return static_cast<int64_t>(h >> 20);
}

/// 10^5 random operations on sequences, forks and the prefix index, against the naive model: after every
/// operation the number of references of every page must be what the live page tables and the index account
/// for.
class CacheModelTest : public SequenceCacheTest {
 protected:
  struct Live {
    SequenceCache cache;
    std::vector<int32_t> tokens;
    std::vector<int64_t> values;  ///< row_value of each row
  };

  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  Live& any() { return live_[static_cast<size_t>(pick(static_cast<int>(live_.size())))]; }

  void append(Live& s) {
    const int64_t n = 1 + pick(pick(4) == 0 ? 150 : 5);
    const bool fits = s.cache.pages_needed(n) <= pool_->n_free();
    ASSERT_EQ(s.cache.reserve(n), fits);
    n_refused_ += fits ? 0 : 1;
    if (!fits) return;
    for (int64_t i = 0; i < n; ++i) {
      s.tokens.push_back(pick(2));  // two tokens only: equal beginnings are common
      s.values.push_back(row_value(s.tokens, s.cache.size() + i));
      write_row(s.cache, s.cache.size() + i, s.values.back());
    }
    s.cache.append(n);
  }

  void start(PrefixIndex& index) {
    Live s{SequenceCache(*pool_), {}, {}};
    if (!live_.empty() && pick(2) == 0) {  // a prompt that begins like somebody else's
      s.tokens = any().tokens;
      for (int i = pick(80); i > 0; --i) s.tokens.push_back(pick(2));
      const PrefixIndex::Match match = index.match(s.tokens);
      s.cache.adopt(match.pages);
      n_adopted_ += match.pages.empty() ? 0 : 1;
      if (match.partial_rows > 0 && s.cache.adopt_copy(match.partial_page, match.partial_rows))
        ++n_adopted_copies_;
      s.tokens.resize(static_cast<size_t>(s.cache.size()));
      for (int64_t r = 0; r < s.cache.size(); ++r) s.values.push_back(row_value(s.tokens, r));
    }
    live_.push_back(std::move(s));
  }

  void finish(PrefixIndex& index) {
    const size_t i = static_cast<size_t>(pick(static_cast<int>(live_.size())));
    if (pick(2) == 0) index.insert(live_[i].tokens, live_[i].cache.pages());
    std::swap(live_[i], live_.back());
    live_.pop_back();
  }

  void rollback(Live& s) {
    const int64_t n = pick(static_cast<int>(s.cache.size()) + 1);
    s.cache.truncate(n);
    s.tokens.resize(static_cast<size_t>(n));
    s.values.resize(static_cast<size_t>(n));
  }

  void check_references(const PrefixIndex& index) {
    std::map<PageId, int64_t> owners;
    for (const Live& s : live_) {
      for (PageId page : s.cache.pages()) ++owners[page];
    }
    int64_t in_index = 0, used = 0;
    for (PageId page = 0; page < pool_->n_pages(); ++page) {
      const int64_t extra = pool_->references(page) - (owners.contains(page) ? owners[page] : 0);
      ASSERT_TRUE(extra == 0 || extra == 1) << "page " << page << " has " << extra << " references too many";
      in_index += extra;
      used += pool_->references(page) > 0 ? 1 : 0;
    }
    ASSERT_EQ(in_index, index.n_pages());
    ASSERT_EQ(pool_->n_used(), used);
  }

  void check_rows(const Live& s) {
    for (int64_t r = 0; r < s.cache.size(); ++r)
      ASSERT_EQ(read_row(s.cache, r), s.values[static_cast<size_t>(r)]) << "row " << r;
  }

  int64_t n_adopted_ = 0, n_adopted_copies_ = 0, n_refused_ = 0, n_evicted_ = 0;
  std::mt19937_64 random_{20240607};
  std::vector<Live> live_;
};

TEST_F(CacheModelTest, AMillionRandomOperationsLeakNothing) {
  make_pool(40);
  PrefixIndex index(*pool_);
  for (int step = 0; step < 1000000; ++step) {
    const int kind = pick(100);
    if (live_.empty() || (kind < 8 && live_.size() < 12)) {
      start(index);
    } else if (kind < 60) {
      append(any());
    } else if (kind < 68 && live_.size() < 12) {
      const Live& s = any();
      Live copy{s.cache.fork(), s.tokens, s.values};
      live_.push_back(std::move(copy));
    } else if (kind < 74) {
      rollback(any());
    } else if (kind < 84) {
      finish(index);
    } else if (kind < 90) {
      const int64_t wanted = pick(6), free = pool_->n_free(), evictable = index.n_evictable();
      ASSERT_EQ(index.evict(wanted), std::min(wanted, evictable));
      n_evicted_ += pool_->n_free() - free;
      ASSERT_EQ(pool_->n_free(), free + std::min(wanted, evictable));
    } else {
      check_rows(any());
    }
    if (step % 8 != 0) continue;
    ASSERT_NO_FATAL_FAILURE(check_references(index)) << "after operation " << step;
    if (HasFatalFailure()) return;
  }
  for (const Live& s : live_) check_rows(s);
  live_.clear();
  index.clear();
  EXPECT_EQ(pool_->n_free(), pool_->n_pages());
  // The walk came through every part of the state space, often.
  EXPECT_GT(backend_.n_copies - n_adopted_copies_, 100) << "copies on write";
  for (int64_t n : {n_adopted_, n_adopted_copies_, n_refused_, n_evicted_}) EXPECT_GT(n, 100);
}

}  // namespace
}  // namespace mla
