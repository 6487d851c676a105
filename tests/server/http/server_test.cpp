#include "server/http/server.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "server/http/fixture.h"

namespace mla::http {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  start();
  RawClient c = client();
  for (int i = 0; i < 3; ++i) {
    const RawResponse alive = c.get("/livez");
    EXPECT_EQ(alive.status, 200);
    EXPECT_EQ(alive.body, "alive");
    EXPECT_TRUE(alive.complete);
  }
  EXPECT_EQ(c.post("/echo", R"({"a":1})").body, R"({"a":1})");
  EXPECT_EQ(c.get("/id/a%2Fb").body, "a/b");
  EXPECT_EQ(server->stats().accepted, 1u);
}

TEST_F(ServerTest, StreamsEvents) {
  start();
  RawClient c = client();
  const auto reply = hold(c);
  reply->begin_events();
  reply->event(R"({"n":1})");
  EXPECT_THAT(c.receive_until("\n\n\r\n"), HasSubstr("data: {\"n\":1}\n\n"));
  reply->event("[DONE]");
  reply->end_events();
  EXPECT_THAT(c.receive_until("0\r\n\r\n"), HasSubstr("data: [DONE]\n\n"));
  EXPECT_EQ(c.get("/livez").body, "alive") << "the connection goes on after a stream";
}

TEST_F(ServerTest, StreamsToHttp10UpToTheConnectionsEnd) {
  start();
  RawClient c = client();
  const auto reply = hold(c, "GET /held HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  reply->begin_events();
  reply->event("{}");
  reply->end_events();
  const RawResponse stream = c.receive();
  EXPECT_EQ(stream.body, "data: {}\n\n");
  EXPECT_EQ(stream.headers.at("connection"), "close");
}

TEST_F(ServerTest, SilentStreamsCarryPings) {
  options.timeouts.ping = 30ms;
  start();
  RawClient c = client();
  const auto reply = hold(c);
  reply->begin_events();
  EXPECT_THAT(c.receive_until(": ping\n\n"), HasSubstr("\r\n: ping\n\n"));
  EXPECT_THAT(c.receive_until(": ping\n\n"), HasSubstr("\r\n: ping\n\n"));
}

TEST_F(ServerTest, AHandlerThatThrowsOrForgetsCostsOneRequest) {
  start();
  RawClient c = client();
  for (const char* path : {"/throws", "/forgets"}) {
    const RawResponse failed = c.get(path, "X-Request-Id: mine-1\r\n");
    EXPECT_EQ(failed.status, 500);
    EXPECT_THAT(failed.body, HasSubstr("mine-1"));
    EXPECT_THAT(failed.body, HasSubstr("server_error"));
    EXPECT_THAT(failed.body, Not(HasSubstr("mistake"))) << "what went wrong inside is for the log";
  }
  EXPECT_EQ(c.get("/livez").body, "alive");
}

TEST_F(ServerTest, EveryAnswerHasTheHeadersThatProtectItsReader) {
  start();
  RawClient c = client();
  for (const char* path : {"/livez", "/nothing", "/a/../b"}) {
    const RawResponse r = c.get(path);
    EXPECT_EQ(r.headers.at("x-content-type-options"), "nosniff") << path;
    EXPECT_EQ(r.headers.at("content-security-policy"), "default-src 'self'; frame-ancestors 'none'") << path;
    EXPECT_EQ(r.headers.at("referrer-policy"), "no-referrer") << path;
    EXPECT_EQ(r.headers.at("cache-control"), "no-store") << path;
    EXPECT_FALSE(r.headers.contains("access-control-allow-origin")) << path;
    EXPECT_FALSE(r.headers.contains("server")) << path;
  }
}

TEST_F(ServerTest, RequestIdsAreEchoedWhenHarmless) {
  start();
  RawClient c = client();
  EXPECT_EQ(c.get("/livez", "X-Request-Id: abc-123\r\n").headers.at("x-request-id"), "abc-123");
  const std::string first = c.get("/livez").headers.at("x-request-id"),
                    second = c.get("/livez").headers.at("x-request-id");
  EXPECT_TRUE(first.starts_with("req-"));
  EXPECT_NE(first, second);
  for (const std::string& bad : {std::string(129, 'a'), std::string("with blank"), std::string("\xc3\xa9")}) {
    EXPECT_TRUE(
        c.get("/livez", "X-Request-Id: " + bad + "\r\n").headers.at("x-request-id").starts_with("req-"))
        << bad;
  }
}

// HT 08
TEST_F(ServerTest, AConnectionGoesOnAfterErrors) {
  start();
  RawClient c = client();
  EXPECT_EQ(c.get("/nothing").status, 404);
  EXPECT_EQ(c.post("/livez", "{}").status, 405);
  EXPECT_EQ(c.post("/echo", "a=b", "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(c.get("/livez", "Origin: null\r\n").status, 403);
  EXPECT_EQ(c.post("/echo", "{}").body, "{}");
  EXPECT_EQ(server->stats().accepted, 1u);
}

// HT 08
TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  RawClient c = client();
  std::string requests = kGetHeld;
  for (int i = 0; i < 50; ++i)
    requests += "GET /id/" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const auto reply = hold(c, requests);
  reply->send({.status = 200, .body = "held", .content_type = "text/plain", .headers = {}});
  EXPECT_EQ(c.receive().body, "held");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(c.receive().body, std::to_string(i));
}

// HT 07
TEST_F(ServerTest, ExpectationsAreMetBeforeTheBodyIsSent) {
  options.limits.body = 1000;
  start();
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
  RawClient c = client();
  ASSERT_TRUE(c.send(head + "Content-Length: 2\r\n\r\n"));
  EXPECT_EQ(c.receive().status, 100);
  ASSERT_TRUE(c.send("{}"));
  EXPECT_EQ(c.receive().body, "{}");
  EXPECT_EQ(c.get("/livez").body, "alive");
  RawClient large = client();
  ASSERT_TRUE(large.send(head + "Content-Length: 1001\r\n\r\n"));
  EXPECT_EQ(large.receive().status, 413) << "refused before the body is sent";
  RawClient elsewhere = client();
  ASSERT_TRUE(elsewhere.send(
      "POST /nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
  EXPECT_EQ(elsewhere.receive().status, 404);
  EXPECT_TRUE(elsewhere.sees_close());
}

// HT 10, 21
TEST_F(ServerTest, HeadHasNoBodyAndRangesAreIgnored) {
  start();
  RawClient c = client();
  ASSERT_TRUE(c.send("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  const RawResponse head = c.receive(10s, true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "5");
  const RawResponse whole = c.get("/livez", "Range: bytes=0-1\r\n");
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, "alive");
  ASSERT_TRUE(c.send("TRACE /livez HTTP/1.1\r\nHost: localhost\r\nCookie: secret\r\n\r\n"));
  const RawResponse trace = c.receive();
  EXPECT_EQ(trace.status, 405);
  EXPECT_THAT(trace.body, Not(HasSubstr("secret")));
  ASSERT_TRUE(c.send("OPTIONS /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  EXPECT_EQ(c.receive().headers.at("allow"), "GET, HEAD, OPTIONS");
}

// HT 20
TEST_F(ServerTest, TheAccessLogHasWhatHappenedAndNoSecrets) {
  ASSERT_TRUE(options.keys.add("alice", "a-secret-key").ok());
  start();
  RawClient c = client();
  EXPECT_EQ(c.post("/echo", R"({"prompt":"private"})",
                   "Content-Type: application/json\r\nAuthorization: Bearer a-secret-key\r\nX-Forwarded-For: "
                   "192.0.2.9\r\n")
                .status,
            200);
  EXPECT_EQ(c.get("/id/x").status, 401);
  ASSERT_TRUE(eventually([&] { return records().size() == 2; }));
  const AccessRecord first = records()[0];
  EXPECT_EQ(first.method, "POST");
  EXPECT_EQ(first.path, "/echo");
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(first.client, "alice");
  EXPECT_EQ(first.peer, "127.0.0.1") << "what a header says about the client is not believed";
  EXPECT_EQ(first.bytes_in, 20u);
  EXPECT_GT(first.bytes_out, 20u);
  EXPECT_TRUE(first.complete);
  EXPECT_EQ(records()[1].status, 401);
  EXPECT_EQ(records()[1].client, "");
}

TEST_F(ServerTest, ListensOnAUnixSocket) {
  options.unix_socket = testing::TempDir() + "server-" + std::to_string(::getpid()) + ".sock";
  start();
  EXPECT_EQ(server->address(), "unix:" + options.unix_socket);
  EXPECT_EQ(RawClient::unix_socket(options.unix_socket).get("/admin").body, "admin");
}

TEST_F(ServerTest, BeyondLoopbackItWantsKeys) {
  options.host = "0.0.0.0";
  options.port = 0;
  Server open(options, routes());
  const Status refused = open.start();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::kUsage);
  EXPECT_THAT(refused.error().message, HasSubstr("--api-key-file"));
  options.insecure_no_auth = true;
  EXPECT_TRUE(Server(options, routes()).start().ok());
  options.insecure_no_auth = false;
  ASSERT_TRUE(options.keys.add("alice", "a-secret-key").ok());
  start();
  EXPECT_EQ(client().get("/livez").status, 200);
}

TEST_F(ServerTest, TooManyConnectionsAreTurnedAway) {
  options.max_connections = 4;
  options.max_per_peer = 3;
  start();
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(client());
    EXPECT_EQ(clients.back().get("/livez").status, 200);
  }
  RawClient fourth = client();
  const RawResponse away = fourth.receive();
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(away.headers.at("retry-after"), "1");
  EXPECT_TRUE(fourth.sees_close());
  RawClient neighbour = RawClient::tcp(server->port(), "127.0.0.1");
  EXPECT_EQ(neighbour.receive().status, 503);
  EXPECT_EQ(clients[0].get("/livez").status, 200) << "those inside are served on";
  clients[1].close();
  EXPECT_TRUE(eventually([&] { return client().get("/livez").status == 200; }));
  EXPECT_GE(server->stats().turned_away, 2u);
}

TEST_F(ServerTest, StopsWhenNothingIsLeftToDo) {
  start();
  RawClient idle = client();
  EXPECT_EQ(idle.get("/livez").status, 200);
  server->stop(10s);
  server->wait();
  EXPECT_TRUE(idle.sees_close());
  EXPECT_FALSE(client().connected());
}

TEST_F(ServerTest, DrainsAnswersThatAreUnderWay) {
  start();
  RawClient c = client();
  const auto reply = hold(c);
  server->stop(10s);
  EXPECT_TRUE(eventually([&] { return !client().connected(); }));
  reply->send({.status = 200, .body = "late but whole", .content_type = "text/plain", .headers = {}});
  EXPECT_EQ(c.receive().body, "late but whole");
  server->wait();
  EXPECT_EQ(held.closed(), 0);
}

TEST_F(ServerTest, ADrainThatTakesTooLongEndsAnswersProperly) {
  start();
  RawClient waiting = client(), streaming = client();
  const auto first = hold(waiting);
  const auto second = hold(streaming);
  second->begin_events();
  second->event("{}");
  server->stop(20ms);
  const RawResponse unary = waiting.receive(), stream = streaming.receive();
  EXPECT_EQ(unary.status, 503);
  EXPECT_TRUE(unary.complete);
  EXPECT_THAT(stream.body, HasSubstr("\"code\":\"shutting_down\""));
  EXPECT_TRUE(stream.complete);
  server->wait();
  EXPECT_EQ(held.closed(), 2);
  first->send({});  // nobody listens any more
}

TEST_F(ServerTest, ASecondStopIsImmediate) {
  start();
  RawClient c = client();
  const auto reply = hold(c);
  const auto begin = std::chrono::steady_clock::now();
  server->stop(60s);
  server->stop();
  server->wait();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(c.receive().status, 503);
}

}  // namespace
}  // namespace mla::http
