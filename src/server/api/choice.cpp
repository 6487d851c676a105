#include "server/api/choice.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace mla::server {
namespace {

std::vector<int32_t> shown_tokens(const ChoiceOptions& options) {
  return options.answer ? answer_marker_tokens(*options.tokenizer, *options.answer) : std::vector<int32_t>();
}

}  // namespace

TokenRecord token_record(const Tokenizer& tokenizer, const SampledToken& token) {
  TokenRecord record{.id = token.token, .logprob = token.logprob, .top = token.top};
  if (auto bytes = tokenizer.token_bytes(token.token, true); bytes.ok()) record.bytes = std::move(*bytes);
  return record;
}

Choice::Choice(ChoiceOptions options)
    : options_(std::move(options)),
      decoder_(options_.tokenizer, options_.stops, options_.begins_text, shown_tokens(options_)) {
  if (options_.answer) parser_.emplace(*options_.answer);
}

ChoiceDelta Choice::accept(const SampledToken& token) {
  ++n_tokens_;
  const bool ends = std::find(options_.stop_tokens.begin(), options_.stop_tokens.end(), token.token) != options_.stop_tokens.end();
  if (ends || ended()) return {};
  const size_t begin = decoder_.received_bytes();
  auto text = decoder_.push(token.token);
  if (!text.ok()) return {};  // the engine gives ids of the vocabulary only
  if (options_.logprobs) hold(token, begin);
  ChoiceDelta delta = take(std::move(*text), false);
  if (!thought_over_) ++n_thought_tokens_;
  return delta;
}

ChoiceDelta Choice::finish() { return take(decoder_.finish(), true); }

void Choice::hold(const SampledToken& token, size_t begin) {
  TokenRecord record = token_record(*options_.tokenizer, token);
  record.begin = begin;
  record.silent = decoder_.received_bytes() == begin;
  const bool drops_space = begin == 0 && options_.begins_text && options_.tokenizer->strips_leading_space();
  if (drops_space && !record.silent && record.bytes.starts_with(' ')) record.bytes.erase(0, 1);
  held_.push_back(std::move(record));
}

ChoiceDelta Choice::take(std::string text, bool last) {
  ChoiceDelta delta;
  if (parser_) {
    if (!text.empty()) add_parts(parser_->push(text), delta);
    if (last) add_parts(parser_->finish(), delta);
    if (!options_.parallel_calls && n_calls_ > 0 && !parser_->in_call()) only_call_over_ = true;
  } else if (!text.empty()) {
    delta.parts.push_back({.text = std::move(text)});
  }
  // A token is told of once some of its text is: before that a stop string may still swallow it.
  const size_t released = decoder_.released_bytes();
  const auto first_held = std::find_if(held_.begin(), held_.end(), [&](const TokenRecord& t) { return t.begin >= released; });
  delta.tokens.assign(std::make_move_iterator(held_.begin()), std::make_move_iterator(first_held));
  held_.erase(held_.begin(), first_held);
  return delta;
}

void Choice::add_parts(std::vector<AnswerPart> parts, ChoiceDelta& delta) {
  for (AnswerPart& part : parts) {
    // Behind an only call everything is dropped that came in the same piece.
    if (!options_.parallel_calls && n_calls_ > 0 && part.kind != AnswerPart::Kind::kCallArguments) only_call_over_ = true;
    if (only_call_over_) return;
    if (part.kind == AnswerPart::Kind::kCallBegins) ++n_calls_;
    (part.kind == AnswerPart::Kind::kReasoning ? reasoned_ : thought_over_) = true;
    delta.parts.push_back(std::move(part));
  }
}

std::string Choice::finish_reason(FinishReason reason) const {
  if (reason == FinishReason::kLength && !ended()) return "length";
  return n_calls_ > 0 ? "tool_calls" : "stop";
}

}  // namespace mla::server
