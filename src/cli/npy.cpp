#include "cli/npy.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace mla::cli {
namespace {

Error io_error(const std::filesystem::path& path, const char* what) {
  return Error::resource(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, int64_t n_rows, int64_t n_cols) {
  NpyWriter writer(path, nullptr);
  writer.file_ = std::fopen(writer.temporary().c_str(), "wb");
  if (writer.file_ == nullptr) return io_error(path, "create");
  // Magic, version, header length; the header is padded so that the data starts at a multiple of 64 bytes.
  std::string header = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", n_rows, n_cols);
  header.append((64 - (10 + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  const uint16_t length = static_cast<uint16_t>(header.size());
  const char prefix[10] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  if (std::fwrite(prefix, 1, 10, writer.file_) != 10 || std::fwrite(header.data(), 1, header.size(), writer.file_) != header.size()) {
    return io_error(path, "write");
  }
  return writer;
}

NpyWriter::NpyWriter(NpyWriter&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}

NpyWriter::~NpyWriter() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(temporary(), ignored);
}

Status NpyWriter::append(std::span<const float> values) {
  if (std::fwrite(values.data(), sizeof(float), values.size(), file_) != values.size()) return io_error(path_, "write");
  return {};
}

Status NpyWriter::close() {
  std::FILE* file = std::exchange(file_, nullptr);
  const bool flushed = std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  if (std::fclose(file) != 0 || !flushed) return io_error(path_, "write");
  std::error_code error;
  std::filesystem::rename(temporary(), path_, error);
  if (error) return Error::resource(fmt::format("{}: cannot rename into place: {}", path_.string(), error.message()));
  return {};
}

}  // namespace mla::cli
