#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace mla::disk {

/// Every system call of the disk cache, so that tests can let any of them fail. Calls return what the system returns, or
/// -errno. Names are relative to an open folder and never followed through links. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual int make_folder(const std::string& path);
  virtual int open_folder(const std::string& path);
  virtual int open(int folder, const std::string& name, int flags);
  virtual int close(int fd);
  virtual ssize_t pread(int fd, std::byte* to, size_t n, uint64_t offset);
  virtual ssize_t pwrite(int fd, const std::byte* from, size_t n, uint64_t offset);
  /// Asks the system to read a part of a file soon. Only advice.
  virtual void read_ahead(int fd, uint64_t offset, uint64_t n);
  virtual int fsync(int fd);
  virtual int fstat(int fd, struct stat& status);
  virtual int fchmod(int fd, mode_t mode);
  /// Takes an exclusive lock without waiting.
  virtual int lock(int fd);
  virtual int rename(int folder, const std::string& from, const std::string& to);
  virtual int unlink(int folder, const std::string& name);
  virtual int remove_folder(const std::string& path);
  /// All names in a folder but . and ..
  virtual int list(int folder, std::vector<std::string>& names);
};

/// The system's own.
FileSystem& system_files();

/// An open file or folder; closed at the end of its life.
class File {
 public:
  File() = default;
  File(FileSystem& files, int fd) : files_(&files), fd_(fd) {}
  File(File&& other) noexcept : files_(other.files_), fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(files_, other.files_);
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File() {
    if (fd_ >= 0) files_->close(fd_);
  }

  bool valid() const { return fd_ >= 0; }
  /// The descriptor, or -errno of the call that should have given one.
  int fd() const { return fd_; }
  FileSystem& files() const { return *files_; }
  /// Fills `to` from `offset` on. 0, or -errno; -ENODATA when the file ends before.
  int read(std::span<std::byte> to, uint64_t offset) const;
  /// Writes all of `from` at `offset`. 0, or -errno.
  int write(std::span<const std::byte> from, uint64_t offset) const;
  int sync() const { return files_->fsync(fd_); }
  void read_ahead(uint64_t offset, uint64_t n) const { files_->read_ahead(fd_, offset, n); }

 private:
  FileSystem* files_ = nullptr;
  int fd_ = -1;
};

/// Opens a regular file of this user for reading; anything else gives an invalid File with -ELOOP (a link), -EPERM (another
/// user's) or -EINVAL (no regular file). `size`: its length.
File open_for_reading(FileSystem& files, int folder, const std::string& name, uint64_t& size);

}  // namespace mla::disk
