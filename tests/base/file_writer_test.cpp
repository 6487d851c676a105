#include "base/file_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <string_view>

#include "support/paths.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

int64_t files_in(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(FileWriter, TheFileAppearsWhenItIsComplete) {
  const fs::path folder = test::temp_dir("writer");
  const fs::path path = folder / "out";
  auto writer = FileWriter::create(path, 6);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE((*writer).append(as_bytes("abc")).ok());
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE((*writer).append(as_bytes("def")).ok());
  EXPECT_EQ((*writer).bytes_written(), 6U);
  ASSERT_TRUE((*writer).finish().ok());
  EXPECT_EQ(test::read_file(path), "abcdef");
  EXPECT_EQ(files_in(folder), 1);
}

TEST(FileWriter, WithoutFinishTheOldFileStaysAndNothingElse) {
  const fs::path folder = test::temp_dir("writer");
  std::ofstream(folder / "out") << "old";
  {
    auto writer = FileWriter::create(folder / "out");
    ASSERT_TRUE(writer.ok());
    FileWriter moved = std::move(writer).value();
    ASSERT_TRUE(moved.append(as_bytes("half of the new on")).ok());
    EXPECT_EQ(files_in(folder), 2);
  }
  EXPECT_EQ(test::read_file(folder / "out"), "old");
  EXPECT_EQ(files_in(folder), 1);
}

TEST(FileWriter, RefusesWhatTheDiskCannotHold) {
  const fs::path folder = test::temp_dir("writer");
  const uint64_t wanted = uint64_t{1} << 60;
  const auto writer = FileWriter::create(folder / "out", wanted);
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().kind, ErrorKind::kResource);
  EXPECT_THAT(writer.error().message, HasSubstr("out"));
  EXPECT_THAT(writer.error().message, HasSubstr(std::to_string(wanted) + " bytes"));
  EXPECT_THAT(writer.error().message, HasSubstr("free"));
  EXPECT_EQ(files_in(folder), 0);
}

/// In a process of its own, whose files may have 1,000 bytes: writes 5,000, and exits with 0 when that fails
/// as it should.
[[noreturn]] void write_past_the_limit(const fs::path& folder) {
  const rlimit limit{1000, 1000};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::signal(SIGXFSZ, SIG_IGN);
  auto writer = FileWriter::create(folder / "out", 5000);
  if (!writer.ok()) std::_Exit(2);
  const std::string text(5000, 'x');
  const Status status = (*writer).append(as_bytes(text));
  if (status.ok()) std::_Exit(3);
  const std::string& message = status.error().message;
  const bool told = status.error().kind == ErrorKind::kResource &&
                    message.find("5000 bytes") != std::string::npos &&
                    message.find("ulimit") != std::string::npos;
  if (!told) std::_Exit(4);
  std::_Exit(files_in(folder) == 0 ? 0 : 5);
}

TEST(FileWriter, FailureInTheMiddleLeavesNothingBehind) {
  const fs::path folder = test::temp_dir("writer");
  EXPECT_EXIT(write_past_the_limit(folder), testing::ExitedWithCode(0), "");
}

TEST(FileWriter, AFullDeviceIsAResourceError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  auto writer = FileWriter::create("/dev/full", 3);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  const Status status = (*writer).append(as_bytes("abc"));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::kResource);
  EXPECT_THAT(status.error().message, HasSubstr("No space left"));
  EXPECT_TRUE(fs::exists("/dev/full"));
}

}  // namespace
}  // namespace mla
