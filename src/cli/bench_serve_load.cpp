#include "cli/bench_serve_load.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace mla::cli {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 20;

constexpr std::array kWords = {
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "on", "are", "as", "with", "his", "they", "at", "be", "this", "from",
    "have", "or", "by", "one", "had", "not", "but", "what", "all", "were", "when", "we", "there", "can", "an", "your", "which", "their",
    "said", "if", "do", "will", "each", "about", "how", "up", "out", "them", "then", "she", "many", "some", "so", "these", "would", "other",
    "into", "has", "more", "her", "two", "like", "him", "see", "time", "could", "no", "make", "than", "first", "been", "its", "who", "now",
    "people", "my", "made", "over", "did", "down", "only", "way", "find", "use", "may", "water", "long", "little", "very", "after",
    "words", "called", "just", "where", "most", "know", "get", "through", "back", "much", "go", "good", "new", "write", "our", "me", "man",
    "too", "any", "day", "same", "right", "look", "think", "also", "around", "another", "came", "come", "work", "three", "must", "because",
    "does", "part", "even", "place", "well", "such", "here", "take", "why", "help", "put", "different", "away", "again", "off", "went",
    "old", "number", "great", "tell", "men", "say", "small", "every", "found", "still", "between", "name", "should", "home", "big", "give",
    "air", "line", "set", "own", "under", "read", "last", "never", "us", "left", "end", "along", "while", "might", "next", "sound", "below",
    "saw", "something", "thought", "both", "few", "those", "always", "show", "large", "often", "together", "asked", "house", "world",
    "going", "want", "school", "important", "until", "form", "food", "keep", "children", "feet", "land", "side", "without", "boy", "once",
    "animal", "life", "enough", "took", "four", "head", "above", "kind", "began", "almost", "live", "page", "got", "earth", "need", "far",
    "hand", "high", "year", "mother", "light", "country", "father", "let", "night", "picture", "being", "study", "second", "soon", "story"};

/// The streams of random numbers that a request is drawn from.
enum Stream : uint64_t { kPrefix = 1, kPrompt = 2, kApart = 3, kShape = 4, kShared = 5, kArrival = 6 };

/// SplitMix64: its n-th number is a function of (seed, n) alone.
uint64_t random_bits(uint64_t seed, uint64_t n) {
  uint64_t z = seed + (n + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint64_t stream_seed(uint64_t seed, Stream stream, uint64_t index) {
  return random_bits(random_bits(seed, static_cast<uint64_t>(stream)), index);
}

/// In (0, 1).
double random_unit(uint64_t seed, uint64_t n) { return (static_cast<double>(random_bits(seed, n) >> 11) + 0.5) * 0x1p-53; }

/// A whole text as a number above 0.
template <class T>
std::optional<T> positive(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > T{0})) return std::nullopt;
  return value;
}

/// The text before and after the first `mark`; nothing after it when there is none.
std::pair<std::string_view, std::optional<std::string_view>> cut(std::string_view text, char mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return {text, std::nullopt};
  return {text.substr(0, at), text.substr(at + 1)};
}

std::optional<RequestShape> parse_shape(std::string_view text) {
  const auto [sizes, weight_text] = cut(text, '@');
  const auto [prompt_text, output_text] = cut(sizes, 'x');
  const auto prompt = positive<int64_t>(prompt_text), output = positive<int64_t>(output_text.value_or(""));
  const auto weight = positive<double>(weight_text.value_or("1"));
  if (!prompt || !output || !weight || *prompt > kMaxTokens || *output > kMaxTokens || !std::isfinite(*weight)) return std::nullopt;
  return RequestShape{*prompt, *output, *weight};
}

/// `count` random words, without the first one's space.
void append_words(std::string& text, uint64_t seed, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if (!text.empty()) text += ' ';
    text += kWords[random_bits(seed, static_cast<uint64_t>(i)) % kWords.size()];
  }
}

}  // namespace

Result<std::vector<RequestShape>> parse_mix(std::string_view text) {
  std::vector<RequestShape> mix;
  std::optional<std::string_view> rest = text;
  while (rest) {
    const auto [item, more] = cut(*rest, ',');
    const std::optional<RequestShape> shape = parse_shape(item);
    if (!shape) return Error::usage(fmt::format("'{}': expected PROMPTxOUTPUT or PROMPTxOUTPUT@WEIGHT in tokens, such as 512x128 or 512x128@0.8,4096x16@0.2", item));
    mix.push_back(*shape);
    rest = more;
  }
  return mix;
}

Result<SharedPrefix> parse_shared_prefix(std::string_view text) {
  const auto [tokens_text, share_text] = cut(text, '@');
  const auto tokens = positive<int64_t>(tokens_text);
  const auto share = positive<double>(share_text.value_or("1"));
  if (!tokens || *tokens > kMaxTokens || !share || *share > 1.0)
    return Error::usage(fmt::format("--shared-prefix '{}': expected TOKENS or TOKENS@SHARE with a share from 0 to 1, such as 2000@0.5", text));
  return SharedPrefix{*tokens, *share};
}

PlannedRequest RequestMaker::make(uint64_t index) const {
  double total = 0.0;
  for (const RequestShape& shape : options_.mix) total += shape.weight;
  double at = total * random_unit(stream_seed(options_.seed, kShape, index), 0);
  size_t chosen = 0;
  while (chosen + 1 < options_.mix.size() && at >= options_.mix[chosen].weight) at -= options_.mix[chosen++].weight;
  const RequestShape& shape = options_.mix[chosen];
  std::vector<std::pair<uint64_t, int64_t>> parts;
  if (options_.prefix.tokens > 0 && random_unit(stream_seed(options_.seed, kShared, index), 0) < options_.prefix.share)
    parts.emplace_back(stream_seed(options_.seed, kPrefix, 0), options_.prefix.tokens);
  parts.emplace_back(stream_seed(options_.seed, kPrompt, index), shape.prompt_tokens);
  return {shape, body(parts, shape.output_tokens)};
}

PlannedRequest RequestMaker::make_apart(uint64_t index, const RequestShape& shape) const {
  return {shape, body({{stream_seed(options_.seed, kApart, index), shape.prompt_tokens}}, shape.output_tokens)};
}

std::string RequestMaker::body(const std::vector<std::pair<uint64_t, int64_t>>& parts, int64_t output_tokens) const {
  nlohmann::json request = {{"model", options_.model}, {"max_tokens", output_tokens}, {"temperature", 0},
                            {"stream", true}, {"stream_options", {{"include_usage", true}}}};
  if (options_.ignore_eos) request["ignore_eos"] = true;
  std::vector<int32_t> ids;
  std::string text;
  for (const auto& [seed, tokens] : parts) {
    if (options_.ids.empty()) {
      append_words(text, seed, std::max<int64_t>(1, std::llround(static_cast<double>(tokens) / options_.tokens_per_word)));
      continue;
    }
    for (int64_t i = 0; i < tokens; ++i) ids.push_back(options_.ids[random_bits(seed, static_cast<uint64_t>(i)) % options_.ids.size()]);
  }
  if (options_.endpoint == Endpoint::kChat) {
    request["messages"] = {{{"role", "user"}, {"content", text}}};
  } else if (options_.ids.empty()) {
    request["prompt"] = text;
  } else {
    request["prompt"] = ids;
  }
  return request.dump();
}

std::string RequestMaker::sample_text() {
  std::string text;
  for (const char* word : kWords) {
    if (!text.empty()) text += ' ';
    text += word;
  }
  return text;
}

int64_t RequestMaker::sample_words() { return static_cast<int64_t>(kWords.size()); }

double Arrivals::next() {
  expected_ -= std::log(random_unit(stream_seed(seed_, kArrival, 0), n_++));
  // The number expected up to time t is rate t^2 / (2 ramp) within the ramp and rate (t - ramp / 2) after it.
  const double during_ramp = rate_ * ramp_ / 2;
  if (expected_ < during_ramp) return std::sqrt(2 * ramp_ * expected_ / rate_);
  return expected_ / rate_ + ramp_ / 2;
}

}  // namespace mla::cli
