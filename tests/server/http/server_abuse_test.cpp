// The abuse suite: what clients do that are slow, broken, greedy or hostile. After each, the server answers
// and has given back what it had taken.

#include <dirent.h>
#include <gmock/gmock.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <vector>

#include "server/http/fixture.h"
#include "server/http/server.h"

namespace mla::http {
namespace {

using testing::HasSubstr;

constexpr const char* kPostEcho =
    "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

size_t open_descriptors() {
  size_t n = 0;
  if (DIR* folder = ::opendir("/proc/self/fd")) {
    while (::readdir(folder) != nullptr) ++n;
    ::closedir(folder);
  }
  return n;
}

class ServerAbuse : public ServerTest {
 protected:
  void SetUp() override { options.max_per_peer = options.max_connections; }
  void TearDown() override {
    EXPECT_EQ(client().get("/livez").body, "alive");
    EXPECT_TRUE(eventually([&] { return server->stats().connections == 0; }))
        << server->stats().connections << " connections are left";
    ServerTest::TearDown();
  }
  /// The status of what comes back for raw bytes, after which the connection must close.
  int refused(const std::string& bytes) {
    RawClient c = client();
    c.send(bytes);
    const RawResponse response = c.receive();
    EXPECT_TRUE(response.complete) << bytes.substr(0, 100);
    EXPECT_THAT(response.body, HasSubstr("invalid_request_error")) << bytes.substr(0, 100);
    EXPECT_TRUE(c.sees_close()) << bytes.substr(0, 100);
    return response.status;
  }
};

// HT 01
TEST_F(ServerAbuse, HeadersByteByByteTimeOut) {
  options.timeouts.head = 400ms;
  start();
  RawClient c = client();
  const std::string head = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
  size_t sent = 0;
  while (sent < head.size() && c.send(head.substr(sent, 1))) {
    ++sent;
    if (!records().empty()) break;  // it has been answered
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(c.receive().status, 408);
  EXPECT_TRUE(c.sees_close());
  RawClient silent = client();
  EXPECT_TRUE(silent.sees_close()) << "a client that never says anything";
}

// HT 01
TEST_F(ServerAbuse, BodiesThatTrickleTimeOut) {
  options.timeouts.body_rate_window = 200ms;
  start();
  RawClient slow = client();
  ASSERT_TRUE(slow.send(std::string(kPostEcho) + "Content-Length: 1000\r\n\r\n{"));
  const RawResponse too_slow = slow.receive();
  EXPECT_EQ(too_slow.status, 408);
  EXPECT_THAT(too_slow.body, HasSubstr("too slowly"));
}

// HT 01: fast enough at every look, but without end
TEST_F(ServerAbuse, BodiesThatTakeTooLongTimeOut) {
  options.timeouts.body = 500ms;
  options.timeouts.body_rate_window = 50ms;
  options.timeouts.body_rate = 0;
  start();
  RawClient steady = client();
  ASSERT_TRUE(steady.send(std::string(kPostEcho) + "Content-Length: 1000000\r\n\r\n"));
  const std::string piece(50, ' ');
  while (records().empty() && steady.send(piece)) std::this_thread::sleep_for(10ms);
  const RawResponse too_long = steady.receive();
  EXPECT_EQ(too_long.status, 408);
  EXPECT_THAT(too_long.body, HasSubstr("in time"));
}

// HT 02-06, 09 over the wire; every case is in request_parser_test.cpp and target_test.cpp
TEST_F(ServerAbuse, MalformedRequestsAreRefusedAndClosed) {
  start();
  EXPECT_EQ(refused(std::string(100'000, 'A')), 414);
  EXPECT_EQ(refused("GET /livez HTTP/1.1\r\nHost: localhost\r\nA: " + std::string(1 << 20, 'a')), 431);
  EXPECT_EQ(refused("GET /livez HTTP/1.1\nHost: localhost\n\n"), 400);
  EXPECT_EQ(refused("GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"), 400);
  EXPECT_EQ(
      refused(std::string(kPostEcho) +
              "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n"),
      400);
  EXPECT_EQ(refused(std::string(kPostEcho) + "Transfer-Encoding: chunked\r\n\r\n-2\r\n"), 400);
  EXPECT_EQ(refused(std::string(kPostEcho) + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"), 413);
  RawClient c = client();
  for (const char* target :
       {"*", "http://localhost/livez", "//livez", "/%2e%2e/livez", "/livez%00", "/%c0%ae"})
    EXPECT_EQ(c.get(target).status, 400) << target;
  EXPECT_EQ(c.get("/livez").body, "alive") << "the end of these requests was never in doubt";
}

// HT 06
TEST_F(ServerAbuse, BodiesUpToTheCapAreTaken) {
  start();
  const std::string body(options.limits.body, ' ');
  RawClient c = client();
  const RawResponse whole = c.post("/echo", body);
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body.size(), body.size());
  EXPECT_EQ(c.post("/echo", body + " ").status, 413);
  RawClient chunked = client();
  chunked.send(std::string(kPostEcho) + "Transfer-Encoding: chunked\r\n\r\n");
  for (size_t sent = 0; sent <= body.size(); sent += 0x10000)
    chunked.send("10000\r\n" + body.substr(0, 0x10000) + "\r\n");
  EXPECT_EQ(chunked.receive().status, 413);
}

// HT 11
TEST_F(ServerAbuse, ClientsThatLeaveAreNoticed) {
  start();
  const auto leaves = [&](auto leave, bool streaming) {
    const int before = held.closed();
    RawClient c = client();
    const auto reply = hold(c);
    if (streaming) {
      reply->begin_events();
      reply->event("{}");
      EXPECT_THAT(c.receive_until("{}"), HasSubstr("{}"));
    }
    leave(c);
    EXPECT_TRUE(eventually([&] { return held.closed() == before + 1; }));
    reply->event("{}");
    EXPECT_EQ(reply->buffered(), 0u);
    reply->send({});
  };
  for (const bool streaming : {false, true}) {
    leaves([](RawClient& c) { c.reset(); }, streaming);
    leaves([](RawClient& c) { c.close(); }, streaming);
    leaves([](RawClient& c) { c.shut_down_sending(); }, streaming);
  }
  ASSERT_TRUE(eventually([&] { return records().size() == 6; }));
  EXPECT_EQ(records()[0].status, 499);
  EXPECT_FALSE(records()[5].complete);
}

// HT 11
TEST_F(ServerAbuse, AnAnswerThatIsCompleteReachesAClientThatOnlyStoppedSending) {
  start();
  RawClient c = client();
  ASSERT_TRUE(
      c.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /id/5 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  c.shut_down_sending();
  EXPECT_EQ(c.receive().body, "alive");
  EXPECT_EQ(c.receive().body, "5");
  EXPECT_TRUE(c.sees_close());
}

// HT 11
TEST_F(ServerAbuse, UploadsThatBreakOff) {
  start();
  for (const bool reset : {false, true}) {
    RawClient c = client();
    ASSERT_TRUE(c.send(std::string(kPostEcho) + "Content-Length: 1000\r\n\r\n" + std::string(500, ' ')));
    reset ? c.reset() : c.close();
  }
  RawClient half = client();
  ASSERT_TRUE(half.send("GET /livez HTTP/1.1\r\n"));
  half.shut_down_sending();
  EXPECT_TRUE(half.sees_close());
}

// HT 18
TEST_F(ServerAbuse, ReadersThatDoNotReadAreDroppedAndNeverBlock) {
  options.limits.send_buffer = 4096;
  options.limits.kept_answer = 100'000'000;  // so that the stall is what ends it
  options.timeouts.write_stall = 2s;
  start();
  RawClient never = RawClient::tcp(server->port());
  never.set_receive_buffer(4096);
  const auto reply = hold(never);
  reply->begin_events();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 4000; ++i) reply->event(std::string(1000, 'x'));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s) << "event() does not wait for the client";
  EXPECT_GT(reply->buffered(), 100'000u);
  EXPECT_TRUE(eventually([&] { return held.closed() == 1; }));
  EXPECT_EQ(reply->buffered(), 0u);
}

// HT 18
TEST_F(ServerAbuse, AStreamThatIsNotPausedIsBrokenAtItsLimit) {
  options.limits.send_buffer = 4096;
  options.limits.kept_answer = 50'000;
  start();
  RawClient never = client();
  const auto reply = hold(never);
  reply->begin_events();
  for (int i = 0; i < 20'000; ++i) reply->event(std::string(1000, 'x'));
  EXPECT_TRUE(eventually([&] { return held.closed() == 1; }));
}

// HT 18
TEST_F(ServerAbuse, AReaderWhoIsSlowButReadsGetsEverythingInOrder) {
  options.limits.send_buffer = 4096;
  start();
  RawClient slow = client();
  slow.set_receive_buffer(4096);
  const auto reply = hold(slow);
  reply->begin_events();
  constexpr int kEvents = 300;
  for (int i = 0; i < kEvents; ++i) reply->event(std::to_string(i) + std::string(1000, ' '));
  reply->end_events();
  std::string all;
  while (all.find("\r\n0\r\n\r\n") == std::string::npos) {
    const std::string some = slow.receive_some(3000, 5s);
    ASSERT_FALSE(some.empty());
    all += some;
    std::this_thread::sleep_for(1ms);
  }
  size_t at = 0;
  for (int i = 0; i < kEvents; ++i) {
    at = all.find("data: " + std::to_string(i) + " ", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

// HT 18
TEST_F(ServerAbuse, AReaderWhoLeavesAfterTheFirstChunk) {
  start();
  RawClient c = client();
  const auto reply = hold(c);
  reply->begin_events();
  reply->event("first");
  EXPECT_THAT(c.receive_until("first"), HasSubstr("first"));
  c.close();
  EXPECT_TRUE(eventually([&] {
    reply->event("more");
    return held.closed() == 1;
  }));
}

// HT 12, and the baseline after all kinds of abuse
TEST_F(ServerAbuse, AThousandIdleConnectionsAndNothingLeaks) {
  options.max_connections = options.max_per_peer = 1100;
  options.timeouts.idle = options.timeouts.head = 60s;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 2500) GTEST_SKIP() << "needs 2500 descriptors, has " << limit.rlim_max;
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, 2500);
  setrlimit(RLIMIT_NOFILE, &limit);
  start();
  const auto crowd = [&] {
    std::vector<RawClient> clients;
    for (int i = 0; i < 1000; ++i) clients.push_back(client());
    EXPECT_TRUE(eventually([&] { return server->stats().connections >= 1000; }));
    EXPECT_EQ(client().get("/livez").body, "alive");
    for (int i = 0; i < 1000; i += 100) EXPECT_EQ(clients[static_cast<size_t>(i)].get("/livez").status, 200);
    for (int i = 0; i < 500; ++i) clients[static_cast<size_t>(i)].reset();
    clients.clear();
    EXPECT_TRUE(eventually([&] { return server->stats().connections == 0; }));
  };
  crowd();  // whatever grows once has grown
  const size_t descriptors = open_descriptors();
  const auto memory = [] { return mallinfo2().uordblks; };
  const size_t baseline = memory();
  crowd();
  EXPECT_EQ(open_descriptors(), descriptors);
  // A connection that has left is freed when the last call it waits for has come back.
  EXPECT_TRUE(eventually([&] { return memory() < baseline + 1'000'000; }))
      << memory() << " bytes are in use, " << baseline << " were before";
}

// HT 12
TEST_F(ServerAbuse, WhenDescriptorsRunOutItServesOnAndRecovers) {
  start();
  RawClient health = client();
  EXPECT_EQ(health.get("/livez").status, 200);
  int line[2];  // between the two processes
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, line), 0);
  char byte = 0;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // only the client's side: the server's descriptors are limited, not these
    ::close(line[0]);
    std::vector<RawClient> crowd;
    const bool told = ::read(line[1], &byte, 1) == 1;  // the limit is set
    for (int i = 0; told && i < 60; ++i) crowd.push_back(client());
    const bool tells = ::write(line[1], &byte, 1) == 1;  // the crowd is there
    ::_exit(told && tells && ::read(line[1], &byte, 1) == 0 ? 0 : 1);  // and stays until the end
  }
  ::close(line[1]);
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit tight = before;
  tight.rlim_cur = open_descriptors() + 20;
  setrlimit(RLIMIT_NOFILE, &tight);
  EXPECT_EQ(::write(line[0], &byte, 1), 1);
  EXPECT_EQ(::read(line[0], &byte, 1), 1);
  EXPECT_TRUE(eventually([&] { return server->stats().connections > 10; })) << "the crowd did not come";
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(health.get("/livez").body, "alive");
    std::this_thread::sleep_for(25ms);
  }
  EXPECT_LT(server->stats().connections, 60u) << "the limit was not reached";
  ::close(line[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(eventually([&] { return client().get("/livez").status == 200; }));
  setrlimit(RLIMIT_NOFILE, &before);
}

// HT 22
TEST_F(ServerAbuse, StoppingUnderLoadTruncatesNothing) {
  options.io_threads = 2;
  start();
  std::atomic<bool> go{true};
  std::atomic<int> whole{0}, truncated{0};
  std::vector<std::thread> load;
  for (int t = 0; t < 4; ++t) {
    load.emplace_back([&] {
      const std::string body = "{\"text\":\"" + std::string(20'000, 'x') + "\"}";
      while (go) {
        RawClient c = client();
        for (int i = 0; i < 20 && go && c.connected(); ++i) {
          const RawResponse r = c.post("/echo", body);
          if (r.status == 0) break;  // closed before an answer began
          ++(r.complete ? whole : truncated);
        }
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return whole > 200; }));
  server->stop(5s);
  server->wait();
  go = false;
  for (std::thread& thread : load) thread.join();
  EXPECT_EQ(truncated, 0);
  start();  // for what TearDown asks
}

// Bytes that once were a request: whatever is done to them, the server lives.
TEST_F(ServerAbuse, RandomlyDamagedRequests) {
  start();
  std::mt19937 random(7);
  const std::string request =
      std::string(kPostEcho) + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n";
  for (int i = 0; i < 300; ++i) {
    std::string damaged = request;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const size_t at = random() % damaged.size();
      switch (random() % 3) {
        case 0:
          damaged[at] = static_cast<char>(random());
          break;
        case 1:
          damaged.erase(at, 1 + random() % 5);
          break;
        default:
          damaged.insert(at, damaged.substr(random() % damaged.size(), random() % 20));
      }
    }
    RawClient c = client();
    c.send(damaged);
    c.shut_down_sending();
    EXPECT_TRUE(c.sees_close()) << damaged;
  }
}

}  // namespace
}  // namespace mla::http
