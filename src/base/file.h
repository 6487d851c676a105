#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace mla {

/// What tells a file from another, and from itself after a change, without reading it.
struct FileStamp {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modified_ns = 0, changed_ns = 0;  ///< since 1970; `changed` cannot be set back by a program
};

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
  /// As it was when it was opened.
  const FileStamp& stamp() const { return stamp_; }

  /// Takes the memory that holds whole pages of `range` back to the system, if the range lies in this file; the next access
  /// reads them again. For bytes that were copied and will hardly be needed.
  void release(std::span<const std::byte> range) const;

 private:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  FileStamp stamp_;
};

/// The whole of a text that the user names (a prompt), refused over `max_bytes`: a file, a pipe, or standard input (`-`).
/// Waits for a pipe's writer. Errors: kInvalidFile when the path is missing, a folder or too large; kResource without
/// permission or memory.
Result<std::string> read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

/// The whole of a small file that belongs to a model (config.json), refused over `max_bytes`. Never waits: what is no
/// regular file is refused. Errors: as MappedFile::open(), and kInvalidFile when it is too large.
Result<std::string> read_regular_file(const std::filesystem::path& path, uint64_t max_bytes);

/// Writes a whole file so that a reader sees the old one or the new one, never a part: temporary name, fsync, rename.
/// Errors: kResource (disk full, no permission) with the path.
Status write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

}  // namespace mla
