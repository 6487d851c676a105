#include "cache/disk/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace mla::disk {
namespace {

/// A piece that one call reads or writes: short enough that a slow disk is noticed between calls.
constexpr size_t kPiece = size_t{8} << 20;
constexpr mode_t kPrivateFile = 0600, kPrivateFolder = 0700;

template <class T>
T checked(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

int FileSystem::make_folder(const std::string& path) { return checked(::mkdir(path.c_str(), kPrivateFolder)); }
int FileSystem::open_folder(const std::string& path) {
  return checked(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}
int FileSystem::open(int folder, const std::string& name, int flags) {
  // O_NONBLOCK: a planted pipe must not make us wait; it has no effect on regular files.
  return checked(::openat(folder, name.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, kPrivateFile));
}
int FileSystem::close(int fd) { return checked(::close(fd)); }
ssize_t FileSystem::pread(int fd, std::byte* to, size_t n, uint64_t offset) {
  return checked(::pread(fd, to, n, static_cast<off_t>(offset)));
}
ssize_t FileSystem::pwrite(int fd, const std::byte* from, size_t n, uint64_t offset) {
  return checked(::pwrite(fd, from, n, static_cast<off_t>(offset)));
}
void FileSystem::read_ahead(int fd, uint64_t offset, uint64_t n) {
  ::posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(n), POSIX_FADV_WILLNEED);
}
int FileSystem::fsync(int fd) { return checked(::fsync(fd)); }
int FileSystem::fstat(int fd, struct stat& status) { return checked(::fstat(fd, &status)); }
int FileSystem::fchmod(int fd, mode_t mode) { return checked(::fchmod(fd, mode)); }
int FileSystem::lock(int fd) { return checked(::flock(fd, LOCK_EX | LOCK_NB)); }
int FileSystem::rename(int folder, const std::string& from, const std::string& to) {
  return checked(::renameat(folder, from.c_str(), folder, to.c_str()));
}
int FileSystem::unlink(int folder, const std::string& name) { return checked(::unlinkat(folder, name.c_str(), 0)); }
int FileSystem::remove_folder(const std::string& path) { return checked(::rmdir(path.c_str())); }

int FileSystem::list(int folder, std::vector<std::string>& names) {
  names.clear();
  const int fd = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // a position of its own
  if (fd < 0) return -errno;
  DIR* stream = ::fdopendir(fd);
  if (stream == nullptr) {
    const int code = errno;
    ::close(fd);
    return -code;
  }
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) names.emplace_back(entry->d_name);
    errno = 0;
  }
  const int code = errno;
  ::closedir(stream);
  return -code;
}

FileSystem& system_files() {
  static FileSystem files;
  return files;
}

int File::read(std::span<std::byte> to, uint64_t offset) const {
  while (!to.empty()) {
    const ssize_t got = files_->pread(fd_, to.data(), std::min(to.size(), kPiece), offset);
    if (got == -EINTR) continue;
    if (got <= 0) return got == 0 ? -ENODATA : static_cast<int>(got);
    to = to.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return 0;
}

int File::write(std::span<const std::byte> from, uint64_t offset) const {
  while (!from.empty()) {
    const ssize_t put = files_->pwrite(fd_, from.data(), std::min(from.size(), kPiece), offset);
    if (put == -EINTR) continue;
    if (put <= 0) return put == 0 ? -EIO : static_cast<int>(put);
    from = from.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return 0;
}

File open_for_reading(FileSystem& files, int folder, const std::string& name, uint64_t& size) {
  File file(files, files.open(folder, name, O_RDONLY));
  if (!file.valid()) return file;
  struct stat status {};
  if (const int failed = files.fstat(file.fd(), status); failed < 0) return File(files, failed);
  if (!S_ISREG(status.st_mode)) return File(files, -EINVAL);
  if (status.st_uid != ::geteuid()) return File(files, -EPERM);
  size = static_cast<uint64_t>(status.st_size);
  return file;
}

}  // namespace mla::disk
