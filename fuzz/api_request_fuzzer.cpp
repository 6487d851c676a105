// The body of a request to the server's API.

#include <algorithm>

#include "base/utf8.h"
#include "input.h"
#include "server/api/request.h"

namespace mla::server {
namespace {

void check(const GenerationParams& params) {
  fuzz::require(params.n >= 1 && params.n <= kMaxChoices, "n within its limits");
  fuzz::require(params.stops.size() <= kMaxStops, "as many stops as may be");
  for (const std::string& stop : params.stops)
    fuzz::require(stop.size() <= kMaxStopBytes, "stops within their limit");
}

/// A refusal is the client's fault and can be sent.
template <typename T>
bool accepted(const ApiResult<T>& request) {
  if (request.ok()) return true;
  const ApiError& error = request.error();
  fuzz::require(error.status >= 400 && error.status < 500, "the fault is the client's");
  fuzz::require(!error.message.empty(), "a refusal says why");
  const std::string document = error_json(error);
  fuzz::require(nlohmann::json::accept(document), "an error is JSON");
  fuzz::require(document.size() < 16 * 1024, "an error does not repeat a long body");
  return false;
}

void parse(size_t route, std::string_view body) {
  switch (route) {
    case 0:
      if (const auto chat = parse_chat_request(body); accepted(chat)) {
        check(chat.value().common);
        fuzz::require(chat.value().messages.is_array(), "messages are an array");
        fuzz::require(!chat.value().messages.dump().empty() && !chat.value().tools.dump().empty(),
                      "they can be written again");
      }
      break;
    case 1:
      if (const auto completion = parse_completion_request(body); accepted(completion)) {
        check(completion.value().common);
        fuzz::require(!completion.value().prompts.empty() && completion.value().prompts.size() <= kMaxPrompts,
                      "prompts");
      }
      break;
    case 2:
      if (const auto embedding = parse_embedding_request(body); accepted(embedding)) {
        fuzz::require(embedding.value().inputs.size() <= kMaxPrompts, "inputs within their limit");
      }
      break;
    case 3:
      if (const auto text = parse_tokenize_request(body); accepted(text))
        fuzz::require(is_utf8(text.value().text), "a text is UTF-8");
      break;
    default:
      if (const auto ids = parse_detokenize_request(body); accepted(ids)) {
        fuzz::require(ids.value().ids.size() <= kMaxIds, "ids within their limit");
      }
  }
}

}  // namespace
}  // namespace mla::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mla::fuzz::Choices choices(data, size);
  const size_t route = choices.next(5);
  mla::server::parse(route, choices.rest());
  return 0;
}
