// A JSON Schema from a client, then a line feed and what a model writes.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "grammar/json_matcher.h"
#include "grammar/json_schema.h"
#include "input.h"
#include "server/api/json_body.h"

namespace mla {
namespace {

using Json = nlohmann::ordered_json;

/// What has been accepted can be continued to a whole document.
void finish(JsonMatcher matcher, std::string text) {
  constexpr int kMost = 2'000;  // bytes: strings and arrays may have to be long
  for (int i = 0; i < kMost && !matcher.complete(); ++i) {
    bool goes_on = false;
    for (const char c : std::string_view("\"}]0:,1aefnrlstu-23456789{[\\ ")) {
      goes_on = matcher.advance({&c, 1});
      if (goes_on) text += c;
      if (goes_on) break;
    }
    for (int byte = 0; byte < 256 && !goes_on; ++byte) {
      const char c = static_cast<char>(byte);
      goes_on = matcher.advance({&c, 1});
      if (goes_on) text += c;
    }
    fuzz::require(goes_on, "some byte may follow");
  }
  if (matcher.complete()) fuzz::require(Json::accept(text), "a whole document is JSON");
}

void match(const std::shared_ptr<const JsonGrammar>& grammar, std::string_view text, size_t piece) {
  JsonMatcher by_bytes(grammar), by_pieces(grammar);
  size_t n = 0;
  while (n < text.size() && by_bytes.advance(text.substr(n, 1))) ++n;
  fuzz::require(JsonMatcher(grammar).accepts(text) == (n == text.size()), "whole as byte by byte");
  for (size_t at = 0; at + piece <= n; at += piece) fuzz::require(by_pieces.advance(text.substr(at, piece)), "cuts change nothing");
  fuzz::require(by_bytes.readings().size() <= JsonMatcher::kMaxReadings, "as many readings as may be");
  fuzz::require(!by_bytes.finished() || by_bytes.complete(), "what is finished is complete");
  const std::string accepted(text.substr(0, n));
  if (by_bytes.complete()) fuzz::require(Json::accept(accepted), "what is accepted is JSON");
  finish(by_bytes, accepted);
}

}  // namespace
}  // namespace mla

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  fuzz::Choices choices(data, size);
  const size_t piece = 1 + choices.next(8);
  const std::string_view input = choices.rest();
  const size_t end = std::min(input.find('\n'), input.size());
  // A schema comes inside a request, whose parser has its limits.
  const auto body = server::parse_json_body("{\"schema\":" + std::string(input.substr(0, end)) + "}");
  if (!body.ok() || body->size() != 1) return 0;
  const auto grammar = compile_json_schema((*body)["schema"]);
  if (!grammar.ok()) {
    fuzz::require(grammar.error().kind == ErrorKind::kUsage, "the fault is the client's");
    fuzz::require(grammar.error().message.size() < 4096, "an error does not repeat a long schema");
    return 0;
  }
  match(*grammar, input.substr(std::min(end + 1, input.size())), piece);
  return 0;
}
