#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace mla {

/// Turns a stream of tokens into a stream of text for a terminal or an HTTP client: never emits a part of a UTF-8
/// character (invalid bytes become U+FFFD), and never emits text that may still turn out to begin a stop string.
class StreamDecoder {
 public:
  /// `stops`: generation ends where one of them first appears; the stop string itself is not emitted. Empty strings are ignored.
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, std::vector<std::string> stops);

  /// Text that is safe to show after this token; often empty. Errors: kUsage for an id out of range.
  Result<std::string> push(int32_t id);
  /// What is left when generation ends; an unfinished character gives U+FFFD.
  std::string finish();
  /// Whether a stop string has appeared; push() gives nothing from then on.
  bool stopped() const { return stopped_; }
  /// The stop string that appeared, or empty.
  const std::string& stop_string() const { return stop_string_; }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> stops_;
  std::string pending_;  // bytes not yet emitted
  bool first_ = true;
  bool stopped_ = false;
  std::string stop_string_;
};

}  // namespace mla
