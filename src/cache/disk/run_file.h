#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/disk/folder.h"
#include "cache/disk/run_format.h"

namespace mla::disk {

/// What became of an attempt to read a run.
enum class ReadOutcome {
  kOk,
  kMissing,  ///< the file is gone
  kForeign,  ///< sound, but of another chain, namespace or model
  kCorrupt,  ///< not a run, or damaged
  kFailed,   ///< the system could not read it
};

/// A run open for reading, its header checked.
class RunReader {
 public:
  /// `message` gets what is wrong when the outcome is kCorrupt or kFailed.
  static ReadOutcome open(const Folder& folder, uint64_t number, RunReader& out, std::string& message);

  const RunHeader& header() const { return header_; }
  /// Whether page `page` of the run is page `chain_page` of `tokens` in `space` with this shape: every token from the
  /// beginning of the chain to the page's end is compared.
  bool holds(uint32_t page, const PageShape& shape, std::string_view space, std::span<const int32_t> tokens, int64_t chain_page) const;
  /// Tells the system that pages from `page` to the run's last will be read.
  void read_ahead(uint32_t page) const;
  /// Reads a page into `to` [page_bytes] and checks it.
  ReadOutcome read_page(uint32_t page, std::span<std::byte> to, std::string& message) const;

 private:
  File file_;
  RunHeader header_;
};

/// A run to be written: its pages' bytes, and what they are.
struct PendingRun {
  RunHeader header;  ///< without number and checksums
  std::vector<Hash> keys;
  std::unique_ptr<std::byte[]> payload;  ///< [n_pages, page_bytes]
  uint64_t payload_bytes = 0;

  uint64_t file_bytes() const;
};

/// Fills in the checksums, writes the run under its temporary name, syncs it if `durable`, and gives it its name. Returns the
/// file, open, so that it can be synced later. Errors: kResource; nothing is left then.
Result<File> write_run(const Folder& folder, PendingRun& run, bool durable);

}  // namespace mla::disk
