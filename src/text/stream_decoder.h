#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace mla {

/// Turns a stream of tokens into a stream of text for a terminal or an HTTP client: never emits a part of a
/// UTF-8 character (invalid bytes become U+FFFD), and never emits text that may still turn out to begin a
/// stop string.
class StreamDecoder {
 public:
  /// `stops`: generation ends where one of them first appears; the stop string itself is not emitted. Empty
  /// strings are ignored. `at_start`: the text begins a document or an answer, so that the space which
  /// SentencePiece puts in front of a text is dropped; false when it continues a prompt. `shown`: the special
  /// tokens that appear with their text (answer_marker_tokens()), ascending; the others are silent.
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops,
                bool at_start = true, std::vector<int32_t> shown = {});

  /// Text that is safe to show after this token; often empty. Linear in the token's bytes, whatever was
  /// pushed before. Errors: kUsage for an id out of range.
  Result<std::string> push(int32_t id);
  /// What is left when generation ends; an unfinished character gives U+FFFD.
  std::string finish();
  /// Whether a stop string has appeared; push() gives nothing from then on.
  bool stopped() const { return stopped_; }
  /// The stop string that appeared, or empty.
  const std::string& stop_string() const { return stop_string_; }
  /// Bytes of all tokens so far, and how many of them have been given out as text: the others are held back, or belong to
  /// the stop string and what came behind it. A dropped leading space counts as given out.
  size_t received_bytes() const { return received_; }
  size_t released_bytes() const { return released_; }

 private:
  /// A stop string and how much of it the text ends with (Knuth, Morris and Pratt).
  struct Stop {
    std::string text;
    std::vector<size_t> border;  // [text.size()]: longest proper prefix of text[0..i] that is also its suffix
    size_t matched = 0;
    void advance(char c);
  };

  std::string take_safe();
  std::string stop_here(const Stop& stop);

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Stop> stops_;
  std::vector<int32_t> shown_;
  std::string pending_;  // bytes not yet emitted
  size_t received_ = 0, released_ = 0;
  bool drop_space_;
  bool stopped_ = false;
  std::string stop_string_;
};

}  // namespace mla
