#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include "base/file_writer.h"

namespace mla {
namespace {
namespace fs = std::filesystem;

/// Closes a descriptor at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::string system_message(const char* doing, const fs::path& path, int code) {
  return fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(code));
}

/// The Error for a system call that failed while reading `path`. `doing` is a verb: "open", "map".
Error read_error(const char* doing, const fs::path& path, int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
      return Error::invalid_file(system_message(doing, path, code));
    default:
      return Error::resource(system_message(doing, path, code));
  }
}

const char* describe(const struct stat& status) {
  if (S_ISDIR(status.st_mode)) return "a folder";
  if (S_ISFIFO(status.st_mode)) return "a pipe";
  if (S_ISSOCK(status.st_mode)) return "a socket";
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) return "a device";
  return "not a regular file";
}

/// Everything that `fd` still has; `shown` is its name in messages.
Result<std::string> read_up_to(int fd, const fs::path& shown, uint64_t max_bytes) try {
  constexpr uint64_t kChunk = 1 << 16;
  std::string text;
  while (text.size() <= max_bytes) {
    const size_t before = text.size();
    const size_t want = static_cast<size_t>(std::min(kChunk, max_bytes - before)) + 1;  // one too many shows
    text.resize(before + want);
    const ssize_t got = ::read(fd, text.data() + before, want);
    const int code = errno;
    text.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return text;
    if (got < 0 && code != EINTR) return read_error("read", shown, code);
  }
  return Error::invalid_file(
      fmt::format("{} is larger than the {} bytes that this file may have", shown.string(), max_bytes));
} catch (const std::bad_alloc&) {
  return Error::resource(fmt::format("not enough memory to read {}", shown.string()));
}

struct RegularFile {
  Descriptor fd;
  struct stat status;
};

/// Opens a regular file for reading and refuses anything else, without waiting for it.
Result<RegularFile> open_regular(const fs::path& path) {
  // O_NONBLOCK: opening a pipe without a writer must not hang; it has no effect on regular files.
  RegularFile file{Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), {}};
  if (!file.fd.valid()) return read_error("open", path, errno);
  if (::fstat(file.fd.get(), &file.status) != 0) return read_error("examine", path, errno);
  if (!S_ISREG(file.status.st_mode)) {
    return Error::invalid_file(
        fmt::format("cannot open {}: it is {}, expected a regular file", path.string(), describe(file.status)));
  }
  return file;
}

}  // namespace

Result<std::shared_ptr<MappedFile>> MappedFile::open(const fs::path& path) {
  MLA_ASSIGN(const RegularFile regular, open_regular(path));
  const struct stat& before = regular.status;
  // The owner is there before the mapping is, so that nothing below can lose it.
  std::shared_ptr<MappedFile> file(new MappedFile(path));
  const auto nanoseconds = [](const timespec& t) { return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec; };
  file->stamp_ = {.device = before.st_dev,
                  .inode = before.st_ino,
                  .size = static_cast<uint64_t>(before.st_size),
                  .modified_ns = nanoseconds(before.st_mtim),
                  .changed_ns = nanoseconds(before.st_ctim)};
  if (before.st_size > 0) {
    const auto size = static_cast<size_t>(before.st_size);
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, regular.fd.get(), 0);
    if (mapped == MAP_FAILED) return read_error("map", path, errno);
    file->data_ = static_cast<const std::byte*>(mapped);
    file->size_ = size;
  }

  struct stat after {};
  if (::fstat(regular.fd.get(), &after) != 0) return read_error("examine", path, errno);
  if (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
      after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
    return Error::invalid_file(
        fmt::format("{} changed while it was opened ({} bytes, then {}): is it still being "
                    "written or downloaded?",
                    path.string(), before.st_size, after.st_size));
  }
  return file;
}

void MappedFile::release(std::span<const std::byte> range) const {
  const std::less_equal<const std::byte*> at_most;
  if (range.empty() || data_ == nullptr || !at_most(data_, range.data()) || !at_most(range.data() + range.size(), data_ + size_)) return;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto begin = static_cast<size_t>(range.data() - data_), end = begin + range.size();
  const size_t first = (begin + page - 1) / page * page, last = end / page * page;  // data_ is the start of a page
  if (first < last) madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<std::string> read_text_file(const fs::path& path, uint64_t max_bytes) {
  if (path == "-") return read_up_to(STDIN_FILENO, "standard input", max_bytes);
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return read_error("open", path, errno);
  return read_up_to(fd.get(), path, max_bytes);
}

Result<std::string> read_regular_file(const fs::path& path, uint64_t max_bytes) {
  MLA_ASSIGN(const RegularFile file, open_regular(path));
  return read_up_to(file.fd.get(), path, max_bytes);
}

Status write_file(const fs::path& path, std::span<const std::byte> bytes) {
  MLA_ASSIGN(FileWriter writer, FileWriter::create(path, bytes.size()));
  MLA_TRY(writer.append(bytes));
  return writer.finish();
}

}  // namespace mla
