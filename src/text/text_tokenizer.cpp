#include "text/text_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace mla {
namespace {

/// Texts of the tokens at which models of our families end a turn or a document. Only control tokens count:
/// the same text as an ordinary token is ordinary text.
constexpr std::array<std::string_view, 12> kEndTexts = {"<|im_end|>",
                                                        "<|eot_id|>",
                                                        "<|eom_id|>",
                                                        "<|end|>",
                                                        "<|endoftext|>",
                                                        "<|end_of_text|>",
                                                        "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
                                                        "<|EOT|>",
                                                        "<end_of_turn>",
                                                        "<|return|>",
                                                        "<|eot|>",
                                                        "[EOS]"};

/// The bytes of every token, one behind the other.
class TokenBytes {
 public:
  TokenBytes(const std::vector<std::string>& tokens, const std::vector<TokenKind>& kinds, Spelling spelling) {
    size_t total = 0;
    for (const std::string& t : tokens) total += t.size();
    blob_.reserve(total);
    ends_.reserve(tokens.size() + 1);
    ends_.push_back(0);
    for (size_t i = 0; i < tokens.size(); ++i) {
      append(tokens[i], kinds[i], spelling);
      ends_.push_back(blob_.size());
    }
  }

  std::string_view operator[](size_t id) const {
    return std::string_view(blob_).substr(ends_[id], ends_[id + 1] - ends_[id]);
  }

 private:
  void append(const std::string& text, TokenKind kind, Spelling spelling) {
    const auto byte = kind == TokenKind::kByte ? parse_byte_token(text) : std::nullopt;
    if (byte) {
      blob_.push_back(static_cast<char>(*byte));
    } else if (kind == TokenKind::kUnused) {
      return;
    } else if (kind != TokenKind::kNormal || spelling == Spelling::kPlain) {
      blob_ += text;
    } else if (spelling == Spelling::kByteLevel) {
      blob_ += from_byte_level(text).value_or(text);
    } else {
      std::string_view rest = text;
      for (size_t hit = rest.find(kMetaspace); hit != std::string_view::npos; hit = rest.find(kMetaspace)) {
        blob_.append(rest.substr(0, hit)).push_back(' ');
        rest.remove_prefix(hit + kMetaspace.size());
      }
      blob_ += rest;
    }
  }

  std::string blob_;
  std::vector<size_t> ends_;
};

/// Ids of pieces seen before in this text: most words repeat.
class PieceCache {
 public:
  explicit PieceCache(const Segmenter& segmenter) : segmenter_(segmenter) {}

  void segment(std::string_view piece, std::vector<int32_t>& ids) {
    fresh_.clear();
    if (piece.size() > kMaxPiece) {
      segmenter_.segment(piece, fresh_);
      ids.insert(ids.end(), fresh_.begin(), fresh_.end());
      return;
    }
    if (const auto hit = known_.find(piece); hit != known_.end()) {
      const auto begin = pool_.begin() + static_cast<std::ptrdiff_t>(hit->second.begin);
      ids.insert(ids.end(), begin, begin + hit->second.count);
      return;
    }
    segmenter_.segment(piece, fresh_);
    if (known_.size() >= kMaxEntries) {
      known_.clear();
      pool_.clear();
    }
    known_.emplace(piece, Span{pool_.size(), static_cast<std::ptrdiff_t>(fresh_.size())});
    pool_.insert(pool_.end(), fresh_.begin(), fresh_.end());
    ids.insert(ids.end(), fresh_.begin(), fresh_.end());
  }

 private:
  static constexpr size_t kMaxPiece = 64;
  static constexpr size_t kMaxEntries = 1 << 16;
  struct Span {
    size_t begin;
    std::ptrdiff_t count;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  const Segmenter& segmenter_;
  std::unordered_map<std::string, Span, Hash, std::equal_to<>> known_;
  std::vector<int32_t> pool_, fresh_;
};

class TextTokenizer final : public Tokenizer {
 public:
  explicit TextTokenizer(TokenizerParts parts)
      : parts_(std::move(parts)), bytes_(parts_.tokens, parts_.kinds, parts_.spelling) {
    stop_tokens_ = parts_.stop_tokens;
    for (const int32_t id : {parts_.eos, parts_.eot}) {
      if (id >= 0) stop_tokens_.push_back(id);
    }
    for (size_t i = 0; i < parts_.tokens.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (!is_special(id)) continue;
      const bool ends = std::find(kEndTexts.begin(), kEndTexts.end(), parts_.tokens[i]) != kEndTexts.end();
      if (ends) stop_tokens_.push_back(id);
    }
    std::sort(stop_tokens_.begin(), stop_tokens_.end());
    stop_tokens_.erase(std::unique(stop_tokens_.begin(), stop_tokens_.end()), stop_tokens_.end());
  }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    if (options.add_bos && parts_.bos >= 0) ids.push_back(parts_.bos);
    PieceCache pieces(*parts_.segmenter);
    const PreTokenizer::Sink on_piece = [&](std::string_view piece) { pieces.segment(piece, ids); };
    parts_.added.cut(
        text, {options.parse_special, options.foreign}, parts_.normalizer, [&](int32_t id) { ids.push_back(id); },
        [&](std::string_view section, bool at_start) {
          const bool first = at_start && options.at_start;
          parts_.pre_tokenizer.run(section, first ? TextStart::kInput : TextStart::kSection, on_piece);
        });
    return ids;
  }

  Result<std::string> token_bytes(int32_t id, bool special) const override {
    if (id < 0 || id >= n_vocab()) {
      return Error::usage(
          fmt::format("token id {} is out of range: the vocabulary has {} tokens", id, n_vocab()));
    }
    const bool padding = static_cast<size_t>(id) >= parts_.tokens.size();
    if (padding || (is_special(id) && !special)) return std::string();
    return std::string(bytes_[static_cast<size_t>(id)]);
  }

  Result<std::string> decode(const std::vector<int32_t>& ids, bool special) const override {
    std::string text;
    for (const int32_t id : ids) {
      MLA_ASSIGN(const std::string bytes, token_bytes(id, special));
      text += bytes;
    }
    if (parts_.strip_leading_space && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  int64_t n_vocab() const override {
    return std::max(static_cast<int64_t>(parts_.tokens.size()), parts_.n_model_rows);
  }
  int32_t bos() const override { return parts_.bos; }
  int32_t eos() const override { return parts_.eos; }
  bool add_bos() const override { return parts_.add_bos; }
  bool strips_leading_space() const override { return parts_.strip_leading_space; }
  const std::vector<int32_t>& stop_tokens() const override { return stop_tokens_; }
  bool is_special(int32_t id) const override {
    if (id < 0 || static_cast<size_t>(id) >= parts_.kinds.size()) return false;
    const TokenKind kind = parts_.kinds[static_cast<size_t>(id)];
    return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
  }
  const std::string& chat_template() const override { return parts_.chat_template; }

 private:
  TokenizerParts parts_;
  TokenBytes bytes_;
  std::vector<int32_t> stop_tokens_;
};

}  // namespace

std::shared_ptr<const Tokenizer> assemble_tokenizer(TokenizerParts parts) {
  return std::make_shared<TextTokenizer>(std::move(parts));
}

bool metaspace_only_leads(const std::vector<std::string>& tokens) {
  return std::none_of(tokens.begin(), tokens.end(), [](std::string_view text) {
    bool other = false;
    for (size_t at = 0; at < text.size();) {
      const bool space = text.substr(at).starts_with(kMetaspace);
      if (space && other) return true;
      other = other || !space;
      at += space ? kMetaspace.size() : 1;
    }
    return false;
  });
}

Result<PreTokenizer> metaspace_cutter() {
  MLA_ASSIGN(Regex regex, Regex::compile("\\x{2581}+[^\\x{2581}]*|[^\\x{2581}]+"));
  std::vector<PreTokenizerStep> steps;
  steps.emplace_back(SplitStep{std::move(regex)});
  return PreTokenizer(std::move(steps));
}

}  // namespace mla
