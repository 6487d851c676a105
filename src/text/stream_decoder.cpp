#include "text/stream_decoder.h"

#include <algorithm>

#include "text/utf8.h"

namespace mla {

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops,
                             bool at_start, std::vector<int32_t> shown)
    : tokenizer_(std::move(tokenizer)),
      shown_(std::move(shown)),
      drop_space_(at_start && tokenizer_->strips_leading_space()) {
  for (std::string& text : stops) {
    if (text.empty()) continue;
    Stop stop{std::move(text), {}, 0};
    stop.border.assign(stop.text.size(), 0);
    for (size_t i = 1; i < stop.text.size(); ++i) {
      size_t k = stop.border[i - 1];
      while (k > 0 && stop.text[i] != stop.text[k]) k = stop.border[k - 1];
      stop.border[i] = stop.text[i] == stop.text[k] ? k + 1 : 0;
    }
    stops_.push_back(std::move(stop));
  }
}

void StreamDecoder::Stop::advance(char c) {
  while (matched > 0 && text[matched] != c) matched = border[matched - 1];
  if (text[matched] == c) ++matched;
}

Result<std::string> StreamDecoder::push(int32_t id) {
  const bool show = std::binary_search(shown_.begin(), shown_.end(), id);
  MLA_ASSIGN(const std::string token, tokenizer_->token_bytes(id, show));
  if (stopped_ || token.empty()) return std::string();
  std::string_view bytes = token;
  received_ += bytes.size();
  if (drop_space_ && bytes.front() == ' ') {
    bytes.remove_prefix(1);
    ++released_;
  }
  drop_space_ = false;
  for (const char c : bytes) {
    pending_.push_back(c);
    const Stop* found = nullptr;
    for (Stop& stop : stops_) {
      stop.advance(c);
      const bool complete = stop.matched == stop.text.size();
      if (complete && (found == nullptr || stop.text.size() > found->text.size())) found = &stop;
    }
    if (found != nullptr) return stop_here(*found);
  }
  return take_safe();
}

std::string StreamDecoder::stop_here(const Stop& stop) {
  stopped_ = true;
  stop_string_ = stop.text;
  pending_.resize(pending_.size() - stop.text.size());
  return finish();
}

std::string StreamDecoder::take_safe() {
  size_t held = 0;
  for (const Stop& stop : stops_) held = std::max(held, stop.matched);
  const size_t limit = pending_.size() - held;
  size_t taken = 0;
  std::string out;
  while (taken < limit) {
    const Utf8Char c = next_utf8(std::string_view(pending_).substr(taken));
    if (c.truncated || taken + c.length > limit) break;
    if (c.valid) {
      out.append(pending_, taken, c.length);
    } else {
      out.append(kReplacementCharacter);
    }
    taken += c.length;
  }
  pending_.erase(0, taken);
  released_ += taken;
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = replace_invalid_utf8(pending_);
  released_ += pending_.size();
  pending_.clear();
  return out;
}

}  // namespace mla
