#include "grammar/token_constraint.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace mla {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

/// Between two characters of a string or a free name, where most tokens are possible however it goes on.
bool is_between_characters(const JsonReading& reading) {
  const bool in_text =
      reading.top.place == JsonFrame::Place::kString || reading.top.place == JsonFrame::Place::kFreeKey;
  return in_text && reading.top.text_place == static_cast<uint8_t>(StringPlace::kPlain);
}

/// Whether a document's frame begins with these tokens.
bool begins_with(const FramedDocument& document, const std::vector<int32_t>& said) {
  return said.size() <= document.before.size() &&
         std::equal(said.begin(), said.end(), document.before.begin());
}

/// What a walk over the vocabulary needs; kept from token to token.
struct WalkBuffers {
  JsonMatcher::Stack stack;
  std::vector<JsonReadings> readings;  ///< behind each byte of the token
  std::vector<size_t> stack_sizes;
};

WalkBuffers& walk_buffers() {
  thread_local WalkBuffers buffers;
  return buffers;
}

}  // namespace

TokenConstraint::TokenConstraint(TokenConstraintOptions options)
    : options_(std::make_shared<const TokenConstraintOptions>(std::move(options))) {
  if (options_->begins_behind.empty()) begin({});
}

bool TokenConstraint::finished() const {
  if (part_ == Part::kAfter) return said_.size() == document_->after.size();
  return part_ == Part::kDocument && document_->after.empty() && matcher_->finished();
}

// -- which tokens
// -------------------------------------------------------------------------------------------------------------

void TokenConstraint::allow(TokenSet& allowed) const {
  if (part_ == Part::kThought) return allow_in_thought(allowed);
  allowed.reset(options_->tokens->n_tokens(), false);
  if (part_ == Part::kDocument) {
    allow_in_document(allowed);
  } else if (part_ == Part::kBefore) {
    for (const FramedDocument& document : documents()) {
      if (begins_with(document, said_)) allowed.add(document.before[said_.size()]);
    }
  } else if (!finished()) {
    allowed.add(document_->after[said_.size()]);
  }
}

void TokenConstraint::allow_in_document(TokenSet& allowed) const {
  const TokenIndex& tokens = *options_->tokens;
  JsonReadings between, others;
  for (const JsonReading& reading : matcher_->readings())
    (is_between_characters(reading) ? between : others).push_back(reading);
  for (const JsonReading& reading : between) allow_characters(reading, allowed);
  if (!between.empty()) walk(tokens.leaving(), between, allowed);
  if (!others.empty()) walk(tokens.all(), others, allowed);
  for (const int32_t id : options_->end_tokens) allowed.remove(id);
  if (!matcher_->complete()) return;
  if (!document_->after.empty()) return allowed.add(document_->after.front());
  for (const int32_t id : options_->end_tokens) allowed.add(id);
}

/// Everything but an end, and but what closes the thought and goes on in a way in which no answer begins.
void TokenConstraint::allow_in_thought(TokenSet& allowed) const {
  const TokenIndex& tokens = *options_->tokens;
  const std::string& marker = options_->begins_behind;
  allowed.reset(tokens.n_tokens(), true);
  for (const int32_t id : options_->end_tokens) allowed.remove(id);
  for (const int32_t id : tokens.behind_markers()) {
    const std::string text = tail_ + std::string(tokens.bytes(id));
    const size_t at = text.find(marker);
    if (at != std::string::npos && !begins(std::string_view(text).substr(at + marker.size())))
      allowed.remove(id);
  }
}

void TokenConstraint::allow_characters(const JsonReading& reading, TokenSet& allowed) const {
  const TokenIndex& tokens = *options_->tokens;
  if (reading.top.place == JsonFrame::Place::kFreeKey) return allowed.add(tokens.in_name());
  const int64_t room = matcher_->grammar().forms[reading.top.form].most - reading.top.amount;
  if (room >= tokens.most_characters()) return allowed.add(tokens.in_string());
  for (const TokenIndex::Inside& token : tokens.inside()) {
    if (token.n_characters <= room) allowed.add(token.id);
  }
}

/// Tries the tokens one after the other, each from where it parts from the one in front of it; those that
/// share a beginning that was refused are passed over.
void TokenConstraint::walk(const TokenIndex::Sorted& tokens, const JsonReadings& readings,
                           TokenSet& allowed) const {
  WalkBuffers& b = walk_buffers();
  b.stack = matcher_->stack();
  b.readings.resize(std::max<size_t>(b.readings.size(), 1));
  b.stack_sizes.assign(1, b.stack.size());
  b.readings[0] = readings;
  size_t n_accepted = 0;  // bytes of the token in front
  for (size_t i = 0; i < tokens.ids.size(); ++i) {
    if (tokens.n_common[i] > n_accepted) continue;
    const std::string_view bytes = options_->tokens->bytes(tokens.ids[i]);
    n_accepted = tokens.n_common[i];
    b.stack.truncate(b.stack_sizes[n_accepted]);
    for (; n_accepted < bytes.size(); ++n_accepted) {
      if (b.readings.size() < n_accepted + 2) b.readings.emplace_back();
      JsonReadings& next = b.readings[n_accepted + 1];
      JsonMatcher::step(matcher_->grammar(), b.readings[n_accepted], static_cast<uint8_t>(bytes[n_accepted]),
                        b.stack, next);
      if (next.empty()) break;
      b.stack_sizes.resize(n_accepted + 1);
      b.stack_sizes.push_back(b.stack.size());
    }
    if (n_accepted == bytes.size()) allowed.add(tokens.ids[i]);
  }
}

// -- one of them
// -------------------------------------------------------------------------------------------------------------

void TokenConstraint::accept(int32_t token) {
  const auto& ends = options_->end_tokens;
  switch (part_) {
    case Part::kThought:
      return accept_in_thought(token);
    case Part::kBefore:
      return accept_before(token);
    case Part::kDocument:
      if (!document_->after.empty() && token == document_->after.front() && matcher_->complete()) {
        part_ = Part::kAfter;
        said_.assign(1, token);
      } else if (std::find(ends.begin(), ends.end(), token) == ends.end()) {
        matcher_->advance(options_->tokens->bytes(token));
      }
      return;
    case Part::kAfter:
      return said_.push_back(token);
  }
}

void TokenConstraint::accept_in_thought(int32_t token) {
  const std::string& marker = options_->begins_behind;
  tail_ += options_->tokens->bytes(token);
  const size_t at = tail_.find(marker);
  if (at != std::string::npos) return begin(std::string_view(tail_).substr(at + marker.size()));
  tail_.erase(0, tail_.size() - std::min(tail_.size(), marker.size() - 1));
}

void TokenConstraint::accept_before(int32_t token) {
  said_.push_back(token);
  for (const FramedDocument& document : documents()) {
    if (document.before == said_) return begin_document(document);
  }
}

/// Whether the answer can begin with the text that the marker's own token has brought along.
bool TokenConstraint::begins(std::string_view text) const {
  const bool is_framed = !documents().front().before.empty();
  if (is_framed) return text.find_first_not_of(kSpace) == std::string_view::npos;
  return JsonMatcher(documents().front().grammar).accepts(text);
}

void TokenConstraint::begin(std::string_view text) {
  part_ = Part::kBefore;
  if (!documents().front().before.empty()) return;
  begin_document(documents().front());
  matcher_->advance(text);
}

void TokenConstraint::begin_document(const FramedDocument& document) {
  part_ = Part::kDocument;
  document_ = &document;
  matcher_.emplace(document.grammar);
}

}  // namespace mla
