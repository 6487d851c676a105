#include "server/http/listener.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/raw_client.h"

namespace mla::http {
namespace {

using testing::HasSubstr;

TEST(Listener, SaysWhoHasThePort) {
  const Result<Listener> first = Listener::tcp("localhost", 0);
  ASSERT_TRUE(first.ok());
  EXPECT_NE(first->port(), 0);
  EXPECT_TRUE(first->loopback());
  EXPECT_EQ(first->address(), "http://127.0.0.1:" + std::to_string(first->port()));
  const Result<Listener> second = Listener::tcp("127.0.0.1", first->port());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().kind, ErrorKind::kResource);
  EXPECT_THAT(second.error().message, HasSubstr("taken by process " + std::to_string(::getpid())));
  EXPECT_THAT(second.error().message, HasSubstr("--port"));
}

TEST(Listener, NamesWhatIsNoAddress) {
  EXPECT_EQ(Listener::tcp("192.0.2.1", 0).error().kind, ErrorKind::kUsage);
  EXPECT_EQ(Listener::tcp("no such name", 0).error().kind, ErrorKind::kUsage);
  const Result<Listener> everywhere = Listener::tcp("0.0.0.0", 0);
  ASSERT_TRUE(everywhere.ok());
  EXPECT_FALSE(everywhere->loopback());
}

class UnixSocket : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path); }
  const std::string path = testing::TempDir() + "mla-" + std::to_string(::getpid()) + ".sock";
};

TEST_F(UnixSocket, IsForThisUserOnlyAndGoesWithItsServer) {
  {
    const Result<Listener> listener = Listener::unix_socket(path);
    ASSERT_TRUE(listener.ok()) << listener.error().message;
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_TRUE(test::RawClient::unix_socket(path).connected());
    EXPECT_THAT(Listener::unix_socket(path).error().message, HasSubstr("listens there already"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(UnixSocket, ReplacesADeadSocketAndNothingElse) {
  {
    Result<Listener> listener = Listener::unix_socket(path);
    ASSERT_TRUE(listener.ok());
    std::filesystem::rename(path, path + ".kept");  // so that it stays behind
  }
  std::filesystem::rename(path + ".kept", path);
  EXPECT_FALSE(test::RawClient::unix_socket(path).connected());
  EXPECT_TRUE(Listener::unix_socket(path).ok());
  std::ofstream(path) << "precious";
  EXPECT_EQ(Listener::unix_socket(path).error().kind, ErrorKind::kUsage);
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(Listener::unix_socket(std::string(200, 'p')).error().kind, ErrorKind::kUsage);
}

}  // namespace
}  // namespace mla::http
