#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace mla::cli {

/// A file of reference distributions for KL divergence. Writing when it did not exist at open(), comparing when it did.
/// Format (little-endian): 8 bytes "MLAKLB01", u64 n_vocab, then per scored token i32 id and n_vocab f32 natural
/// log-probabilities.
class KlBase {
 public:
  /// Errors: kInvalidFile for another vocabulary size or a file that is none of ours; kResource.
  static Result<std::unique_ptr<KlBase>> open(const std::filesystem::path& path, int64_t n_vocab);
  ~KlBase();
  KlBase(const KlBase&) = delete;
  KlBase& operator=(const KlBase&) = delete;

  /// The next scored token: its id, its logits, and the log of their sum of exponentials.
  /// Errors: kInvalidFile when the reference was made from another text or is too short; kResource (disk full).
  Status row(int32_t id, std::span<const float> logits, double normalizer);
  /// Writing: flushes and gives the file its name.
  Status close();

  bool comparing() const { return comparing_; }
  double mean() const;            ///< mean KL(reference || this), nats
  double standard_error() const;
  double max() const { return max_; }
  double same_top_1() const;      ///< share of tokens where both have the same most likely token

 private:
  KlBase(std::filesystem::path path, int64_t n_vocab, bool comparing);
  Status write_row(int32_t id, std::span<const float> logits, double normalizer);
  Status compare_row(int32_t id, std::span<const float> logits, double normalizer);

  std::filesystem::path path_;
  int64_t n_vocab_;
  bool comparing_;
  std::FILE* file_ = nullptr;
  std::vector<float> buffer_;
  int64_t n_ = 0, n_same_ = 0;
  double sum_ = 0.0, sum_squared_ = 0.0, max_ = 0.0;
};

}  // namespace mla::cli
