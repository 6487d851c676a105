#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mla/cache_size.h"
#include "mla/language_model.h"
#include "mla/result.h"

namespace mla {

struct GeneratorOptions {
  CacheElement cache = CacheElement::kBF16;
  /// Tokens of all sequences together; 0 = the model's context, or what fits in memory
  int64_t cache_tokens = 0;
  int64_t prefill_chunk = 512;  ///< prompt tokens of one sequence that one step computes
  int64_t max_batch_tokens =
      1024;                    ///< tokens that one step computes, and the most sequences that run at once
  bool share_prefixes = true;  ///< sequences with equal beginnings share what was computed for them
  /// Folder in which what was computed for prompts and answers is kept, so that a later generator of the same model and
  /// options finds it. It holds what they say: it is made private to this user. Empty: nothing is kept.
  std::string disk_cache_folder;
  int64_t disk_cache_bytes = int64_t{16} << 30;  ///< what was least recently used goes beyond that
};

/// How the next token is chosen. The steps run in the order of the fields from logit_bias on, then
/// temperature to min_p.
struct Sampling {
  std::vector<std::pair<int32_t, float>> logit_bias;  ///< (token, added to its logit)
  float repetition_penalty = 1.0F;                    ///< 1 = off; over prompt and answer
  float presence_penalty = 0.0F;                      ///< -2 ... 2; over the answer
  float frequency_penalty = 0.0F;                     ///< -2 ... 2; over the answer
  float temperature = 0.0F;                           ///< 0 = the most probable token
  int32_t top_k = 0;                                  ///< 0 = off
  float typical_p = 1.0F;                             ///< 1 = off
  float top_p = 1.0F;                                 ///< 1 = off
  float min_p = 0.0F;                                 ///< 0 = off
  uint64_t seed = 0;  ///< the same seed gives the same tokens, whatever else runs
};

struct GeneratedToken {
  int32_t id = -1;
  float log_probability = 0.0F;  ///< natural log, under the model's own distribution; 0 when not asked for
  std::vector<std::pair<int32_t, float>> most_probable;  ///< (token, log-probability), most probable first
};

/// A prompt, as text or as ids, and what is wanted of its continuation.
struct GenerationRequest {
  std::string prompt;               ///< tokenised as LanguageModel::tokenize does; an empty one is BOS alone
  std::vector<int32_t> prompt_ids;  ///< used instead when not empty
  /// The answer begins a text of its own and does not continue the prompt's: set it for tokenize_chat(). Some
  /// tokenizers put a space in front of a text, which is then left out. An empty prompt implies it.
  bool begins_text = false;
  Sampling sampling;
  int64_t max_new_tokens = 256;
  /// -1: none; n >= 0: of every new token, and of the n most probable in its place
  int32_t n_log_probabilities = -1;
  std::vector<std::string>
      stop;  ///< ends where one of these first appears; the stop string itself is not given out
  bool stop_at_end_of_text = true;  ///< end at the tokenizer's end-of-text and end-of-turn tokens
  // Callbacks run inside step(), generate() and cancel(). They may submit, cancel and forget generations, and must not
  // step or throw.
  /// Called with every piece of text, in order: whole UTF-8 characters, and nothing that may still become a
  /// stop string. Return false to end the generation.
  std::function<bool(std::string_view text)> on_text;
  /// Called with every new token, before its text. Return false to end the generation.
  std::function<bool(const GeneratedToken& token)> on_token;
};

enum class GenerationEnd {
  kRunning,
  kStop,    ///< a stop string, an end-of-text token, or a callback that said no
  kLength,  ///< max_new_tokens, the context or the cache
  kCancelled,
};

struct GenerationResult {
  std::string text;             ///< so far; empty without a tokenizer
  std::vector<int32_t> tokens;  ///< so far
  GenerationEnd end = GenerationEnd::kRunning;
  int64_t n_prompt = 0;
  int64_t n_prompt_cached = 0;  ///< prompt tokens that were found computed
  double seconds_to_first_token = 0.0;
};

using GenerationId = int64_t;

/// Runs many generations at once on one model: every step is one pass over a batch of prompt chunks and
/// single tokens of all of them. One thread at a time.
class Generator {
 public:
  /// Keeps the model alive. Errors: kUsage for options out of range or a folder that holds something else; kResource when the
  /// cache does not fit in memory, or another process uses the folder.
  static Result<Generator> create(const LanguageModel& model, const GeneratorOptions& options = {});
  Generator(Generator&&) noexcept;
  Generator& operator=(Generator&&) noexcept;
  ~Generator();

  /// Queues a request; step() runs it. Errors: kUsage for an empty prompt, a prompt that cannot fit (with the
  /// numbers), or parameters out of range.
  Result<GenerationId> submit(GenerationRequest request);
  /// One pass for all that run. Returns whether anything is left to do. Errors: kResource; the step can be
  /// tried again.
  Result<bool> step();
  /// Steps until nothing is left.
  Status run();
  void cancel(GenerationId id);
  /// How a generation stands. Errors: kUsage for an unknown or forgotten one.
  Result<GenerationResult> result(GenerationId id) const;
  /// Frees what result() gives; cancels the generation if it still runs.
  void forget(GenerationId id);

  /// submit(), step() until this one ends, result() and forget(). Others that were submitted advance with it.
  Result<GenerationResult> generate(GenerationRequest request);

  /// Bytes that one token occupies in this generator's cache, and how many tokens it holds.
  int64_t cache_bytes_per_token() const;
  int64_t cache_capacity_tokens() const;

 private:
  struct Impl;
  explicit Generator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
