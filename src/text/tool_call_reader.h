#pragma once

#include <string>
#include <string_view>

#include "text/answer_parser.h"

namespace mla {

/// The texts between which a format writes its calls. No marker begins another one, and none has a '<' behind its first
/// byte. Empty: the format has none.
struct ToolCallMarkers {
  std::string_view section_begin, section_end;  ///< around all calls
  std::string_view begin, end;                  ///< around one
  std::string_view separator;                   ///< between the call's head and its JSON
};
const ToolCallMarkers& tool_call_markers(ToolCallFormat format);

struct ToolCall {
  std::string id, name;
  std::string arguments;  ///< a JSON object
};

/// Finds the end of a JSON object by its brackets and strings, byte by byte.
class JsonObjectEnd {
 public:
  enum class Progress { kMore, kEnd, kMalformed };
  static constexpr int kMaxDepth = 64;

  /// Malformed here is what can be seen at once: a byte that no JSON has at this place, too many levels.
  Progress push(char c);
  bool in_string() const { return in_string_; }

 private:
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

/// Reads one call, from the text behind its first marker to that in front of its last.
class ToolCallReader {
 public:
  explicit ToolCallReader(ToolCallFormat format) : format_(format) { reset(); }

  /// Gets ready for the next call.
  void reset();
  /// How many bytes can belong to a call; fewer than all: it is malformed there.
  size_t text(std::string_view text);
  /// The separator stands here; false: it is malformed.
  bool separator();
  /// Whether the place is inside a string of the JSON, where markers are text.
  bool in_string() const { return phase_ == Phase::kJson && json_end_.in_string(); }
  /// Whether nothing is missing but the marker at the end.
  bool complete() const { return phase_ == Phase::kTail; }
  /// The call, when it is complete.
  const ToolCall& call() const { return call_; }

 private:
  enum class Phase {
    kHead,   ///< in front of the separator
    kIntro,  ///< behind it, in front of the JSON
    kJson,
    kTail,   ///< behind the JSON
  };
  static constexpr size_t kMaxHead = 512;

  bool head(char c);
  bool json(char c);
  bool tail(char c);
  bool read_head();
  bool read_json();

  ToolCallFormat format_;
  Phase phase_ = Phase::kHead;
  std::string head_, intro_, json_, tail_;
  JsonObjectEnd json_end_;
  ToolCall call_;
};

}  // namespace mla
