#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

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

/// What stands around the arguments of a call: as much as makes it one that the reader takes for complete.
struct ToolCallFrame {
  std::string before, after;
};
/// `name` is of letters, digits, '_', '-' and '.'. Empty for kNone.
ToolCallFrame tool_call_frame(ToolCallFormat format, const std::string& name);

/// Follows a JSON object by its brackets and strings, byte by byte, and finds its end.
class JsonObjectEnd {
 public:
  enum class Progress { kMore, kEnd, kMalformed };
  static constexpr int kMaxDepth = 64;

  /// Malformed here is what can be seen at once: a byte that no JSON has at this place, a bracket that closes another one,
  /// too many levels. Nothing may be pushed behind it, or behind the end.
  Progress push(char c);
  bool in_string() const { return in_string_; }
  /// How many brackets are open.
  int depth() const { return depth_; }

 private:
  uint64_t braces_ = 0;  // bit n: the bracket that opened level n is a brace
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

/// Reads one call, from the text behind its first marker to that in front of its last.
///
/// The call has begun, and is not taken back, when its name is known and its arguments open with a brace; in Hermes' format
/// also when the object is complete in which the name stands behind the arguments, or arguments that are no object. From
/// there on the arguments are what the model writes, up to the brace that closes them; where they stop being JSON, up to the
/// next marker, without white space and what closes the call at their end.
class ToolCallReader {
 public:
  explicit ToolCallReader(ToolCallFormat format);

  /// Gets ready for the next call.
  void reset() { *this = ToolCallReader(format_); }
  /// How many bytes can belong to the call; fewer than all: it has not begun and never will, or it is over there.
  size_t text(std::string_view text);
  /// The separator stands here; false: this is no place for it.
  bool separator();
  /// Whether the place is inside a string of the JSON, where markers are text.
  bool in_string() const { return phase_ != Phase::kBroken && json_end_.in_string(); }
  bool begun() const { return phase_ >= Phase::kArguments; }
  /// Of a call that has begun. The id is the model's own, or empty.
  const std::string& id() const { return id_; }
  const std::string& name() const { return name_; }
  /// The arguments that were not taken yet.
  std::string take_arguments() { return std::exchange(arguments_, {}); }
  /// What came behind complete arguments and is not known to close the call.
  std::string take_tail() { return std::exchange(tail_, {}); }

 private:
  enum class Phase {
    kHead,    ///< in front of the separator
    kIntro,   ///< behind it, in front of the JSON
    kObject,  ///< Hermes: in the object around name and arguments
    kArguments,
    kBroken,  ///< in arguments that are no JSON
    kTail,    ///< behind the arguments
  };
  static constexpr size_t kMaxHead = 512;

  bool push(char c);
  bool head(char c);
  bool object(char c);
  void arguments(char c);
  void broken(char c);
  bool tail(char c);
  bool closes(char c);
  bool read_head();
  bool read_object();
  std::string_view closing() const;

  ToolCallFormat format_;
  Phase phase_;
  std::string head_, intro_, object_;
  JsonObjectEnd json_end_;           // of the arguments; Hermes: of the object around them
  bool tried_arguments_ = false;     // of kObject: its member "arguments" was there
  std::string id_, name_;
  std::string arguments_;            // not taken yet
  std::string tail_;                 // behind the arguments; of kBroken: at their end
  size_t n_closing_ = 0;             // bytes of closing() that were there
};

}  // namespace mla
