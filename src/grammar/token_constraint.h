#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grammar/json_matcher.h"
#include "grammar/token_index.h"
#include "grammar/token_set.h"

namespace mla {

/// A JSON document and the tokens that stand around it, such as the markers of a tool's call. Ids of the
/// vocabulary.
struct FramedDocument {
  std::shared_ptr<const JsonGrammar> grammar;
  std::vector<int32_t> before = {}, after = {};
};

struct TokenConstraintOptions {
  /// What the answer may be: one of these. Where there are several, none's `before` is empty or begins
  /// another's.
  std::vector<FramedDocument> documents;
  std::shared_ptr<const TokenIndex> tokens;
  /// Ids of the vocabulary, possible where the answer is complete, and nowhere else
  std::vector<int32_t> end_tokens;
  /// The answer begins behind this text, which ends with its only '>': the end of a thought. In front of it
  /// everything is possible but an end. Empty: it begins at once.
  std::string begins_behind;
};

/// Which tokens an answer that is a JSON document may go on with. A token may span several parts of the
/// document, or a part of a character. A value: copies go their own ways.
class TokenConstraint {
 public:
  explicit TokenConstraint(TokenConstraintOptions options);

  /// The tokens that may come next. There is one wherever the vocabulary can write every byte, or the answer
  /// is complete and there are end tokens.
  void allow(TokenSet& allowed) const;
  /// Takes one of them.
  void accept(int32_t token);
  /// Whether the answer is complete and nothing can follow but an end token.
  bool finished() const;

 private:
  enum class Part { kThought, kBefore, kDocument, kAfter };

  void allow_in_thought(TokenSet& allowed) const;
  void allow_in_document(TokenSet& allowed) const;
  void allow_characters(const JsonReading& reading, TokenSet& allowed) const;
  void walk(const TokenIndex::Sorted& tokens, const JsonReadings& readings, TokenSet& allowed) const;
  bool begins(std::string_view text) const;
  void begin(std::string_view text);
  void begin_document(const FramedDocument& document);
  void accept_in_thought(int32_t token);
  void accept_before(int32_t token);

  const std::vector<FramedDocument>& documents() const { return options_->documents; }

  std::shared_ptr<const TokenConstraintOptions> options_;
  Part part_ = Part::kThought;
  std::string tail_;                          ///< of the thought: what the marker may begin in
  std::vector<int32_t> said_;                 ///< in front of the document, or behind it
  const FramedDocument* document_ = nullptr;  ///< once it is known; of the options
  std::optional<JsonMatcher> matcher_;        ///< of the document
};

}  // namespace mla
