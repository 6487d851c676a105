#include "server/log.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace mla {
namespace {

using testing::EndsWith;

/// What is written into a pipe, up to its capacity.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_), 0); }
  ~Pipe() {
    ::close(ends_[0]);
    if (ends_[1] >= 0) ::close(ends_[1]);
  }
  int in() const { return ends_[1]; }
  std::string read_all() {
    ::close(ends_[1]);
    ends_[1] = -1;
    std::string all(1 << 20, '\0');
    size_t size = 0;
    for (ssize_t n; (n = ::read(ends_[0], all.data() + size, all.size() - size)) > 0;)
      size += static_cast<size_t>(n);
    all.resize(size);
    return all;
  }

 private:
  int ends_[2];
};

TEST(Log, TextLinesAreOneLineWhateverIsInThem) {
  Pipe pipe;
  Log log(pipe.in());
  log.info("request", {{"path", "/a\n2026 error forged=1"},
                       {"n", 5},
                       {"s", 0.25},
                       {"ok", true},
                       {"empty", ""},
                       {"bytes", "\xff\x1b[31m\xe2\x80\xa8\xc2\x85"}});
  log.debug("not written", {});
  const std::string line = pipe.read_all();
  EXPECT_THAT(
      line,
      EndsWith(
          R"( info request path="/a\u000a2026 error forged=1" n=5 s=0.25 ok=true empty="" bytes="\ufffd\u001b[31m\u2028\u0085")"
          "\n"));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_EQ(line.find('T'), 10u) << line;
}

TEST(Log, JsonLinesParse) {
  Pipe pipe;
  Log log(pipe.in(), LogFormat::kJson, LogLevel::kDebug);
  log.debug("an \"event\"",
            {{"path", "/\\\xc3\xa9\n"}, {"n", -5}, {"nan", 0.0 / 0.0}, {"big", size_t{1} << 40}});
  const auto json = nlohmann::json::parse(pipe.read_all());
  EXPECT_EQ(json["event"], "an \"event\"");
  EXPECT_EQ(json["path"], "/\\\xc3\xa9\n");
  EXPECT_EQ(json["n"], -5);
  EXPECT_EQ(json["big"], size_t{1} << 40);
  EXPECT_TRUE(json["nan"].is_null());
  EXPECT_EQ(json["level"], "debug");
}

TEST(Log, LinesOfManyThreadsStayWhole) {
  Pipe pipe;
  Log log(pipe.in());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 50; ++i) log.info("line", {{"x", "0123456789"}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string all = pipe.read_all();
  size_t whole = 0;
  for (size_t at = 0; (at = all.find(" info line x=0123456789\n", at)) != std::string::npos; ++at) ++whole;
  EXPECT_EQ(whole, 200u);
}

TEST(Log, AClosedDescriptorLosesLinesOnly) {
  Log log(-1);
  log.error("lost", {{"a", "b"}});
  EXPECT_TRUE(log.writes(LogLevel::kError));
  EXPECT_FALSE(log.writes(LogLevel::kDebug));
}

}  // namespace
}  // namespace mla
