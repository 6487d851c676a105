#include "server/http/server.h"

#include <gmock/gmock.h>

#include "server/http/fixture.h"

namespace mla::http {
namespace {

using testing::HasSubstr;

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
  ASSERT_TRUE(c.send("GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  const std::shared_ptr<Reply> reply = held.take();
  ASSERT_NE(reply, nullptr);
  reply->begin_events();
  reply->event(R"({"n":1})");
  EXPECT_THAT(c.receive_until("\n\n\r\n"), HasSubstr("data: {\"n\":1}\n\n"));
  reply->event("[DONE]");
  reply->end_events();
  EXPECT_THAT(c.receive_until("0\r\n\r\n"), HasSubstr("data: [DONE]\n\n"));
  EXPECT_EQ(c.get("/livez").body, "alive") << "the connection goes on after a stream";
}

TEST_F(ServerTest, AHandlerThatThrowsOrForgetsCostsOneRequest) {
  start();
  RawClient c = client();
  for (const char* path : {"/throws", "/forgets"}) {
    const RawResponse failed = c.get(path, "X-Request-Id: mine-1\r\n");
    EXPECT_EQ(failed.status, 500);
    EXPECT_THAT(failed.body, HasSubstr("mine-1"));
    EXPECT_THAT(failed.body, HasSubstr("server_error"));
  }
  EXPECT_EQ(client().get("/livez").body, "alive");
}

}  // namespace
}  // namespace mla::http
