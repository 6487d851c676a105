#include "server/http/exchange.h"

#include <gmock/gmock.h>

#include <string>

namespace mla::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

ExchangeOptions options() {
  ExchangeOptions o;
  o.request_id = "id-1";
  o.kept_limit = 1000;
  return o;
}

/// All that waits to be sent, counted as sent.
std::string drain(Exchange& exchange) {
  std::string bytes;
  exchange.take(bytes);
  exchange.sent(bytes.size());
  return bytes;
}

// HT 19
TEST(Exchange, EventsAreSplitAtLineBreaks) {
  EXPECT_EQ(event_text("{}"), "data: {}\n\n");
  EXPECT_EQ(event_text(""), "data: \n\n");
  EXPECT_EQ(event_text("a\nb"), "data: a\ndata: b\n\n");
  EXPECT_EQ(event_text("a\r\nb\rc"), "data: a\ndata: b\ndata: c\n\n");
  EXPECT_EQ(event_text("a\n\nevent: forged"), "data: a\ndata: \ndata: event: forged\n\n");
  EXPECT_EQ(event_text("a\n"), "data: a\ndata: \n\n");
  EXPECT_EQ(event_text("a\xe2\x80\xa8"
                       "b"),
            "data: a\xe2\x80\xa8"
            "b\n\n")
      << "U+2028 breaks no line of an event";
}

TEST(Exchange, AResponseIsOneHeadAndOneBody) {
  int wakes = 0;
  Exchange exchange(options(), [&] { ++wakes; });
  exchange.send(
      {.status = 200,
       .body = "{}",
       .content_type = "application/json",
       .headers = {{"Retry-After", "1"}, {"X-Bad", "a\r\nSet-Cookie: b"}, {"cache-control", "max-age=5"}}});
  exchange.send({.status = 500, .body = "twice", .content_type = "text/plain", .headers = {}});
  EXPECT_EQ(wakes, 1);
  const std::string bytes = drain(exchange);
  EXPECT_THAT(bytes, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(bytes, EndsWith("\r\n\r\n{}"));
  for (const char* field :
       {"Content-Length: 2\r\n", "X-Request-Id: id-1\r\n", "X-Content-Type-Options: nosniff\r\n",
        "Referrer-Policy: no-referrer\r\n",
        "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'\r\n", "Retry-After: 1\r\n",
        "cache-control: max-age=5\r\n", "X-Bad: a  Set-Cookie: b\r\n"}) {
    EXPECT_THAT(bytes, HasSubstr(field));
  }
  EXPECT_THAT(bytes, Not(HasSubstr("no-store"))) << "the handler's Cache-Control takes the place of ours";
  EXPECT_TRUE(exchange.complete());
}

TEST(Exchange, AnAbandonedAnswerIsA500OrABrokenStream) {
  auto waiting = std::make_shared<Exchange>(options(), [] {});
  make_reply(waiting).reset();
  EXPECT_THAT(drain(*waiting), StartsWith("HTTP/1.1 500 "));

  auto streaming = std::make_shared<Exchange>(options(), [] {});
  {
    const std::shared_ptr<Reply> reply = make_reply(streaming);
    reply->begin_events();
    reply->event("{}");
  }
  const std::string bytes = drain(*streaming);
  EXPECT_THAT(bytes, HasSubstr(R"("code":"internal_error")"));
  EXPECT_THAT(bytes, Not(HasSubstr("\r\n0\r\n\r\n")))
      << "no last chunk: the client sees that something is missing";
  EXPECT_FALSE(streaming->keep_alive());

  auto ended = std::make_shared<Exchange>(options(), [] {});
  {
    const std::shared_ptr<Reply> reply = make_reply(ended);
    reply->begin_events();
    reply->end_events();
  }
  EXPECT_THAT(drain(*ended), EndsWith("\r\n0\r\n\r\n"));
}

TEST(Exchange, AStreamKeepsNoMoreThanItMay) {
  Exchange exchange(options(), [] {});
  exchange.begin_events();
  drain(exchange);
  for (int i = 0; i < 100; ++i) exchange.event(std::string(100, 'x'));
  EXPECT_TRUE(exchange.overflowed());
  EXPECT_LT(exchange.buffered(), 1300u);
}

TEST(Exchange, TellsOnceThatTheClientIsGoneAndEachTimeThatAllIsSent) {
  Exchange exchange(options(), [] {});
  int closed = 0, drained = 0;
  exchange.on_closed([&] { ++closed; });
  exchange.on_drained([&] { ++drained; });
  exchange.begin_events();
  drain(exchange);
  exchange.event("a");
  std::string bytes;
  exchange.take(bytes);
  exchange.sent(3);
  EXPECT_EQ(drained, 1);
  EXPECT_EQ(exchange.buffered(), bytes.size() - 3);
  exchange.sent(bytes.size() - 3);
  EXPECT_EQ(drained, 2);
  exchange.close();
  exchange.close();
  EXPECT_EQ(closed, 1);
  exchange.on_closed([&] { ++closed; });
  EXPECT_EQ(closed, 2) << "at once when it is gone already";
  exchange.event("b");
  EXPECT_EQ(exchange.buffered(), 0u);
}

TEST(Exchange, ACompleteAnswerIsNotCutShort) {
  Exchange exchange(options(), [] {});
  int closed = 0;
  exchange.on_closed([&] { ++closed; });
  exchange.send({});
  exchange.break_off(503, {}, true);
  exchange.close();
  exchange.on_closed([&] { ++closed; });
  EXPECT_EQ(closed, 0);
  EXPECT_EQ(exchange.status(), 200);
}

TEST(Exchange, BreakingOffEndsAnAnswerProperlyAndTellsTheHandler) {
  const ErrorBody error{
      .message = "the server is shutting down", .type = {}, .param = {}, .code = "shutting_down"};
  Exchange waiting(options(), [] {});
  int closed = 0;
  waiting.on_closed([&] { ++closed; });
  waiting.break_off(503, error, true);
  const std::string response = drain(waiting);
  EXPECT_THAT(response, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
  Exchange streaming(options(), [] {});
  streaming.begin_events();
  streaming.on_closed([&] { ++closed; });
  streaming.break_off(503, error, true);
  const std::string stream = drain(streaming);
  EXPECT_THAT(stream, HasSubstr("data: {\"error\":"));
  EXPECT_THAT(stream, EndsWith("\r\n0\r\n\r\n"));
  EXPECT_THAT(stream, Not(HasSubstr("[DONE]")));
  EXPECT_EQ(closed, 2);
  streaming.on_closed([&] { ++closed; });
  EXPECT_EQ(closed, 3) << "a handler that asks late is told as well";
}

TEST(Exchange, ACallbackThatThrowsHarmsNothing) {
  Exchange exchange(options(), [] {});
  exchange.on_closed([] { throw 1; });
  exchange.close();
  EXPECT_EQ(exchange.buffered(), 0u);
}

TEST(ErrorBody, HasAllFourKeys) {
  EXPECT_EQ(error_json(404, {.message = "m", .type = {}, .param = {}, .code = {}}),
            R"({"error":{"code":null,"message":"m","param":null,"type":"not_found_error"}})");
  EXPECT_EQ(error_json(400, {.message = "\xff\"", .type = "t", .param = "p", .code = "c"}),
            "{\"error\":{\"code\":\"c\",\"message\":\"\xef\xbf\xbd\\\"\",\"param\":\"p\",\"type\":\"t\"}}");
}

}  // namespace
}  // namespace mla::http
