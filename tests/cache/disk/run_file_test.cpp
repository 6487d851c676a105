#include "cache/disk/run_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "cache/disk/maintenance.h"
#include "support/paths.h"
#include "support/prefix_chains.h"

namespace mla::disk {
namespace {
namespace fs = std::filesystem;
using namespace test;

class RunFileTest : public testing::Test {
 protected:
  RunFileTest() : folder_(std::move(Folder::open(system_files(), temp_dir("run-file") / "f", true)).value()) {}

  /// Pages first ... first + n - 1 of a chain, as run `number`.
  void write(uint64_t number, uint32_t first, uint32_t n) {
    PendingRun run;
    run.header = {.number = number, .shape = shape_, .first_page = first, .tokens = chain_tokens(1, first + n), .space = "alice", .label = "a model"};
    run.header.checksums.resize(n);
    run.payload_bytes = n * kSmallPageBytes;
    run.payload = std::make_unique<std::byte[]>(run.payload_bytes);
    for (uint32_t i = 0; i < n; ++i) {
      const auto page = page_content("alice", run.header.tokens, first + i, kSmallPageBytes);
      std::memcpy(run.payload.get() + i * kSmallPageBytes, page.data(), page.size());
    }
    const auto file = write_run(folder_, run, true);
    ASSERT_TRUE(file.ok()) << file.error().message;
  }
  /// Changes a byte of run 1 in place.
  void flip(uint64_t at, int bit) {
    File file(system_files(), system_files().open(folder_.fd(), run_name(1), O_RDWR));
    std::byte byte;
    ASSERT_EQ(file.read({&byte, 1}, at), 0);
    byte ^= static_cast<std::byte>(1 << bit);
    ASSERT_EQ(file.write({&byte, 1}, at), 0);
  }
  ReadOutcome open() { return RunReader::open(folder_, 1, reader_, message_); }

  Folder folder_;
  PageShape shape_{.identity = {std::byte{1}}, .n_layers = 2, .row_bytes = 12};
  RunReader reader_;
  std::string message_;
};

TEST_F(RunFileTest, ReadsWhatWasWritten) {
  write(1, 3, 2);
  ASSERT_EQ(open(), ReadOutcome::kOk) << message_;
  const RunHeader& h = reader_.header();
  EXPECT_EQ(h.number, 1u);
  EXPECT_EQ(h.first_page, 3u);
  EXPECT_EQ(h.n_pages(), 2u);
  EXPECT_EQ(h.space, "alice");
  EXPECT_EQ(h.label, "a model");
  EXPECT_EQ(h.tokens, chain_tokens(1, 5));
  std::vector<std::byte> page(kSmallPageBytes);
  for (uint32_t i = 0; i < 2; ++i) {
    ASSERT_EQ(reader_.read_page(i, page, message_), ReadOutcome::kOk) << message_;
    EXPECT_EQ(page, page_content("alice", chain_tokens(1, 5), 3 + i, kSmallPageBytes));
  }
}

TEST_F(RunFileTest, HoldsItsOwnPagesOnly) {
  write(1, 3, 2);
  ASSERT_EQ(open(), ReadOutcome::kOk);
  const std::vector<int32_t> tokens = chain_tokens(1, 8);
  EXPECT_TRUE(reader_.holds(0, shape_, "alice", tokens, 3));
  EXPECT_TRUE(reader_.holds(1, shape_, "alice", tokens, 4));
  EXPECT_FALSE(reader_.holds(1, shape_, "alice", tokens, 3)) << "another place in the chain";
  EXPECT_FALSE(reader_.holds(2, shape_, "alice", tokens, 5)) << "beyond the run";
  EXPECT_FALSE(reader_.holds(0, shape_, "bob", tokens, 3));
  EXPECT_FALSE(reader_.holds(0, shape_, "alice", chain_tokens(1, 3), 3)) << "tokens that end before the page";
  for (const size_t at : {size_t{0}, size_t{64}, size_t{255}}) {
    std::vector<int32_t> other = tokens;
    other[at] ^= 1;
    EXPECT_FALSE(reader_.holds(0, shape_, "alice", other, 3)) << "token " << at;
  }
  for (PageShape other : {PageShape{{std::byte{2}}, 2, 12}, PageShape{shape_.identity, 1, 24}, PageShape{shape_.identity, 2, 8}}) {
    EXPECT_FALSE(reader_.holds(0, other, "alice", tokens, 3));
  }
}

TEST_F(RunFileTest, EveryFlippedBitIsNoticed) {
  write(1, 1, 2);
  const uint64_t size = fs::file_size(folder_.path() / run_name(1));
  std::vector<std::byte> page(kSmallPageBytes);
  for (uint64_t at = 0; at < size; ++at) {
    const int bit = static_cast<int>(at % 8);
    flip(at, bit);
    ReadOutcome outcome = open();
    for (uint32_t i = 0; outcome == ReadOutcome::kOk && i < reader_.header().n_pages(); ++i) {
      outcome = reader_.read_page(i, page, message_);
      if (outcome == ReadOutcome::kOk) {
        ASSERT_EQ(page, page_content("alice", chain_tokens(1, 3), 1 + i, kSmallPageBytes)) << at;
      }
    }
    ASSERT_EQ(outcome, ReadOutcome::kCorrupt) << "byte " << at;
    flip(at, bit);
  }
  EXPECT_EQ(open(), ReadOutcome::kOk);
}

TEST_F(RunFileTest, ARunUnderAnotherNumberIsRefused) {
  write(2, 0, 1);
  fs::rename(folder_.path() / run_name(2), folder_.path() / run_name(1));
  EXPECT_EQ(open(), ReadOutcome::kCorrupt);
  EXPECT_NE(message_.find("run 2"), std::string::npos) << message_;
}

/// A header with one field changed and its checksum made anew: what damage cannot do, but a program of another version or a
/// hostile file can. No length may be believed.
TEST_F(RunFileTest, EveryFieldIsCheckedBehindAValidChecksum) {
  RunHeader header{.number = 1, .shape = shape_, .first_page = 1, .tokens = chain_tokens(1, 2)};
  header.checksums.resize(1);
  const uint64_t file_bytes = header.file_bytes();
  struct Case {
    size_t offset, size;
    uint64_t value;
  };
  std::vector<Case> cases;
  for (const size_t offset : {size_t{8}, size_t{12}, size_t{64}, size_t{68}, size_t{76}}) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{3}, uint64_t{0x7fffffff}, uint64_t{0xffffffff}}) cases.push_back({offset, 4, value});
  }
  for (const size_t offset : {size_t{72}, size_t{80}, size_t{84}}) {  // counts whose small values fit into the same header
    for (const uint64_t value : {uint64_t{5000}, uint64_t{0x7fffffff}, uint64_t{0xffffffff}}) cases.push_back({offset, 4, value});
  }
  for (const size_t offset : {size_t{16}, size_t{48}, size_t{56}}) {
    for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{8192}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} << 12}) {
      cases.push_back({offset, 8, value});
    }
  }
  for (const Case& c : cases) {
    std::vector<std::byte> bytes = encode_header(header);
    std::memcpy(bytes.data() + c.offset, &c.value, c.size);
    const Hash checksum = hash_of(std::span(bytes).first(bytes.size() - sizeof(Hash)));
    std::memcpy(bytes.data() + bytes.size() - sizeof(Hash), checksum.data(), sizeof(Hash));
    const auto decoded = decode_header(bytes, file_bytes);
    ASSERT_FALSE(decoded.ok()) << "offset " << c.offset << " value " << c.value;
    EXPECT_EQ(decoded.error().kind, ErrorKind::kInvalidFile);
  }
  const std::vector<std::byte> sound = encode_header(header);
  EXPECT_TRUE(decode_header(sound, file_bytes).ok());
  EXPECT_FALSE(decode_header(sound, file_bytes + 1).ok());
  EXPECT_FALSE(decode_header(sound, file_bytes - 1).ok());
  EXPECT_FALSE(decode_header({}, 0).ok());
}

TEST_F(RunFileTest, NamesAreOneToOne) {
  EXPECT_EQ(run_name(0x1a), "000000000000001a.run");
  EXPECT_EQ(run_number("000000000000001a.run"), 0x1au);
  EXPECT_EQ(run_number(run_name(~uint64_t{0})), ~uint64_t{0});
  for (const char* name : {"", ".run", "000000000000001A.run", "1a.run", "0000000000000000.run", "000000000000001a.tmp", "000000000000001a.run2",
                           "00000000000000-1.run", "../000000000001.run"}) {
    EXPECT_FALSE(run_number(name)) << name;
  }
  EXPECT_TRUE(is_temporary_name(temporary_name(7)));
  EXPECT_FALSE(is_temporary_name("index.mdb"));
}

// Samples of format 1, made by make.py from the format's description: a program that reads them no longer must raise
// kFormatVersion.
TEST_F(RunFileTest, GoldenRunsOfVersionOneStayReadable) {
  const fs::path samples = temp_dir("golden-runs");  // copied: they must belong to the user who reads them
  fs::copy(golden("disk-cache/v1"), samples, fs::copy_options::recursive);
  const auto runs = examine_runs(samples, /*pages=*/true);
  ASSERT_TRUE(runs.ok()) << runs.error().message;
  ASSERT_EQ(runs->size(), 2u);
  for (const RunSummary& run : *runs) EXPECT_EQ(run.fault, "") << run.name;
  EXPECT_EQ((*runs)[0].space, "alice");
  EXPECT_EQ((*runs)[0].label, "a model");
  EXPECT_EQ((*runs)[1].first_token, 128);
  EXPECT_EQ((*runs)[1].n_tokens, 64);
  // And what is written today is the same, byte for byte.
  write(1, 0, 2);
  write(2, 2, 1);
  const Folder sample_folder = std::move(Folder::open(system_files(), samples, false)).value();
  for (const uint64_t number : {1, 2}) {
    uint64_t ours = 0, theirs = 0;
    const File a = folder_.open_file(run_name(number), ours), b = sample_folder.open_file(run_name(number), theirs);
    ASSERT_EQ(ours, theirs);
    std::vector<std::byte> x(ours), y(theirs);
    ASSERT_EQ(a.read(x, 0), 0);
    ASSERT_EQ(b.read(y, 0), 0);
    EXPECT_EQ(x, y) << number;
  }
}

TEST_F(RunFileTest, ARunOfAnotherVersionIsNamedAsSuch) {
  write(1, 0, 1);
  flip(8, 1);  // version 1 becomes 3
  EXPECT_EQ(open(), ReadOutcome::kCorrupt);
  EXPECT_NE(message_.find("version 3"), std::string::npos) << message_;
  flip(8, 1);
  flip(8, 0);  // 0
  EXPECT_EQ(open(), ReadOutcome::kCorrupt);
  EXPECT_NE(message_.find("version 0"), std::string::npos) << message_;
}

}  // namespace
}  // namespace mla::disk
