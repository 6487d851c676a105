// An answer of a model: thoughts and calls of tools, cut into pieces.

#include <algorithm>

#include "input.h"
#include "text/answer_parser.h"

namespace mla {
namespace {

struct Seen {
  std::string all;      // every part with its kind, texts that go on joined
  std::string content;  // the text of content alone
  int64_t n_calls = 0;
  bool arguments_open = false;  // the last part was the beginning of a call
};

void add(Seen& seen, const std::vector<AnswerPart>& parts, AnswerPart::Kind& last) {
  for (const AnswerPart& part : parts) {
    if (part.kind != last || part.kind == AnswerPart::Kind::kCallBegins) seen.all += '\0' + std::to_string(static_cast<int>(part.kind)) + '\0';
    last = part.kind;
    seen.all += part.text + part.id + part.name;
    fuzz::require(!part.text.empty() || part.kind == AnswerPart::Kind::kCallBegins, "no part is empty");
    if (part.kind == AnswerPart::Kind::kContent) seen.content += part.text;
    if (part.kind == AnswerPart::Kind::kCallBegins) ++seen.n_calls;
    if (part.kind == AnswerPart::Kind::kCallArguments) {
      fuzz::require(part.call + 1 == seen.n_calls, "arguments are of the last call");
      fuzz::require(!seen.arguments_open || part.text.front() == '{', "arguments open with a brace");
    }
    seen.arguments_open = part.kind == AnswerPart::Kind::kCallBegins;
  }
}

Seen parse(const AnswerOptions& options, std::string_view answer, size_t piece) {
  AnswerParser parser(options);
  Seen seen;
  auto last = AnswerPart::Kind::kCallBegins;
  for (size_t at = 0; at < answer.size(); at += piece) add(seen, parser.push(answer.substr(at, piece)), last);
  add(seen, parser.finish(), last);
  fuzz::require(seen.n_calls == parser.n_calls(), "every call is given");
  return seen;
}

}  // namespace
}  // namespace mla

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  fuzz::Choices choices(data, size);
  AnswerOptions options;
  options.tools = static_cast<ToolCallFormat>(choices.next(5));
  const size_t reasoning = choices.next(3);
  options.split_reasoning = reasoning > 0;
  options.starts_reasoning = reasoning > 1;
  const size_t piece = 1 + choices.next(32);
  const std::string_view answer = choices.rest();

  const Seen whole = parse(options, answer, std::max<size_t>(answer.size(), 1));
  fuzz::require(whole.all == parse(options, answer, piece).all, "cuts change nothing");
  if (whole.n_calls == 0 && !options.split_reasoning)
    fuzz::require(whole.content == answer, "nothing is lost");
  return 0;
}
