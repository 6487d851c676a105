#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace mla::cli {

/// Writes a float32 matrix [n_rows, n_cols] as a NumPy .npy file (format 1.0), row by row. The file appears under its
/// name only when it is complete.
class NpyWriter {
 public:
  /// Errors: kResource when the file cannot be made (path, reason).
  static Result<NpyWriter> create(const std::filesystem::path& path, int64_t n_rows, int64_t n_cols);
  NpyWriter(NpyWriter&& other) noexcept;
  NpyWriter& operator=(NpyWriter&&) = delete;
  ~NpyWriter();

  /// Whole rows, in order. Errors: kResource (disk full).
  Status append(std::span<const float> values);
  /// Flushes to disk and gives the file its name. Errors: kResource.
  Status close();

 private:
  NpyWriter(std::filesystem::path path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  std::filesystem::path temporary() const { return path_.string() + ".partial"; }
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace mla::cli
