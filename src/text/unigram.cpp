#include <algorithm>
#include <limits>

#include "text/prefix_matcher.h"
#include "text/segmenter.h"
#include "text/utf8.h"

namespace mla {
namespace {

/// A character that no token spells costs this much more than the worst token (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

class UnigramSegmenter final : public Segmenter {
 public:
  UnigramSegmenter(PrefixMatcher tokens, const std::vector<float>& scores, double unknown_score,
                   Fallback fallback)
      : tokens_(std::move(tokens)),
        scores_(scores),
        unknown_score_(unknown_score),
        fallback_(std::move(fallback)) {}

  void segment(std::string_view piece, std::vector<int32_t>& ids) const override {
    struct Node {  // the best way to reach a byte
      double score = -std::numeric_limits<double>::infinity();
      size_t from = 0;
      int32_t id = -1;
    };
    std::vector<Node> best(piece.size() + 1);
    best[0].score = 0;
    const auto offer = [&](size_t from, size_t to, double score, int32_t id) {
      if (best[from].score + score > best[to].score) best[to] = {best[from].score + score, from, id};
    };
    for (size_t at = 0; at < piece.size();) {
      const Utf8Char c = next_utf8(piece.substr(at));
      const size_t length = c.valid ? c.length : 1;
      bool spelled = false;  // whether some token is exactly this character
      tokens_.for_each_prefix(piece.substr(at), [&](size_t n, int32_t id) {
        offer(at, at + n, scores_[static_cast<size_t>(id)], id);
        spelled = spelled || n == length;
      });
      if (!spelled) offer(at, at + length, unknown_score_, -1);
      at += length;
    }
    std::vector<std::pair<size_t, size_t>> path;  // [from, to), last first
    for (size_t to = piece.size(); to > 0; to = best[to].from) path.emplace_back(best[to].from, to);
    for (auto step = path.rbegin(); step != path.rend(); ++step) {
      if (best[step->second].id >= 0) {
        ids.push_back(best[step->second].id);
      } else {
        fallback_.append(piece.substr(step->first, step->second - step->first), ids);
      }
    }
  }

 private:
  PrefixMatcher tokens_;
  std::vector<float> scores_;
  double unknown_score_;
  Fallback fallback_;
};

}  // namespace

std::unique_ptr<const Segmenter> make_unigram(const std::vector<std::string>& tokens,
                                              const std::vector<float>& scores,
                                              const std::vector<TokenKind>& kinds, Fallback fallback) {
  std::vector<std::pair<std::string, int32_t>> entries;
  float worst = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (kinds[i] != TokenKind::kNormal && kinds[i] != TokenKind::kUserDefined) continue;
    entries.emplace_back(tokens[i], static_cast<int32_t>(i));
    worst = std::min(worst, scores[i]);
  }
  fallback.fuse_unknown = true;
  return std::make_unique<UnigramSegmenter>(PrefixMatcher(std::move(entries)), scores,
                                            worst - kUnknownPenalty, std::move(fallback));
}

}  // namespace mla
