#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cache/disk/hash.h"
#include "ops/row_layout.h"

namespace mla::disk {

// The bytes of a run: docs/format-disk-cache.md.

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kHeaderUnit = 4096;
inline constexpr uint64_t kMaxHeaderBytes = uint64_t{64} << 20;
inline constexpr size_t kMaxTextBytes = 1024;  ///< of a namespace, and of a label

/// What a run's pages belong to, and what one of them is.
struct PageShape {
  Hash identity{};
  uint32_t n_layers = 0;
  uint64_t row_bytes = 0;

  uint64_t page_bytes() const { return n_layers * static_cast<uint64_t>(kPageRows) * row_bytes; }
  bool operator==(const PageShape&) const = default;
};

/// What a run's header says.
struct RunHeader {
  uint64_t number = 0;
  PageShape shape;
  uint32_t first_page = 0;
  std::vector<Hash> checksums;  ///< [n_pages], of the payloads
  std::vector<int32_t> tokens;  ///< [(first_page + n_pages) * kPageRows], from the beginning of the chain
  std::string space, label;

  uint32_t n_pages() const { return static_cast<uint32_t>(checksums.size()); }
  uint64_t header_bytes() const;
  uint64_t file_bytes() const { return header_bytes() + n_pages() * shape.page_bytes(); }
  uint64_t payload_offset(uint32_t page) const { return header_bytes() + page * shape.page_bytes(); }
};

/// The header's bytes. The sizes must be within the limits above.
std::vector<std::byte> encode_header(const RunHeader& header);
/// The length of the whole header, from the first kHeaderUnit bytes of a file of `file_bytes`. Errors: kInvalidFile.
Result<uint64_t> header_length(std::span<const std::byte> beginning, uint64_t file_bytes);
/// Everything a header says, checked: its own checksum, every length against every other and against the file's.
/// Errors: kInvalidFile; kResource without memory.
Result<RunHeader> decode_header(std::span<const std::byte> bytes, uint64_t file_bytes);

/// "0000000000000001.run"; "0000000000000001.tmp" while it is being written.
std::string run_name(uint64_t number);
std::string temporary_name(uint64_t number);
/// The number in a run's name; nothing for other names.
std::optional<uint64_t> run_number(std::string_view name);
bool is_temporary_name(std::string_view name);

/// The hash that keys are made with; tests put a weak one in its place.
using KeyHash = Hash (*)(std::span<const std::byte>);
/// What the key of a chain's first page is made from.
Hash root_key(KeyHash hash, const Hash& identity, std::string_view space);
/// The key of the page of `tokens` [kPageRows] after the page with key `parent`.
Hash page_key(KeyHash hash, const Hash& parent, std::span<const int32_t> tokens);
/// The keys of all full pages of `tokens`.
std::vector<Hash> chain_keys(KeyHash hash, const Hash& identity, std::string_view space, std::span<const int32_t> tokens);

}  // namespace mla::disk
