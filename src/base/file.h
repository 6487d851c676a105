#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace mla {

/// A regular file mapped read-only. The mapping (and so every view into it) lives as long as the object.
/// A file that another process truncates while it is mapped raises SIGBUS on access, as for every mmap: models must be
/// replaced by rename, not rewritten in place.
class MappedFile {
 public:
  /// Errors: kInvalidFile when the path is missing, a folder, a FIFO or a device, or changed size while it was mapped;
  /// kResource without permission or address space. An empty file maps to an empty span.
  static Result<std::shared_ptr<MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  /// Tells the kernel that the range will be read soon.
  void will_need(uint64_t offset, uint64_t length) const;

 private:
  MappedFile(std::filesystem::path path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::filesystem::path path_;
  const std::byte* data_;
  size_t size_;
};

/// The whole of a small text file (configuration, prompt), refused over `max_bytes`. `-` reads standard input.
Result<std::string> read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

/// Writes a whole file so that a reader sees the old one or the new one, never a part: temporary name, fsync, rename.
/// Errors: kResource (disk full, no permission) with the path.
Status write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace mla
