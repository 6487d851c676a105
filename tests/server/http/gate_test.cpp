#include "server/http/gate.h"

#include <gmock/gmock.h>

#include <string>
#include <utility>
#include <vector>

#include "server/http/response_head.h"

namespace mla::http {
namespace {

using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

const Source kLocal{"127.0.0.1", "127.0.0.1", true};
const Source kRemote{"192.0.2.7", "192.0.2.1", false};

Request get(const std::string& path, Headers headers = {}) {
  Request request;
  request.method = "GET";
  request.path = path;
  request.headers = std::move(headers);
  if (request.header("host").empty()) request.headers.emplace_back("host", "localhost");
  return request;
}

Request post(const std::string& path, Headers headers = {{"content-type", "application/json"}}) {
  Request request = get(path, std::move(headers));
  request.method = "POST";
  return request;
}

std::vector<Route> routes() {
  const Handler none = [](const Request&, const std::shared_ptr<Reply>&) {};
  return {{"GET", "/", Access::kPublic, none},       {"GET", "/livez", Access::kPublic, none},
          {"GET", "/v1/models", Access::kKey, none}, {"GET", "/v1/models/{id}", Access::kKey, none},
          {"POST", "/v1/chat", Access::kKey, none},  {"GET", "/metrics", Access::kAdmin, none}};
}

KeyRing keys() {
  KeyRing ring;
  EXPECT_TRUE(ring.add("alice", "alice-key").ok() && ring.add("ops", "ops-key", true).ok());
  return ring;
}

int status(const Gate& gate, Request request, const Source& source = kLocal) {
  const Gate::Verdict verdict = gate.check(request, source);
  return verdict.route != nullptr ? 0 : verdict.response.status;
}

const Headers kAlice = {{"authorization", "Bearer alice-key"}, {"content-type", "application/json"}};
const Headers kOps = {{"authorization", "bearer  ops-key"}};

// HT 15
TEST(Gate, EveryRouteThatIsNotPublicWantsAKey) {
  const Gate gate({keys(), {}, {}}, routes());
  size_t guarded = 0;
  for (const Route& route : gate.routes().routes()) {
    Request request = route.method == "POST" ? post(route.pattern) : get(route.pattern);
    if (const size_t id = request.path.find("{id}"); id != std::string::npos)
      request.path.replace(id, 4, "some");
    const Gate::Verdict verdict = gate.check(request, kLocal);
    if (route.access == Access::kPublic) {
      EXPECT_NE(verdict.route, nullptr) << route.pattern;
      continue;
    }
    ++guarded;
    EXPECT_EQ(verdict.route, nullptr) << route.pattern;
    EXPECT_EQ(verdict.response.status, 401) << route.pattern;
    EXPECT_THAT(verdict.response.body, HasSubstr(R"("type":"authentication_error")"));
    EXPECT_THAT(verdict.response.headers, Contains(Pair("WWW-Authenticate", HasSubstr("Bearer"))));
  }
  EXPECT_EQ(guarded, 4u);
}

TEST(Gate, KeysOpenTheirRoutes) {
  const Gate gate({keys(), {}, {}}, routes());
  EXPECT_EQ(status(gate, get("/v1/models", kAlice)), 0);
  EXPECT_EQ(status(gate, get("/v1/models", kOps)), 0);
  EXPECT_EQ(status(gate, get("/metrics", kAlice)), 403);
  EXPECT_EQ(status(gate, get("/metrics", kOps)), 0);
  Request request = post("/v1/chat", kAlice);
  EXPECT_NE(gate.check(request, kLocal).route, nullptr);
  EXPECT_EQ(request.client, "alice");
  for (const char* wrong : {"Bearer", "Bearer ", "Bearer alice-ke", "Bearer alice-keyy", "Basic alice-key",
                            "alice-key", "Bearer alice-key ops-key", "Beareralice-key"}) {
    EXPECT_EQ(status(gate, get("/v1/models", {{"authorization", wrong}})), 401) << wrong;
  }
  EXPECT_EQ(status(gate, get("/v1/models",
                             {{"authorization", "Bearer alice-key"}, {"authorization", "Bearer ops-key"}})),
            401)
      << "two keys";
  EXPECT_EQ(status(gate, get("/livez")), 0);
}

TEST(Gate, WithoutKeysAdminRoutesAreForLocalClients) {
  const Gate gate({}, routes());
  EXPECT_EQ(status(gate, get("/metrics")), 0);
  EXPECT_EQ(status(gate, get("/metrics", {{"host", "192.0.2.1"}}), kRemote), 403);
  EXPECT_EQ(status(gate, get("/v1/models", {{"host", "192.0.2.1"}}), kRemote), 0);
}

// HT 13
TEST(Gate, AnswersToItsOwnNamesOnly) {
  const Gate gate({{}, {"box.example", "2001:db8::1"}, {}}, routes());
  for (const char* host : {"localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "127.8.9.10", "[::1]",
                           "[::1]:8080", "box.example", "BOX.example:443"}) {
    EXPECT_EQ(status(gate, get("/livez", {{"host", host}})), 0) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "localhost:80:80", "localhost:x",
                           "127.0.0.1.evil.example", "127.0.0", "127.evil.1.1", "[::1", "[::2]", "192.0.2.9",
                           "box.example.", ":80", "xlocalhost", "[::1]x", "localhost:123456"}) {
    EXPECT_EQ(status(gate, get("/livez", {{"host", host}})), 403) << host;
  }
  Request empty = get("/livez");
  empty.headers = {{"host", ""}};
  EXPECT_EQ(status(gate, empty), 403);
  Request missing = get("/livez");
  missing.headers.clear();
  EXPECT_EQ(status(gate, missing), 0) << "HTTP/1.0; the parser refuses it in HTTP/1.1";
  EXPECT_EQ(status(gate, get("/livez", {{"host", "192.0.2.1:80"}}), kRemote), 0)
      << "the address that was connected to";
  EXPECT_EQ(status(gate, get("/livez", {{"host", "[2001:db8::5]"}}), {"::1", "2001:db8::5", false}), 0);
  EXPECT_EQ(status(Gate({{}, {"*"}, {}}, routes()), get("/livez", {{"host", "any.example"}})), 0);
}

// HT 14
TEST(Gate, PagesOfOtherOriginsAreKeptOut) {
  const Gate gate({{}, {}, {"https://app.example"}}, routes());
  const auto verdict = [&](const std::string& origin, const Gate& g) {
    Request request = post(
        "/v1/chat", {{"content-type", "application/json"}, {"host", "localhost:8080"}, {"origin", origin}});
    return g.check(request, kLocal);
  };
  for (const char* origin :
       {"null", "", "https://evil.example", "http://app.example", "https://app.example.evil",
        "http://localhost", "http://localhost:8081", "localhost:8080"}) {
    const Gate::Verdict refused = verdict(origin, gate);
    EXPECT_EQ(refused.response.status, 403) << origin;
    EXPECT_EQ(refused.route, nullptr) << origin;
    EXPECT_THAT(refused.headers, Not(Contains(Pair("Access-Control-Allow-Origin", testing::_)))) << origin;
  }
  const Gate::Verdict same = verdict("http://localhost:8080", gate);
  EXPECT_NE(same.route, nullptr);
  EXPECT_THAT(same.headers, Not(Contains(Pair("Access-Control-Allow-Origin", testing::_))));
  EXPECT_THAT(same.headers, Contains(Pair("Vary", "Origin")));
  const Gate::Verdict allowed = verdict("https://app.example", gate);
  EXPECT_NE(allowed.route, nullptr);
  EXPECT_THAT(allowed.headers, Contains(Pair("Access-Control-Allow-Origin", "https://app.example")));
  EXPECT_THAT(allowed.headers, Each(Pair(Not("Access-Control-Allow-Credentials"), testing::_)));

  const Gate any({{}, {}, {"*"}}, routes());
  EXPECT_THAT(verdict("https://other.example", any).headers,
              Contains(Pair("Access-Control-Allow-Origin", "*")));
  EXPECT_EQ(verdict("null", any).response.status, 403);
  Request two = get("/livez", {{"origin", "https://app.example"}, {"origin", "https://app.example"}});
  EXPECT_EQ(gate.check(two, kLocal).response.status, 403);
}

TEST(Gate, PreflightsAreAnsweredForAllowedOriginsOnly) {
  const Gate gate({keys(), {}, {"https://app.example"}}, routes());
  Request request = get("/v1/chat", {{"origin", "https://app.example"},
                                     {"access-control-request-method", "POST"},
                                     {"access-control-request-headers", "authorization, x-stainless-os"}});
  request.method = "OPTIONS";
  const Gate::Verdict verdict = gate.check(request, kLocal);
  EXPECT_EQ(verdict.response.status, 204);
  EXPECT_THAT(verdict.response.headers, Contains(Pair("Access-Control-Allow-Methods", "POST, OPTIONS")));
  EXPECT_THAT(verdict.response.headers,
              Contains(Pair("Access-Control-Allow-Headers", "authorization, x-stainless-os")));
  request = get("/v1/chat", {{"access-control-request-method", "POST"}});
  request.method = "OPTIONS";
  const Gate::Verdict plain = gate.check(request, kLocal);
  EXPECT_EQ(plain.response.status, 204);
  EXPECT_THAT(plain.response.headers, Not(Contains(Pair("Access-Control-Allow-Methods", testing::_))));
  EXPECT_THAT(plain.response.headers, Contains(Pair("Allow", "POST, OPTIONS")));
}

// HT 10
TEST(Gate, MethodsThatAPathDoesNotTake) {
  const Gate gate({}, routes());
  for (const char* method : {"POST", "TRACE", "CONNECT", "DELETE", "BREW", "get"}) {
    Request request = post("/livez");
    request.method = method;
    const Gate::Verdict verdict = gate.check(request, kLocal);
    EXPECT_EQ(verdict.response.status, 405) << method;
    EXPECT_THAT(verdict.response.headers, Contains(Pair("Allow", "GET, HEAD, OPTIONS"))) << method;
  }
  Request head = get("/livez");
  head.method = "HEAD";
  EXPECT_EQ(status(gate, head), 0);
  Request head_of_post = get("/v1/chat");
  head_of_post.method = "HEAD";
  EXPECT_EQ(status(gate, head_of_post), 405);
  for (const char* path : {"/nothing", "/livez/more", "/v1", "/v1/models/a/b", "/Livez"})
    EXPECT_EQ(status(gate, get(path)), 404) << path;
  EXPECT_EQ(status(gate, get("/v1/models/..")), 400);
}

TEST(Gate, BodiesAreJson) {
  const Gate gate({}, routes());
  for (const char* type : {"application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"})
    EXPECT_EQ(status(gate, post("/v1/chat", {{"content-type", type}})), 0) << type;
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                           "application/jsonx", "text/plain; application/json"}) {
    EXPECT_EQ(status(gate, post("/v1/chat", {{"content-type", type}})), 415) << type;
  }
  EXPECT_EQ(status(gate, post("/v1/chat", {})), 415);
  EXPECT_EQ(
      status(gate, post("/v1/chat", {{"content-type", "application/json"}, {"content-encoding", "gzip"}})),
      415);
  EXPECT_EQ(status(gate, post("/v1/chat",
                              {{"content-type", "application/json"}, {"content-encoding", "identity"}})),
            0);
  EXPECT_EQ(status(gate, post("/v1/chat", {{"content-type", "application/json"}, {"expect", "a-miracle"}})),
            417);
}

// HT 17
TEST(Gate, KeysInQueriesAreRefused) {
  const Gate gate({keys(), {}, {}}, routes());
  EXPECT_EQ(status(gate, get("/v1/models?api_key=alice-key", kAlice)), 400);
  EXPECT_EQ(status(gate, get("/livez?access_token=x")), 400);
  EXPECT_EQ(status(gate, get("/v1/models?limit=5", kAlice)), 0);
}

// HT 20
TEST(Gate, WhatProxyHeadersSayIsNotBelieved) {
  const Gate gate({}, routes());
  EXPECT_EQ(status(gate,
                   get("/metrics", {{"host", "192.0.2.1"},
                                    {"x-forwarded-for", "127.0.0.1"},
                                    {"x-real-ip", "127.0.0.1"},
                                    {"forwarded", "for=127.0.0.1"}}),
                   kRemote),
            403);
  EXPECT_EQ(status(gate, get("/livez", {{"host", "evil.example"}, {"x-forwarded-host", "localhost"}})), 403);
}

}  // namespace
}  // namespace mla::http
