#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

namespace mla::fuzz {

/// What must hold for every input. Not assert(): it must hold in every build.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

/// Takes small choices from the end of an input, so that its beginning keeps the form that seeds and
/// dictionaries have.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  /// A number below `n`; 0 when the input is used up.
  size_t next(size_t n) { return size_ == 0 ? 0 : data_[--size_] % n; }
  /// What no choice has taken.
  std::string_view rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const uint8_t* data_;
  size_t size_;
};

/// A file in memory that holds the input, for code that reads files.
class InputFile {
 public:
  explicit InputFile(std::string_view bytes) : fd_(memfd_create("input", 0)) {
    require(fd_ >= 0, "memfd_create");
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      require(written > 0, "write to a file in memory");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
  }
  ~InputFile() { ::close(fd_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace mla::fuzz
