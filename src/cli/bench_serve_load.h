#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla::cli {

/// One kind of request in a mix.
struct RequestShape {
  int64_t prompt_tokens = 512;  ///< behind a shared prefix, if there is one
  int64_t output_tokens = 128;
  double weight = 1.0;
};

/// "512x128", or with weights "512x128@0.8,4096x16@0.2". Errors: kUsage.
Result<std::vector<RequestShape>> parse_mix(std::string_view text);

/// Tokens that the prompts of a share of all requests begin with.
struct SharedPrefix {
  int64_t tokens = 0;
  double share = 1.0;
};

/// "2000" or "2000@0.5". Errors: kUsage.
Result<SharedPrefix> parse_shared_prefix(std::string_view text);

enum class Endpoint { kCompletions, kChat };

/// One request, ready to be sent.
struct PlannedRequest {
  RequestShape shape;
  std::string body;
};

/// How requests are written.
struct RequestOptions {
  std::string model;
  Endpoint endpoint = Endpoint::kCompletions;
  std::vector<RequestShape> mix{{}};
  SharedPrefix prefix;
  uint64_t seed = 0;
  bool ignore_eos = false;
  /// Ids to draw prompts from, which then have exactly the length asked for; empty: prompts are text.
  std::vector<int32_t> ids;
  double tokens_per_word = 1.3;  ///< of text
};

/// Writes requests: the same seed and index give the same request, and no two indices share a beginning but the prefix.
class RequestMaker {
 public:
  explicit RequestMaker(RequestOptions options) : options_(std::move(options)) {}

  /// A request of the mix.
  PlannedRequest make(uint64_t index) const;
  /// One of this shape, without the shared prefix.
  PlannedRequest make_apart(uint64_t index, const RequestShape& shape) const;

  /// All words that prompts are made of, to be counted by a server's tokenizer.
  static std::string sample_text();
  static int64_t sample_words();

 private:
  std::string body(const std::vector<std::pair<uint64_t, int64_t>>& parts, int64_t output_tokens) const;

  RequestOptions options_;
};

/// When requests arrive in an open loop: a Poisson process whose rate rises evenly from nothing to `rate` per second during the
/// first `ramp` seconds.
class Arrivals {
 public:
  Arrivals(double rate, double ramp, uint64_t seed) : rate_(rate), ramp_(ramp), seed_(seed) {}
  /// Seconds from the start to the next arrival.
  double next();

 private:
  double rate_, ramp_;
  uint64_t seed_, n_ = 0;
  double expected_ = 0.0;  ///< arrivals up to the last one, in units of the process's mean
};

}  // namespace mla::cli
