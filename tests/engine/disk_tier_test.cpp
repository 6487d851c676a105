#include "engine/disk_tier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>

#include "cpu/cpu_backend.h"
#include "engine/engine_loop.h"
#include "model/fingerprint.h"
#include "support/fake_model.h"
#include "support/paths.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using test::fake_answer;
using test::FakeModel;

std::vector<int32_t> random_ids(int64_t n, uint64_t seed, int64_t n_vocab = 40) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(n_vocab)));
  return ids;
}

/// A store in memory whose loads end when a test says so.
class SlowStore final : public PrefixStore {
 public:
  explicit SlowStore(int64_t page_bytes) : page_bytes_(static_cast<size_t>(page_bytes)) {}

  int64_t find(std::string_view space, std::span<const int32_t> tokens, int64_t first) override {
    ++n_finds;
    int64_t n = 0;
    while ((first + n + 1) * kPageRows <= static_cast<int64_t>(tokens.size()) && pages_.contains(key(space, tokens, first + n))) ++n;
    return n;
  }
  std::unique_ptr<PageLoad> load(std::string_view space, std::span<const int32_t> tokens, int64_t first,
                                 std::vector<std::byte*> pages) override {
    ++n_loads;
    for (size_t i = 0; i < pages.size() && static_cast<int64_t>(i) < give; ++i) {
      std::memcpy(pages[i], pages_.at(key(space, tokens, first + static_cast<int64_t>(i))).data(), page_bytes_);
    }
    return std::make_unique<Load>(*this, std::min<int64_t>(give, static_cast<int64_t>(pages.size())));
  }
  void store(std::string_view space, std::span<const int32_t> tokens, std::span<const std::byte* const> pages) override {
    for (size_t i = 0; i < pages.size(); ++i) {
      pages_.try_emplace(key(space, tokens, static_cast<int64_t>(i)), pages[i], pages[i] + page_bytes_);
    }
  }

  bool ready = true;             ///< loads are done
  int64_t give = int64_t{1} << 30;  ///< pages that a load brings before it fails
  int64_t n_finds = 0, n_loads = 0, n_open = 0;
  int64_t n_pages() const { return static_cast<int64_t>(pages_.size()); }

 private:
  struct Load final : PageLoad {
    Load(SlowStore& s, int64_t n) : store(s), n_pages(n) { ++store.n_open; }
    ~Load() override { --store.n_open; }
    bool done() const override { return store.ready; }
    int64_t n_loaded() const override { return n_pages; }
    void wait(std::chrono::milliseconds) override {}
    SlowStore& store;
    int64_t n_pages;
  };
  static std::pair<std::string, std::vector<int32_t>> key(std::string_view space, std::span<const int32_t> tokens, int64_t page) {
    return {std::string(space), {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>((page + 1) * kPageRows)}};
  }

  size_t page_bytes_;
  std::map<std::pair<std::string, std::vector<int32_t>>, std::vector<std::byte>> pages_;
};

class PrefixStoreTest : public testing::Test {
 protected:
  void make(int64_t n_pages = 40) {
    const EngineOptions options{.cache_format = RowFormat::kF32, .max_tokens = n_pages * kPageRows, .chunk = 128, .max_batch_tokens = 512};
    if (store_ == nullptr) {
      const auto probe = Engine::create(fake_.model, options);
      store_ = std::make_shared<SlowStore>((*probe)->cache().page_bytes());
    }
    engine_ = std::move(Engine::create(fake_.model, options, store_)).value();
  }
  SequenceId submit(const std::vector<int32_t>& prompt, int64_t n_new, std::string space = {}) {
    auto tokens = std::make_shared<std::vector<int32_t>>();
    Request request{.prompt = prompt, .max_new_tokens = n_new, .prefix_namespace = std::move(space)};
    request.on_token = [tokens](const SampledToken& t) {
      tokens->push_back(t.token);
      return true;
    };
    const SequenceId id = engine_->submit(std::move(request)).value();
    answers_[id] = tokens;
    return id;
  }
  void run() {
    for (int i = 0; i < 10'000 && engine_->busy(); ++i) ASSERT_TRUE(engine_->step().ok());
    ASSERT_FALSE(engine_->busy());
  }
  std::vector<int32_t> want(const std::vector<int32_t>& prompt, int64_t n_new) { return fake_answer(fake_.config, prompt, {}, n_new); }
  void expect_no_leak() {
    EXPECT_EQ(store_->n_open, 0);
    EXPECT_EQ(engine_->cache().n_used(), engine_->n_reusable_pages());
  }

  FakeModel fake_;
  std::shared_ptr<SlowStore> store_;
  std::unique_ptr<Engine> engine_;
  std::map<SequenceId, std::shared_ptr<std::vector<int32_t>>> answers_;
};

TEST_F(PrefixStoreTest, ANewEngineAnswersFromTheStore) {
  const std::vector<int32_t> prompt = random_ids(300, 1);
  make();
  submit(prompt, 150);
  run();
  EXPECT_EQ(store_->n_pages(), 449 / kPageRows) << "the answer's full pages are kept too";
  make();
  const SequenceId id = submit(prompt, 20);
  run();
  EXPECT_EQ(*answers_[id], want(prompt, 20));
  EXPECT_EQ(engine_->status(id)->n_cached, 4 * kPageRows);
  EXPECT_EQ(store_->n_loads, 1);
  expect_no_leak();
  submit(prompt, 20);  // now it is in memory
  run();
  EXPECT_EQ(store_->n_loads, 1);
}

TEST_F(PrefixStoreTest, PagesInMemoryAreContinuedFromTheStore) {
  const std::vector<int32_t> prompt = random_ids(400, 1);
  make();
  submit(prompt, 2);
  run();
  make();
  submit({prompt.begin(), prompt.begin() + 130}, 2);
  run();
  const SequenceId id = submit(prompt, 5);
  run();
  EXPECT_EQ(*answers_[id], want(prompt, 5));
  EXPECT_EQ(engine_->status(id)->n_cached, 6 * kPageRows);
  EXPECT_EQ(store_->n_loads, 2);
}

TEST_F(PrefixStoreTest, TheLastTokenIsComputedEvenIfItsPageIsStored) {
  const std::vector<int32_t> prompt = random_ids(128, 2);
  make();
  submit(prompt, 70);
  run();
  make();
  const SequenceId id = submit(prompt, 5);
  run();
  EXPECT_EQ(*answers_[id], want(prompt, 5));
  EXPECT_EQ(engine_->status(id)->n_cached, kPageRows);
}

TEST_F(PrefixStoreTest, NamespacesStayApart) {
  const std::vector<int32_t> prompt = random_ids(200, 3);
  make();
  submit(prompt, 2, "alice");
  run();
  make();
  const SequenceId bob = submit(prompt, 4, "bob"), alice = submit(prompt, 4, "alice");
  run();
  EXPECT_EQ(engine_->status(bob)->n_cached, 0);
  EXPECT_EQ(engine_->status(alice)->n_cached, 3 * kPageRows);
}

TEST_F(PrefixStoreTest, OthersComputeWhilePagesAreLoaded) {
  const std::vector<int32_t> known = random_ids(300, 4), other = random_ids(90, 5);
  make();
  submit(known, 2);
  run();
  make();
  store_->ready = false;
  const SequenceId loading = submit(known, 8), running = submit(other, 8);
  for (int i = 0; i < 50; ++i) {
    const auto report = engine_->step();
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->n_loading, 1);
  }
  EXPECT_TRUE(engine_->status(running)->finished);
  EXPECT_EQ(*answers_[running], want(other, 8));
  EXPECT_EQ(engine_->status(loading)->n_generated, 0);
  store_->ready = true;
  run();
  EXPECT_EQ(*answers_[loading], want(known, 8));
  EXPECT_EQ(engine_->status(loading)->n_cached, 4 * kPageRows);
}

TEST_F(PrefixStoreTest, AShortLoadIsComputedToItsEnd) {
  const std::vector<int32_t> prompt = random_ids(400, 6);
  make();
  submit(prompt, 2);
  run();
  for (const int64_t give : {0, 1, 5}) {
    make();
    store_->give = give;
    const SequenceId id = submit(prompt, 6);
    run();
    EXPECT_EQ(*answers_[id], want(prompt, 6)) << give;
    EXPECT_EQ(engine_->status(id)->n_cached, give * kPageRows);
    expect_no_leak();
  }
}

TEST_F(PrefixStoreTest, ManyWithOnePrefixLoadItOnce) {
  const std::vector<int32_t> prefix = random_ids(320, 7);
  make();
  submit(prefix, 2);
  run();
  make(100);
  std::vector<std::pair<SequenceId, std::vector<int32_t>>> all;
  for (uint64_t i = 0; i < 8; ++i) {
    std::vector<int32_t> prompt = prefix;
    const std::vector<int32_t> own = random_ids(40, 100 + i);
    prompt.insert(prompt.end(), own.begin(), own.end());
    all.emplace_back(submit(prompt, 4), prompt);
  }
  run();
  EXPECT_EQ(store_->n_loads, 1);
  for (const auto& [id, prompt] : all) {
    EXPECT_EQ(*answers_[id], want(prompt, 4));
    EXPECT_EQ(engine_->status(id)->n_cached, 5 * kPageRows);
  }
}

TEST_F(PrefixStoreTest, CancelAndPauseWhileLoading) {
  const std::vector<int32_t> prompt = random_ids(300, 8);
  make();
  submit(prompt, 2);
  run();
  make();
  store_->ready = false;
  const SequenceId id = submit(prompt, 5), paused = submit(prompt, 5);
  ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(store_->n_open, 1);
  engine_->cancel(id);
  EXPECT_EQ(store_->n_open, 0);
  ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(store_->n_open, 1) << "the next one loads it";
  engine_->pause(paused);
  store_->ready = true;
  ASSERT_TRUE(engine_->step().ok());
  EXPECT_EQ(engine_->status(paused)->n_generated, 0);
  engine_->resume(paused);
  run();
  EXPECT_EQ(*answers_[paused], want(prompt, 5));
  expect_no_leak();
}

// A model-based test: small pools, loads that come late, are cut short and cancelled, preemption in between.
TEST_F(PrefixStoreTest, RandomLoadsLeakNothingAndChangeNoAnswer) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 30; ++round) {
    make(static_cast<int64_t>(8 + random() % 20));
    store_->give = static_cast<int64_t>(random() % 6);
    std::map<SequenceId, std::pair<std::vector<int32_t>, int64_t>> live;
    for (int i = 0; i < 150; ++i) {
      store_->ready = random() % 3 != 0;
      if (random() % 4 == 0) {
        const std::vector<int32_t> whole = random_ids(400, random() % 4);
        const std::vector<int32_t> prompt(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(1 + random() % 400));
        const auto n_new = static_cast<int64_t>(1 + random() % 80);
        live[submit(prompt, n_new)] = {prompt, n_new};
      }
      if (!live.empty() && random() % 12 == 0) {
        const auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
        engine_->cancel(victim->first);
        live.erase(victim);
      }
      ASSERT_TRUE(engine_->step().ok());
    }
    store_->ready = true;
    run();
    for (const auto& [id, request] : live) {
      const SequenceStatus status = *engine_->status(id);
      std::vector<int32_t> expected = want(request.first, request.second);
      expected.resize(std::min<size_t>(expected.size(), static_cast<size_t>(status.n_generated)));
      ASSERT_EQ(*answers_[id], expected) << "round " << round;
    }
    expect_no_leak();
  }
}

TEST_F(PrefixStoreTest, TheLoopWaitsForLoadsWithoutSleepingOnThem) {
  const std::vector<int32_t> prompt = random_ids(300, 9);
  make();
  submit(prompt, 2);
  run();
  const fs::path folder = test::temp_dir("loop-disk") / "cache";
  const CacheIdentity identity{.text = "fake", .label = "fake", .n_layers = engine_->cache().page_bytes() / kPageRows / 4, .row_bytes = 4};
  const auto answer = [&](int64_t expected_cached) {
    auto cache = DiskCache::open({.folder = folder}, identity);
    ASSERT_TRUE(cache.ok()) << cache.error().message;
    (*cache)->wait_until_idle();
    const EngineOptions options{.cache_format = RowFormat::kF32, .max_tokens = 40 * kPageRows};
    auto engine = Engine::create(fake_.model, options, std::shared_ptr<PrefixStore>(std::move(*cache)));
    ASSERT_TRUE(engine.ok());
    std::mutex mutex;
    std::condition_variable ended;
    std::optional<SequenceStatus> status;
    std::vector<int32_t> tokens;
    EngineLoop::Job job;
    job.request = {.prompt = prompt, .max_new_tokens = 5};
    job.request.on_token = [&](const SampledToken& t) {
      tokens.push_back(t.token);
      return true;
    };
    job.on_end = [&](const SequenceStatus& s, const std::optional<Error>&) {
      const std::lock_guard lock(mutex);
      status = s;
      ended.notify_all();
    };
    const auto loop = EngineLoop::start(std::move(*engine));  // ends before what its job fills in
    ASSERT_TRUE(loop->submit(std::move(job)).ok());
    std::unique_lock lock(mutex);
    ASSERT_TRUE(ended.wait_for(lock, std::chrono::seconds(30), [&] { return status.has_value(); }));
    EXPECT_EQ(tokens, want(prompt, 5));
    EXPECT_EQ(status->n_cached, expected_cached);
  };
  answer(0);
  answer(4 * kPageRows);  // a restart
}

// -- the model that ships, on a real disk
// -------------------------------------------------------------------------------------------------

class DiskTierTest : public testing::Test {
 protected:
  static std::shared_ptr<const Model> load(const fs::path& path, Backend& backend) {
    auto model = Model::load(path, backend);
    EXPECT_TRUE(model.ok()) << model.error().message;
    return std::move(*model);
  }
  static std::unique_ptr<Backend> backend(Isa isa = Isa::kScalar) { return std::move(make_cpu_backend({.n_threads = 2, .isa = isa})).value(); }

  const fs::path model_file_ = test::source_dir() / "models" / "mla-default.gguf";
  const fs::path folder_ = test::temp_dir("disk-tier") / "cache";
};

struct Spoken {
  std::vector<int32_t> tokens;
  std::vector<uint32_t> bits;  ///< of the log-probabilities of each token and of the twenty most probable
  int64_t n_cached = 0;
};

Spoken speak(const std::shared_ptr<const Model>& model, EngineOptions options, const std::vector<int32_t>& prompt,
             std::shared_ptr<DiskCache> cache) {
  const auto engine = std::move(Engine::create(model, options, cache)).value();
  Spoken spoken;
  Request request{.prompt = prompt, .sampling = {.n_logprobs = 20}, .max_new_tokens = 40};
  request.on_token = [&](const SampledToken& t) {
    spoken.tokens.push_back(t.token);
    const auto add = [&](float x) { spoken.bits.push_back(std::bit_cast<uint32_t>(x)); };
    add(t.logprob);
    for (const TokenLogprob& top : t.top) add(top.logprob);
    return true;
  };
  const SequenceId id = engine->submit(std::move(request)).value();
  while (engine->busy()) EXPECT_TRUE(engine->step().ok());
  spoken.n_cached = engine->status(id)->n_cached;
  return spoken;
}

// P1: what comes from disk gives the very bits that computing gives, in every row format.
TEST_F(DiskTierTest, ARestartAnswersWithTheSameBits) {
  const auto cpu = backend(available_isas().back());
  const auto model = load(model_file_, *cpu);
  const std::vector<int32_t> prompt = random_ids(449, 21, model->config().n_vocab);
  for (const RowFormatInfo& info : row_formats()) {
    const EngineOptions options{.cache_format = info.format, .max_tokens = 512, .chunk = 448};
    const auto open = [&] {
      auto cache = open_disk_cache(*model, options, {.folder = folder_});
      EXPECT_TRUE(cache.ok()) << cache.error().message;
      (*cache)->wait_until_idle();
      return *cache;
    };
    const Spoken alone = speak(model, options, prompt, nullptr);
    const Spoken cold = speak(model, options, prompt, open());
    const Spoken warm = speak(model, options, prompt, open());
    EXPECT_EQ(cold.n_cached, 0) << info.name << ": another format's pages are not its own";
    EXPECT_EQ(warm.n_cached, 448) << info.name;
    EXPECT_EQ(cold.tokens, alone.tokens) << info.name;
    EXPECT_EQ(cold.bits, alone.bits) << info.name;
    EXPECT_EQ(warm.tokens, cold.tokens) << info.name;
    EXPECT_EQ(warm.bits, cold.bits) << info.name;
  }
}

TEST_F(DiskTierTest, TheIdentityNamesEverythingRowsDependOn) {
  const auto scalar = backend();
  const auto model = load(model_file_, *scalar);
  const EngineOptions options;
  const std::string base = cache_identity(*model, options)->text;
  EXPECT_EQ(cache_identity(*model, options)->text, base);
  EXPECT_EQ(cache_identity(*model, {.max_tokens = 640, .chunk = 64})->text, base) << "sizes are not part of it";
  EXPECT_NE(cache_identity(*model, {.cache_format = RowFormat::kInt8})->text, base);
  EXPECT_NE(cache_identity(*model, {.mla_form = MlaForm::kAbsorbed})->text, base);
  for (const Isa isa : available_isas()) {
    const auto other = backend(isa);
    EXPECT_EQ(cache_identity(*load(model_file_, *other), options)->text == base, isa == Isa::kScalar) << isa_name(isa);
  }
  const auto coarse = std::move(make_cpu_backend({.n_threads = 1, .isa = Isa::kScalar, .activations = Activations::k8Bit})).value();
  EXPECT_NE(cache_identity(*load(model_file_, *coarse), options)->text, base);
  FakeModel fake;
  EXPECT_FALSE(cache_identity(*fake.model, options).ok()) << "nothing tells one model without a checkpoint from another";
}

// Failure modes DC17 and DC18.
TEST_F(DiskTierTest, AnyChangeOfTheModelFileMakesItAnother) {
  const fs::path copy = folder_.parent_path() / "model.gguf";
  fs::create_directories(copy.parent_path());
  fs::copy_file(model_file_, copy);
  const auto scalar = backend();
  const auto fingerprint = [&] { return *model_fingerprint(*load(copy, *scalar)); };
  const disk::Hash original = fingerprint();
  EXPECT_EQ(original, *model_fingerprint(*load(model_file_, *scalar))) << "a copy is the same model";

  const auto flip = [&](uint64_t at) {
    std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  };
  const uint64_t size = fs::file_size(copy);
  for (const uint64_t at : {size - 1, size / 2, size * 3 / 4, size / 3}) {  // weights, changed in place
    flip(at);
    EXPECT_NE(fingerprint(), original) << at;
    flip(at);
    EXPECT_EQ(fingerprint(), original) << at;
  }
  const size_t token = test::read_file(copy).find("ight");  // some token's text
  ASSERT_NE(token, std::string::npos);
  flip(token);
  EXPECT_NE(fingerprint(), original) << "the tokenizer is another";
}

// Models too large to be hashed in full: the file's times tell that something has changed.
TEST_F(DiskTierTest, ASampledModelIsToldByItsFileToo) {
  const fs::path copy = folder_.parent_path() / "sampled.gguf";
  fs::create_directories(copy.parent_path());
  fs::copy_file(model_file_, copy);
  const auto scalar = backend();
  const auto fingerprint = [&] { return *model_fingerprint(*load(copy, *scalar), /*fully_hashed_bytes=*/0); };
  const disk::Hash original = fingerprint();
  EXPECT_EQ(fingerprint(), original);
  EXPECT_NE(original, *model_fingerprint(*load(model_file_, *scalar), 0)) << "a copy is another file";
  const auto modified = fs::last_write_time(copy);
  {
    std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\7');
  }
  fs::last_write_time(copy, modified);  // who hides the change cannot hide the time of this
  EXPECT_NE(fingerprint(), original);
}

}  // namespace
}  // namespace mla
