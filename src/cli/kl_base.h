#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "cli/moments.h"
#include "cli/output_file.h"

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

  bool comparing() const { return reference_ != nullptr; }
  const Moments& divergence() const { return divergence_; }  ///< KL(reference || this) of each scored token, nats
  /// Share of tokens where both have the same most likely token.
  double same_top_1() const { return static_cast<double>(n_same_) / static_cast<double>(divergence_.n); }

 private:
  KlBase(std::filesystem::path path, int64_t n_vocab);
  Status write_row(int32_t id, std::span<const float> logits, double normalizer);
  Status compare_row(int32_t id, std::span<const float> logits, double normalizer);

  std::filesystem::path path_;
  std::FILE* reference_ = nullptr;    ///< when comparing
  std::optional<OutputFile> output_;  ///< when writing
  std::vector<float> buffer_;
  Moments divergence_;
  int64_t n_same_ = 0;
};

}  // namespace mla::cli
