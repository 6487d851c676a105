#include <algorithm>

#include "text/segmenter.h"
#include "text/utf8.h"

namespace mla {
namespace {

constexpr uint32_t kNone = ~uint32_t{0};

struct Symbol {
  uint32_t begin, length;  // bytes of the piece; length 0: joined to the symbol before
  uint32_t previous, next;
};

/// Two neighbours that may join.
struct Candidate {
  float score;
  uint32_t left, length;  // first symbol; bytes of both when it was found
  // std heaps put the largest first: the better score, then the leftmost.
  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class ScoredBpeSegmenter final : public Segmenter {
 public:
  ScoredBpeSegmenter(StringTable ids, const std::vector<float>& scores, Fallback fallback)
      : ids_(std::move(ids)), scores_(scores), fallback_(std::move(fallback)) {}

  void segment(std::string_view piece, std::vector<int32_t>& ids) const override {
    std::vector<Symbol> symbols = characters(piece);
    join(piece, symbols);
    for (const Symbol& s : symbols) {
      if (s.length == 0) continue;
      const std::string_view text = piece.substr(s.begin, s.length);
      if (const int32_t id = ids_.find(text); id >= 0) {
        ids.push_back(id);
      } else {
        fallback_.append(text, ids);
      }
    }
  }

 private:
  static std::vector<Symbol> characters(std::string_view piece) {
    std::vector<Symbol> symbols;
    for (uint32_t begin = 0; begin < piece.size();) {
      // A broken byte is a symbol of its own: only the byte tokens can spell it.
      const Utf8Char c = next_utf8(piece.substr(begin));
      const auto length = c.valid ? static_cast<uint32_t>(c.length) : 1U;
      const auto i = static_cast<uint32_t>(symbols.size());
      symbols.push_back({begin, length, i - 1, i + 1});
      begin += length;
    }
    if (!symbols.empty()) symbols.back().next = kNone;
    return symbols;
  }

  void join(std::string_view piece, std::vector<Symbol>& symbols) const {
    std::vector<Candidate> heap;
    const auto offer = [&](uint32_t left) {
      const uint32_t right = symbols[left].next;
      if (right == kNone) return;
      const uint32_t length = symbols[left].length + symbols[right].length;
      const int32_t id = ids_.find(piece.substr(symbols[left].begin, length));
      if (id < 0) return;
      heap.push_back({scores_[static_cast<size_t>(id)], left, length});
      std::push_heap(heap.begin(), heap.end());
    };
    for (uint32_t i = 0; i < symbols.size(); ++i) offer(i);
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end());
      const Candidate best = heap.back();
      heap.pop_back();
      Symbol& left = symbols[best.left];
      // Stale when either side has changed since: then both no longer cover the bytes they did.
      if (left.length == 0 || left.next == kNone || left.length + symbols[left.next].length != best.length)
        continue;
      Symbol& right = symbols[left.next];
      left.length = best.length;
      right.length = 0;
      left.next = right.next;
      if (left.next != kNone) symbols[left.next].previous = best.left;
      offer(best.left);
      if (best.left != 0) offer(left.previous);
    }
  }

  StringTable ids_;
  std::vector<float> scores_;
  Fallback fallback_;
};

}  // namespace

std::unique_ptr<const Segmenter> make_scored_bpe(const std::vector<std::string>& tokens,
                                                 const std::vector<float>& scores,
                                                 const std::vector<TokenKind>& kinds, Fallback fallback) {
  StringTable ids(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool text = kinds[i] == TokenKind::kNormal || kinds[i] == TokenKind::kUserDefined ||
                      kinds[i] == TokenKind::kUnused;
    if (text && !tokens[i].empty()) ids.insert(tokens[i], static_cast<int32_t>(i));
  }
  return std::make_unique<ScoredBpeSegmenter>(std::move(ids), scores, std::move(fallback));
}

}  // namespace mla
