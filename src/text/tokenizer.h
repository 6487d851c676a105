#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"

namespace mla {

enum class TokenKind : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

/// A vocabulary as plain data, whichever file it came from (GGUF: tokenizer.ggml.*; the caller copies it over so that
/// this room knows no files' formats but tokenizer.json).
struct Vocabulary {
  std::string model;               ///< GGUF's name: "gpt2" (byte-level BPE), "llama" (SentencePiece BPE), "t5" (unigram)
  std::string pre;                 ///< pre-tokenizer: "deepseek-v3", "llama-bpe", ...
  std::vector<std::string> tokens; ///< [n_vocab]
  std::vector<float> scores;       ///< empty or [n_vocab]
  std::vector<TokenKind> kinds;    ///< empty or [n_vocab]
  std::vector<std::string> merges; ///< "left right", best first
  int32_t bos = -1, eos = -1, unknown = -1, pad = -1, eot = -1;
  bool add_bos = false, add_space_prefix = true, ignore_merges = false;
  bool remove_extra_whitespaces = false;  ///< unigram: runs of spaces count as one, those at both ends as none
  std::string chat_template;       ///< Jinja source; may be empty
  int64_t n_model_rows = 0;        ///< rows of the model's embedding, where it may have more than there are tokens
};

struct EncodeOptions {
  bool add_bos = false;        ///< put BOS in front (when the vocabulary has one)
  bool parse_special = false;  ///< special tokens in the text become their ids; otherwise they are text (TK06)
  bool at_start = true;        ///< false: the text continues other text, so that no space is put in front where only the
                               ///< first text has one
  std::span<const TextSpan> foreign = {};  ///< parts of the text, in order, in which special tokens are text even so: a
                                           ///< special token that shares a byte with one of them is none
};

/// Text to token ids and back. Immutable after construction; safe to share between threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Any bytes are accepted. Linear time in the text's length.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  /// The bytes one token stands for; special tokens give their text when `special`, else nothing. Errors: kUsage for an
  /// id out of range.
  virtual Result<std::string> token_bytes(int32_t id, bool special = false) const = 0;
  /// Bytes of a sequence, with the vocabulary's rule for a leading space. May end inside a UTF-8 character.
  virtual Result<std::string> decode(const std::vector<int32_t>& ids, bool special = false) const = 0;

  /// Ids the model may give: those of the file's tokens, and those that its embedding has rows for beyond them
  /// (padding, which decodes to nothing).
  virtual int64_t n_vocab() const = 0;
  virtual int32_t bos() const = 0;       ///< -1: none
  virtual int32_t eos() const = 0;       ///< -1: none
  virtual bool add_bos() const = 0;      ///< whether prompts of this model begin with BOS
  /// Whether decode() drops one leading space, which encoding had put in front of the text (SentencePiece).
  virtual bool strips_leading_space() const = 0;
  /// Tokens that end a generation: EOS, end-of-turn and their like.
  virtual const std::vector<int32_t>& stop_tokens() const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual const std::string& chat_template() const = 0;
};

/// Errors: kInvalidFile for an unknown model or pre-tokenizer (naming the known ones), arrays of different lengths, ids
/// out of range, an empty vocabulary, malformed byte tokens, merges of missing tokens.
Result<std::shared_ptr<const Tokenizer>> make_tokenizer(Vocabulary vocabulary);

/// What other files of a folder (config.json, generation_config.json) say about its special tokens.
struct TokenizerHints {
  int32_t bos = -1;                  ///< used where the tokenizer's own files name none
  std::vector<int32_t> stop_tokens;  ///< end a generation besides those that the tokenizer's own files name; the first is
                                     ///< EOS where they name none. Ids outside the vocabulary are left out
  int64_t n_model_rows = 0;          ///< rows of the model's embedding (config.json's vocab_size); 0: not known
};

/// From a Hugging Face folder's tokenizer.json and (optionally, may be empty) tokenizer_config.json; the chat template may
/// also lie beside them as chat_template.jinja. Errors: kInvalidFile with the path, and what is malformed or not supported
/// (a normaliser, pre-tokenizer, model or decoder of another kind), or a vocabulary that has more tokens than the model's
/// embedding has rows. Added tokens without a row (people add padding tokens that no model ever saw) are left out: their
/// texts are text.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer_json(const std::filesystem::path& tokenizer_json,
                                                             const std::filesystem::path& tokenizer_config_json,
                                                             const TokenizerHints& hints = {});

}  // namespace mla
