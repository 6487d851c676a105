#include "server/http/request_parser.h"

#include <gmock/gmock.h>

#include <string>

namespace mla::http {
namespace {

using State = RequestParser::State;

/// What a parser makes of bytes given in pieces of `step`.
struct Outcome {
  State state = State::kHead;
  int status = 0;
  size_t taken = 0;
  Request request;
  bool operator==(const Outcome& other) const {
    return state == other.state && status == other.status && taken == other.taken &&
           request.method == other.request.method && request.path == other.request.path &&
           request.headers == other.request.headers && request.body == other.request.body;
  }
};

Outcome parse(const std::string& bytes, size_t step = SIZE_MAX, Limits limits = {}) {
  RequestParser parser(limits);
  Outcome outcome;
  while (outcome.taken < bytes.size() && parser.state() != State::kDone &&
         parser.state() != State::kRefused) {
    outcome.taken += parser.feed(std::string_view(bytes).substr(outcome.taken, step));
  }
  outcome.state = parser.state();
  if (outcome.state == State::kRefused) {
    outcome.status = parser.refusal().status;
    outcome.taken = 0;  // a parser may look further in a larger piece before it refuses
  } else {
    outcome.request = parser.request();
  }
  return outcome;
}

/// The same in pieces of several sizes; they must agree.
Outcome parse_all_ways(const std::string& bytes) {
  const Outcome whole = parse(bytes);
  for (const size_t step : {1u, 2u, 3u, 7u, 64u}) {
    const Outcome cut = parse(bytes, step);
    EXPECT_EQ(cut.state, whole.state) << step << ": " << bytes.substr(0, 200);
    EXPECT_EQ(cut.status, whole.status) << step << ": " << bytes.substr(0, 200);
    if (whole.state != State::kRefused) {
      EXPECT_TRUE(cut == whole) << step << ": " << bytes.substr(0, 200);
    }
  }
  return whole;
}

int status_of(const std::string& bytes) {
  return parse_all_ways(bytes).status;
}

const std::string kGet = "GET / HTTP/1.1\r\nHost: h\r\n";
const std::string kPost = "POST / HTTP/1.1\r\nHost: h\r\n";

TEST(RequestParser, ReadsRequests) {
  const Outcome get =
      parse_all_ways("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Two:  padded \t\r\nEmpty:\r\n\r\nNEXT");
  EXPECT_EQ(get.state, State::kDone);
  EXPECT_EQ(get.request.method, "GET");
  EXPECT_EQ(get.request.path, "/a?b");
  EXPECT_EQ(get.request.header("x-two"), "padded");
  EXPECT_EQ(get.request.headers.size(), 3u);
  EXPECT_EQ(get.taken,
            std::string("GET /a?b HTTP/1.1\r\nHost: h\r\nX-Two:  padded \t\r\nEmpty:\r\n\r\n").size());

  const Outcome post = parse_all_ways(kPost + "Content-Length: 5\r\n\r\nhelloNEXT");
  EXPECT_EQ(post.state, State::kDone);
  EXPECT_EQ(post.request.body, "hello");

  const Outcome chunked = parse_all_ways(
      kPost +
      "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;ext=\"v\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nNEXT");
  EXPECT_EQ(chunked.state, State::kDone);
  EXPECT_EQ(chunked.request.body, "hello world");
  EXPECT_EQ(chunked.request.header("trailer"), "") << "what comes after the body is no header";
  EXPECT_EQ(parse_all_ways(kPost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").state, State::kDone);
  EXPECT_EQ(parse_all_ways(kPost + "Content-Length: 0\r\n\r\n").state, State::kDone);
  EXPECT_EQ(parse_all_ways("\r\n" + kGet + "\r\n").state, State::kDone)
      << "an empty line before a request is ignored";
  EXPECT_EQ(parse_all_ways("GET / HTTP/1.0\r\n\r\n").state, State::kDone) << "HTTP/1.0 has no Host";
  EXPECT_EQ(parse_all_ways(kPost + "Content-Length: 5\r\n\r\nhell").state, State::kBody);
  EXPECT_EQ(parse_all_ways(kGet).state, State::kHead);
}

TEST(RequestParser, KnowsWhetherTheConnectionGoesOn) {
  const auto keeps = [](const std::string& head) {
    RequestParser parser{Limits{}};
    parser.feed(head);
    EXPECT_EQ(parser.state(), State::kDone);
    return parser.keep_alive();
  };
  EXPECT_TRUE(keeps(kGet + "\r\n"));
  EXPECT_FALSE(keeps(kGet + "Connection: close\r\n\r\n"));
  EXPECT_FALSE(keeps(kGet + "Connection: foo, Close\r\n\r\n"));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

// HT 03
TEST(RequestParser, RefusesHeadsThatParsersReadInDifferentWays) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\nHost: h\n\n"), 400) << "LF alone";
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\n\r\n"), 400) << "LF alone";
  EXPECT_EQ(status_of("GET / HTTP/1.1\rHost: h\r\r"), 400) << "CR alone";
  EXPECT_EQ(status_of(kGet + "A: b\rc\r\n\r\n"), 400) << "CR inside a value";
  EXPECT_EQ(status_of(kGet + "A: b\r\n folded\r\n\r\n"), 400) << "obs-fold";
  EXPECT_EQ(status_of(kGet + " A: b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n Host: h\r\n\r\n"), 400) << "a folded request line";
  EXPECT_EQ(status_of(kGet + std::string("A: b\0c\r\n\r\n", 10)), 400) << "NUL";
  EXPECT_EQ(status_of(std::string("GET /\0 HTTP/1.1\r\n", 17)), 400) << "NUL";
  EXPECT_EQ(status_of(kGet + "A: \x1b[31m\r\n\r\n"), 400) << "control character";
  EXPECT_EQ(status_of(kGet + "A : b\r\n\r\n"), 400) << "a blank before the colon";
  EXPECT_EQ(status_of(kGet + "A\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kGet + ": b\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kGet + "A(b): c\r\n\r\n"), 400);
  EXPECT_EQ(status_of("\r\n\r\nGET  / HTTP/1.1\r\n"), 400);
}

TEST(RequestParser, RefusesMalformedRequestLines) {
  for (const char* line :
       {"GET /", "GET", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/\tHTTP/1.1",
        "G@T / HTTP/1.1", "GET / HTTP/1,1", "GET / http/1.1", "GET / HTTP/11", "GET / HTTP/1.1x",
        "GET /\xc3\xa9 HTTP/1.1", "/ HTTP/1.1", "GET / / HTTP/1.1",
        "AVERYVERYVERYVERYVERYVERYVERYLONGMETHOD / HTTP/1.1", "\x16\x03\x01\x02"}) {
    EXPECT_EQ(status_of(std::string(line) + "\r\nHost: h\r\n\r\n"), 400) << line;
  }
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/0.9\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505) << "HTTP/2 with prior knowledge";
}

// HT 04
TEST(RequestParser, RefusesBodiesWhoseEndIsOpenToInterpretation) {
  EXPECT_EQ(status_of(kPost + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400);
  EXPECT_EQ(status_of(kPost + "Content-Length: 5, 5\r\n\r\nhello"), 400);
  for (const char* length : {"", "-1", "+5", "5 ", "0x5", "5;", "5a", " ", "5,"}) {
    const int expected = std::string(length) == "5 " ? 0 : 400;  // blanks around a value are not part of it
    EXPECT_EQ(status_of(kPost + "Content-Length: " + length + "\r\n\r\nhello"), expected) << length;
  }
  EXPECT_EQ(status_of(kPost + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: \r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n"), 501);
  EXPECT_EQ(status_of(kPost + "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"), 501);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(kGet + "Host: other\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400) << "no Host";
}

// HT 05
TEST(RequestParser, RefusesMalformedChunks) {
  const std::string head = kPost + "Transfer-Encoding: chunked\r\n\r\n";
  for (const char* chunks :
       {"-2\r\nab\r\n0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n", "\r\n", "x\r\n", "0x2\r\nab\r\n\r\n",
        "2\nab\r\n0\r\n\r\n", "2\r\nabc\r\n0\r\n\r\n", "2\r\nab0\r\n\r\n", "2 \x01\r\nab\r\n",
        "2;\x01=b\r\nab\r\n0\r\n\r\n", " 2\r\nab\r\n0\r\n\r\n", "0\r\nbad trailer\r\n\r\n",
        "0\r\nA: b\r\nContent-Length: 5\r\n\r\n"}) {
    EXPECT_EQ(status_of(head + chunks), 400) << chunks;
  }
  for (const char* size : {"FFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFE", "7FFFFFFFFFFFFFFF", "800001"})
    EXPECT_EQ(status_of(head + size + "\r\nab"), 413) << size;
  EXPECT_EQ(status_of(head + "10000000000000000\r\nab"), 400) << "more than 64 bits";
  EXPECT_EQ(parse_all_ways(head + "2\r\nab\r\n").state, State::kBody) << "the last chunk is missing";
}

TEST(RequestParser, BoundsWhatChunksCarryBesidesTheBody) {
  const std::string head = kPost + "Transfer-Encoding: chunked\r\n\r\n";
  const Limits limits;
  EXPECT_EQ(status_of(head + "1;" + std::string(limits.chunk_overhead + 10, 'x')), 400)
      << "an extension without end";
  EXPECT_EQ(status_of(head + std::string(limits.chunk_overhead + 10, '0')), 400) << "a size without end";
  std::string trailers = "0\r\n";
  while (trailers.size() < limits.chunk_overhead + 10) trailers += "A: b\r\n";
  EXPECT_EQ(status_of(head + trailers), 400) << "a trailer without end";
}

// HT 02, 03
TEST(RequestParser, BoundsHeads) {
  const Limits limits;
  EXPECT_EQ(status_of(std::string(limits.request_line + 1, 'A')), 414) << "no line break ever";
  EXPECT_EQ(status_of("GET /" + std::string(limits.request_line, 'a')), 414);
  const std::string fits = "GET /" + std::string(limits.request_line - 16, 'a') + " HTTP/1.1\r\n";
  ASSERT_EQ(fits.size(), limits.request_line);
  EXPECT_EQ(parse_all_ways(fits + "Host: h\r\n\r\n").state, State::kDone);

  EXPECT_EQ(status_of(kGet + "A: " + std::string(limits.head, 'a')), 431);
  EXPECT_EQ(status_of(kGet + "A: " + std::string(1 << 20, 'a') + "\r\n\r\n"), 431) << "1 MiB in one field";
  std::string many = kGet;  // has one field
  for (size_t i = 1; i < limits.fields; ++i) many += "a:b\r\n";
  EXPECT_EQ(parse_all_ways(many + "\r\n").state, State::kDone);
  EXPECT_EQ(status_of(many + "a:b\r\n\r\n"), 431);
  std::string exact = kGet + "A: ";
  exact += std::string(limits.head - exact.size() - 4, 'a') + "\r\n\r\n";
  EXPECT_EQ(exact.size(), limits.head);
  EXPECT_EQ(parse_all_ways(exact).state, State::kDone);
  exact.insert(exact.size() - 4, "a");
  EXPECT_EQ(status_of(exact), 431);
}

// HT 06
TEST(RequestParser, BoundsBodiesOfBothKinds) {
  Limits limits;
  limits.body = 100;
  const auto of_length = [&](size_t n) {
    return parse(kPost + "Content-Length: " + std::to_string(n) + "\r\n\r\n" + std::string(n, 'b'), 13,
                 limits);
  };
  EXPECT_EQ(of_length(100).request.body.size(), 100u);
  EXPECT_EQ(of_length(101).status, 413);
  EXPECT_EQ(parse(kPost + "Content-Length: 99999999999999999999999\r\n\r\n", 13, limits).status, 413);
  const auto of_chunks = [&](size_t n) {
    std::string bytes = kPost + "Transfer-Encoding: chunked\r\n\r\n";
    for (size_t i = 0; i < n; ++i) bytes += "1\r\nb\r\n";
    return parse(bytes + "0\r\n\r\n", 13, limits);
  };
  EXPECT_EQ(of_chunks(100).request.body.size(), 100u);
  EXPECT_EQ(of_chunks(101).status, 413);
}

}  // namespace
}  // namespace mla::http
