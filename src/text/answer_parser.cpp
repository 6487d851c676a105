#include "text/answer_parser.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer.h"
#include "text/tool_call_reader.h"

namespace mla {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::vector<std::string_view> markers_of(const AnswerOptions& options) {
  const ToolCallMarkers& call = tool_call_markers(options.tools);
  std::vector<std::string_view> markers = {call.section_begin, call.section_end, call.begin, call.end,
                                           call.separator};
  if (options.split_reasoning) markers.insert(markers.end(), {kThinkBegin, kThinkEnd});
  std::erase(markers, std::string_view());
  return markers;
}

}  // namespace

ToolCallFormat detect_tool_call_format(std::string_view chat_template) {
  const auto has = [&](std::string_view text) { return chat_template.find(text) != std::string_view::npos; };
  if (has(tool_call_markers(ToolCallFormat::kKimi).begin)) return ToolCallFormat::kKimi;
  if (has(tool_call_markers(ToolCallFormat::kDeepSeekV3).begin)) {
    return has("```json") ? ToolCallFormat::kDeepSeekV3 : ToolCallFormat::kDeepSeekV31;
  }
  // Qwen3-Coder and GLM write XML between the same markers.
  const bool xml = has("<function=") || has("<arg_key>");
  return has(tool_call_markers(ToolCallFormat::kHermes).begin) && !xml ? ToolCallFormat::kHermes
                                                                       : ToolCallFormat::kNone;
}

std::vector<int32_t> answer_marker_tokens(const Tokenizer& tokenizer, const AnswerOptions& options) {
  std::vector<int32_t> ids;
  for (const std::string_view marker : markers_of(options)) {
    for (const int32_t id : tokenizer.encode(marker, {.parse_special = true})) {
      if (!tokenizer.is_special(id)) continue;
      const Result<std::string> text = tokenizer.token_bytes(id, /*special=*/true);
      if (text.ok() && *text == marker) ids.push_back(id);
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

/// Two layers: push() cuts the answer into text and markers; text() and marker() say what they mean in the
/// place where they stand.
class AnswerParser::Impl {
 public:
  explicit Impl(const AnswerOptions& options)
      : markers_(markers_of(options)),
        call_markers_(tool_call_markers(options.tools)),
        has_tools_(options.tools != ToolCallFormat::kNone),
        reader_(options.tools) {
    if (!options.split_reasoning) return;
    place_ = options.starts_reasoning ? Place::kThought : Place::kStart;
    skip_space_ = may_open_again_ = options.starts_reasoning;
  }

  void push(std::string_view piece);
  void finish();
  std::vector<AnswerPart> take_parts() { return std::exchange(parts_, {}); }
  int64_t n_calls() const { return n_calls_; }
  bool in_call() const { return place_ == Place::kCall && reader_.begun(); }

 private:
  enum class Place {
    kStart,    ///< nothing but white space so far
    kThought,  ///< reasoning
    kText,     ///< content
    kSection,  ///< a section of calls has begun, its first call has not
    kCall,
  };

  void text(std::string_view text);
  void marker(std::string_view marker);
  void marker_in_text(std::string_view marker);
  void marker_in_call(std::string_view marker);
  void begin_call(std::string_view marker);
  size_t text_in_call(std::string_view text);
  void end_call();
  void give_up();
  void write(std::string_view text);
  void emit(AnswerPart::Kind kind, std::string_view text);

  const std::vector<std::string_view> markers_;
  const ToolCallMarkers& call_markers_;
  const bool has_tools_;

  std::string partial_;  // what may become a marker
  Place place_ = Place::kText;
  bool skip_space_ = false;      // white space is dropped until there is text
  bool may_open_again_ = false;  // the prompt opened the thought, the answer may do so too
  bool in_section_ = false;      // calls of a section were given, its end was not seen
  bool after_call_ = false;      // no text since the last call
  bool unclosed_ = false;        // the last call ended without its marker, in front of text
  std::string space_;            // white space whose fate what follows decides
  std::string held_;             // of kSection and kCall: all since the first marker, until the call has begun
  ToolCallReader reader_;
  int64_t n_calls_ = 0;
  std::vector<AnswerPart> parts_;
};

void AnswerParser::Impl::push(std::string_view piece) {
  if (markers_.empty()) return text(piece);
  while (!piece.empty()) {
    if (partial_.empty()) {
      const size_t begin = std::min(piece.find('<'), piece.size());
      text(piece.substr(0, begin));
      piece.remove_prefix(begin);
      if (piece.empty()) return;
    }
    // A marker's only '<' is its first byte, so that a marker that does not go on hides no other one.
    partial_.push_back(piece.front());
    const auto match = std::find_if(markers_.begin(), markers_.end(),
                                    [&](std::string_view m) { return m.starts_with(partial_); });
    if (match == markers_.end()) {
      partial_.pop_back();
      text(std::exchange(partial_, {}));
      continue;
    }
    piece.remove_prefix(1);
    if (match->size() != partial_.size()) continue;
    partial_.clear();
    marker(*match);
  }
}

void AnswerParser::Impl::finish() {
  const std::string partial = std::exchange(partial_, {});
  const bool may_end = in_call() && !reader_.in_string() && call_markers_.end.starts_with(partial);
  if (!may_end) text(partial);
  if (in_call()) {
    end_call();
  } else if (place_ == Place::kSection || place_ == Place::kCall) {
    give_up();
  }
  if (place_ == Place::kStart || (place_ == Place::kText && !after_call_))
    emit(AnswerPart::Kind::kContent, space_);
  space_.clear();
}

void AnswerParser::Impl::text(std::string_view text) {
  size_t taken = 0;
  switch (place_) {
    case Place::kStart:
      taken = std::min(text.find_first_not_of(kSpace), text.size());
      space_.append(text.substr(0, taken));
      if (taken < text.size()) place_ = Place::kText;
      break;
    case Place::kSection:
      taken = std::min(text.find_first_not_of(kSpace), text.size());
      held_.append(text.substr(0, taken));
      if (taken < text.size()) give_up();
      break;
    case Place::kCall:
      taken = text_in_call(text);
      break;
    case Place::kThought:
    case Place::kText:
      break;
  }
  if (taken < text.size()) write(text.substr(taken));
}

void AnswerParser::Impl::marker(std::string_view marker) {
  switch (place_) {
    case Place::kStart:
      if (marker == kThinkBegin) {
        place_ = Place::kThought;
        skip_space_ = true;
        space_.clear();
        return;
      }
      place_ = Place::kText;
      return marker_in_text(marker);
    case Place::kThought:
      if (marker == kThinkBegin && may_open_again_ && skip_space_) {
        may_open_again_ = false;
      } else if (marker == kThinkEnd) {
        place_ = Place::kText;
        skip_space_ = true;
        space_.clear();
      } else {
        write(marker);
      }
      return;
    case Place::kText:
      return marker_in_text(marker);
    case Place::kSection:
      if (marker == call_markers_.begin) return begin_call(marker);
      give_up();
      return marker_in_text(marker);
    case Place::kCall:
      return marker_in_call(marker);
  }
}

void AnswerParser::Impl::marker_in_text(std::string_view marker) {
  if (marker == call_markers_.begin) return begin_call(marker);
  if (marker == call_markers_.section_begin) {
    held_ = marker;
    place_ = Place::kSection;
  } else if (marker == call_markers_.section_end && in_section_) {
    in_section_ = false;
    if (after_call_) space_.clear();
  } else if (marker == call_markers_.end && unclosed_) {
    unclosed_ = false;
  } else {
    write(marker);
  }
}

void AnswerParser::Impl::marker_in_call(std::string_view marker) {
  if (reader_.in_string() || marker == kThinkBegin || marker == kThinkEnd) return text(marker);
  if (marker == call_markers_.separator) {
    if (in_call()) return text(marker);
    if (reader_.separator()) {
      held_.append(marker);
      return;
    }
  }
  if (!in_call()) {
    give_up();
    return marker_in_text(marker);
  }
  end_call();
  if (marker != call_markers_.end) marker_in_text(marker);
}

void AnswerParser::Impl::begin_call(std::string_view marker) {
  held_.append(marker);
  unclosed_ = false;
  reader_.reset();
  place_ = Place::kCall;
}

/// How much of `text` belongs to the call; where that is not all, the call is over, or was none.
size_t AnswerParser::Impl::text_in_call(std::string_view text) {
  const bool had_begun = reader_.begun();
  const size_t taken = reader_.text(text);
  if (!reader_.begun()) {
    held_.append(text.substr(0, taken));
    if (taken < text.size()) give_up();
    return taken;
  }
  if (!had_begun) {
    parts_.push_back({AnswerPart::Kind::kCallBegins, {}, n_calls_++, reader_.id(), reader_.name()});
    in_section_ = in_section_ || held_.starts_with(call_markers_.section_begin);
    held_.clear();
    space_.clear();
    skip_space_ = false;
  }
  emit(AnswerPart::Kind::kCallArguments, reader_.take_arguments());
  if (taken < text.size()) {
    end_call();
    unclosed_ = true;
    write(reader_.take_tail());
  }
  return taken;
}

void AnswerParser::Impl::end_call() {
  after_call_ = true;
  place_ = Place::kText;
}

void AnswerParser::Impl::give_up() {
  place_ = Place::kText;
  write(std::exchange(held_, {}));
}

void AnswerParser::Impl::write(std::string_view text) {
  if (skip_space_) text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  if (text.empty()) return;
  skip_space_ = false;
  const bool thought = place_ == Place::kThought;
  const bool holds_space = thought || has_tools_;
  const size_t end = holds_space ? text.find_last_not_of(kSpace) + 1 : text.size();
  if (end > 0) {
    const auto kind = thought ? AnswerPart::Kind::kReasoning : AnswerPart::Kind::kContent;
    emit(kind, std::exchange(space_, {}));
    emit(kind, text.substr(0, end));
    after_call_ = false;
  }
  space_.append(text.substr(end));
}

void AnswerParser::Impl::emit(AnswerPart::Kind kind, std::string_view text) {
  if (text.empty()) return;
  const int64_t call = kind == AnswerPart::Kind::kCallArguments ? n_calls_ - 1 : -1;
  if (parts_.empty() || parts_.back().kind != kind) parts_.push_back({kind, {}, call, {}, {}});
  parts_.back().text.append(text);
}

AnswerParser::AnswerParser(AnswerOptions options) : impl_(std::make_unique<Impl>(options)) {}
AnswerParser::AnswerParser(AnswerParser&&) noexcept = default;
AnswerParser& AnswerParser::operator=(AnswerParser&&) noexcept = default;
AnswerParser::~AnswerParser() = default;

std::vector<AnswerPart> AnswerParser::push(std::string_view text) {
  impl_->push(text);
  return impl_->take_parts();
}

std::vector<AnswerPart> AnswerParser::finish() {
  impl_->finish();
  return impl_->take_parts();
}

int64_t AnswerParser::n_calls() const {
  return impl_->n_calls();
}

bool AnswerParser::in_call() const {
  return impl_->in_call();
}

}  // namespace mla
