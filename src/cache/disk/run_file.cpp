#include "cache/disk/run_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <new>

namespace mla::disk {
namespace {

ReadOutcome outcome_of(int failed) {
  switch (-failed) {
    case ENOENT:
      return ReadOutcome::kMissing;
    case ELOOP:    // a link
    case EPERM:    // another user's
    case EINVAL:   // no regular file
    case ENXIO:    // a socket, or a pipe without a writer
    case ENODATA:  // shorter than it was
      return ReadOutcome::kCorrupt;
    default:
      return ReadOutcome::kFailed;
  }
}

ReadOutcome failed_read(const Folder& folder, uint64_t number, int failed, std::string& message) {
  message = system_error("read", folder.path() / run_name(number), failed).message;
  return outcome_of(failed);
}

}  // namespace

ReadOutcome RunReader::open(const Folder& folder, uint64_t number, RunReader& out, std::string& message) try {
  uint64_t size = 0;
  File file = folder.open_file(run_name(number), size);
  if (!file.valid()) return failed_read(folder, number, file.fd(), message);
  const auto corrupt = [&](const std::string& what) {
    message = fmt::format("{}: {}", (folder.path() / run_name(number)).string(), what);
    return ReadOutcome::kCorrupt;
  };
  std::vector<std::byte> bytes(static_cast<size_t>(std::min(size, kHeaderUnit)));
  if (const int failed = file.read(bytes, 0); failed != 0) return failed_read(folder, number, failed, message);
  const Result<uint64_t> length = header_length(bytes, size);
  if (!length.ok()) return corrupt(length.error().message);
  bytes.resize(static_cast<size_t>(*length));
  if (const int failed = file.read(std::span(bytes).subspan(kHeaderUnit), kHeaderUnit); failed != 0) {
    return failed_read(folder, number, failed, message);
  }
  Result<RunHeader> header = decode_header(bytes, size);
  if (!header.ok()) return corrupt(header.error().message);
  if (header->number != number) return corrupt(fmt::format("the header is that of run {}", header->number));
  out.file_ = std::move(file);
  out.header_ = std::move(*header);
  return ReadOutcome::kOk;
} catch (const std::bad_alloc&) {
  message = "not enough memory to read a run";
  return ReadOutcome::kFailed;
}

bool RunReader::holds(uint32_t page, const PageShape& shape, std::string_view space, std::span<const int32_t> tokens,
                      int64_t chain_page) const {
  const RunHeader& h = header_;
  if (!(h.shape == shape) || h.space != space || page >= h.n_pages() || chain_page != int64_t{h.first_page} + page) return false;
  const size_t n = static_cast<size_t>(chain_page + 1) * kPageRows;
  return n <= tokens.size() && std::equal(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n), h.tokens.begin());
}

void RunReader::read_ahead(uint32_t page) const {
  file_.read_ahead(header_.payload_offset(page), (header_.n_pages() - page) * header_.shape.page_bytes());
}

ReadOutcome RunReader::read_page(uint32_t page, std::span<std::byte> to, std::string& message) const {
  if (const int failed = file_.read(to, header_.payload_offset(page)); failed != 0) {
    message = fmt::format("cannot read page {} of run {}", page, run_name(header_.number));
    return outcome_of(failed);
  }
  if (hash_of(to) == header_.checksums[page]) return ReadOutcome::kOk;
  message = fmt::format("page {} of run {}: its checksum is wrong", page, run_name(header_.number));
  return ReadOutcome::kCorrupt;
}

uint64_t PendingRun::file_bytes() const {
  return header.header_bytes() + payload_bytes;
}

Result<File> write_run(const Folder& folder, PendingRun& run, bool durable) {
  RunHeader& h = run.header;
  const std::span<const std::byte> payload(run.payload.get(), run.payload_bytes);
  const uint64_t page_bytes = h.shape.page_bytes();
  for (size_t i = 0; i < h.checksums.size(); ++i) h.checksums[i] = hash_of(payload.subspan(i * page_bytes, page_bytes));
  const std::vector<std::byte> header = encode_header(h);

  const std::string temporary = temporary_name(h.number), name = run_name(h.number);
  File file = folder.create_file(temporary);
  if (!file.valid()) return system_error("create", folder.path() / temporary, file.fd());
  const char* doing = "write";
  int failed = file.write(header, 0);
  if (failed == 0) failed = file.write(payload, header.size());
  if (failed == 0 && durable) {
    doing = "sync";
    failed = file.sync();
  }
  if (failed == 0) {
    doing = "rename";
    failed = folder.rename(temporary, name);
  }
  if (failed < 0) {
    folder.unlink(temporary);
    return system_error(doing, folder.path() / temporary, failed);
  }
  if (durable && folder.sync() < 0) {
    folder.unlink(name);
    return system_error("sync", folder.path(), EIO);
  }
  return file;
}

}  // namespace mla::disk
