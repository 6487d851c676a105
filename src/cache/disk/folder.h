#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/disk/file_system.h"

namespace mla::disk {

/// The folder of a disk cache, open, private and known to be ours. Everything in it is reached through the open folder, so
/// that nothing changes when its path comes to mean something else.
class Folder {
 public:
  /// Opens an existing cache, or with `create` makes one of a folder that is missing or empty. Errors: kResource when it
  /// cannot be opened, belongs to another user or may be written by others; kUsage when it holds anything but a cache.
  static Result<Folder> open(FileSystem& files, const std::filesystem::path& path, bool create);

  /// Takes the exclusive lock that a writer needs; it is held as long as the Folder lives. Errors: kResource when another
  /// process holds it, or the file system has no locks.
  Status lock();
  Result<std::vector<std::string>> list() const;
  File open_file(const std::string& name, uint64_t& size) const { return open_for_reading(*files_, fd(), name, size); }
  /// A new file for writing; one of this name is an error (-EEXIST).
  File create_file(const std::string& name) const;
  int rename(const std::string& from, const std::string& to) const { return files_->rename(fd(), from, to); }
  int unlink(const std::string& name) const { return files_->unlink(fd(), name); }
  /// Makes names durable. Some file systems have no such call for folders, which is then no failure.
  int sync() const;

  int fd() const { return folder_.fd(); }
  FileSystem& files() const { return *files_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  Folder(FileSystem& files, std::filesystem::path path, File folder)
      : files_(&files), path_(std::move(path)), folder_(std::move(folder)) {}
  Status check_owner() const;
  Status claim(bool create) const;

  FileSystem* files_;
  std::filesystem::path path_;
  File folder_;
};

/// Names of our own files beside the runs.
inline constexpr char kTagName[] = "CACHEDIR.TAG", kIndexName[] = "index.mdb", kIndexSumName[] = "index.sum";

/// "cannot <doing> <path>: <what errno says>". `code`: an errno or a negative one.
Error system_error(const char* doing, const std::filesystem::path& path, int code);

}  // namespace mla::disk
