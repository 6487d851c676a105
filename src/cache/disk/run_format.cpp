#include "cache/disk/run_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <new>

#include "base/checked.h"

namespace mla::disk {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and so is this code");

constexpr char kMagic[8] = {'M', 'L', 'A', 'R', 'U', 'N', '\r', '\n'};
constexpr uint32_t kByteOrder = 0x01020304;
constexpr std::string_view kRunSuffix = ".run", kTemporarySuffix = ".tmp";
constexpr size_t kNumberDigits = 16;

/// The header's fields of fixed size, as they lie in the file.
struct Fixed {
  char magic[8];
  uint32_t version;
  uint32_t byte_order;
  uint64_t header_bytes;
  uint64_t number;
  Hash identity;
  uint64_t page_bytes;
  uint64_t row_bytes;
  uint32_t n_layers;
  uint32_t page_rows;
  uint32_t first_page;
  uint32_t n_pages;
  uint32_t space_bytes;
  uint32_t label_bytes;
};
static_assert(sizeof(Fixed) == 88);

Fixed fixed_part(std::span<const std::byte> bytes) {
  Fixed fixed;
  std::memcpy(&fixed, bytes.data(), sizeof(fixed));
  return fixed;
}

/// Bytes of a header with these counts.
std::optional<uint64_t> header_size(uint64_t first_page, uint64_t n_pages, uint64_t space_bytes, uint64_t label_bytes) {
  const auto tokens = (Checked<uint64_t>(first_page) + n_pages) * static_cast<uint64_t>(kPageRows) * sizeof(int32_t);
  const auto content = tokens + Checked<uint64_t>(n_pages) * sizeof(Hash) + space_bytes + label_bytes;
  return (content + sizeof(Fixed) + sizeof(Hash)).align_up(kHeaderUnit).get();
}

Error wrong(std::string message) { return Error::invalid_file(std::move(message)); }

/// Magic, version and byte order: whether the rest means what this version says.
Status check_kind(const Fixed& f) {
  if (std::memcmp(f.magic, kMagic, sizeof(kMagic)) != 0) return wrong("byte 0: no run of a disk cache (wrong magic)");
  if (f.version != kFormatVersion) {
    return wrong(fmt::format("byte 8: a run of version {}, this program reads version {}", f.version, kFormatVersion));
  }
  if (f.byte_order != kByteOrder) return wrong("byte 12: written on a machine of another byte order");
  return {};
}

Status check_counts(const Fixed& f, uint64_t length, uint64_t file_bytes) {
  if (f.page_rows != kPageRows) return wrong(fmt::format("byte 68: pages of {} rows, expected {}", f.page_rows, kPageRows));
  if (f.n_layers == 0 || f.row_bytes == 0) return wrong("byte 56: a page without rows");
  const auto page = Checked<uint64_t>(f.n_layers) * static_cast<uint64_t>(kPageRows) * f.row_bytes;
  if (page.get() != f.page_bytes) {
    return wrong(fmt::format("byte 48: pages of {} bytes, but {} layers of {} rows of {} bytes", f.page_bytes, f.n_layers, kPageRows,
                             f.row_bytes));
  }
  if (f.n_pages == 0) return wrong("byte 76: a run of no pages");
  if (f.space_bytes > kMaxTextBytes || f.label_bytes > kMaxTextBytes) {
    return wrong(fmt::format("byte 80: texts of {} and {} bytes, expected at most {}", f.space_bytes, f.label_bytes, kMaxTextBytes));
  }
  if (header_size(f.first_page, f.n_pages, f.space_bytes, f.label_bytes) != length) {
    return wrong(fmt::format("byte 16: a header of {} bytes does not hold {} pages after {} exactly", length, f.n_pages, f.first_page));
  }
  const auto whole = page * f.n_pages + length;
  if (whole.get() != file_bytes) {
    return wrong(fmt::format("the file has {} bytes, expected a header of {} and {} pages of {}", file_bytes, length, f.n_pages, f.page_bytes));
  }
  return {};
}

/// Takes pieces off the front of a header, or puts them there.
template <class Byte>
std::span<Byte> take(std::span<Byte>& rest, size_t n) {
  const std::span<Byte> piece = rest.first(n);
  rest = rest.subspan(n);
  return piece;
}

void put(std::span<std::byte>& rest, std::span<const std::byte> bytes) {
  std::copy(bytes.begin(), bytes.end(), take(rest, bytes.size()).begin());
}

std::optional<uint64_t> parse_number(std::string_view name, std::string_view suffix) {
  if (name.size() != kNumberDigits + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  uint64_t number = 0;
  const char* end = name.data() + kNumberDigits;
  const auto parsed = std::from_chars(name.data(), end, number, 16);
  if (parsed.ec != std::errc() || parsed.ptr != end || number == 0) return std::nullopt;
  if (fmt::format("{:016x}", number) != name.substr(0, kNumberDigits)) return std::nullopt;  // one spelling each
  return number;
}

}  // namespace

uint64_t RunHeader::header_bytes() const {
  return header_size(first_page, checksums.size(), space.size(), label.size()).value_or(0);
}

std::vector<std::byte> encode_header(const RunHeader& h) {
  Fixed fixed{.version = kFormatVersion,
              .byte_order = kByteOrder,
              .header_bytes = h.header_bytes(),
              .number = h.number,
              .identity = h.shape.identity,
              .page_bytes = h.shape.page_bytes(),
              .row_bytes = h.shape.row_bytes,
              .n_layers = h.shape.n_layers,
              .page_rows = static_cast<uint32_t>(kPageRows),
              .first_page = h.first_page,
              .n_pages = h.n_pages(),
              .space_bytes = static_cast<uint32_t>(h.space.size()),
              .label_bytes = static_cast<uint32_t>(h.label.size())};
  std::memcpy(fixed.magic, kMagic, sizeof(kMagic));
  std::vector<std::byte> bytes(fixed.header_bytes);
  std::span<std::byte> rest(bytes);
  put(rest, std::as_bytes(std::span(&fixed, 1)));
  put(rest, std::as_bytes(std::span(h.checksums)));
  put(rest, std::as_bytes(std::span(h.tokens)));
  put(rest, std::as_bytes(std::span(h.space)));
  put(rest, std::as_bytes(std::span(h.label)));
  const std::span<std::byte> checked = std::span(bytes).first(bytes.size() - sizeof(Hash));
  const Hash checksum = hash_of(checked);
  std::copy(checksum.begin(), checksum.end(), bytes.end() - static_cast<std::ptrdiff_t>(sizeof(Hash)));
  return bytes;
}

Result<uint64_t> header_length(std::span<const std::byte> beginning, uint64_t file_bytes) {
  if (beginning.size() < kHeaderUnit || file_bytes < kHeaderUnit) {
    return wrong(fmt::format("{} bytes are too few for a run's header, expected at least {}", file_bytes, kHeaderUnit));
  }
  const Fixed fixed = fixed_part(beginning);
  MLA_TRY(check_kind(fixed));
  const uint64_t length = fixed.header_bytes;
  if (length < kHeaderUnit || length % kHeaderUnit != 0 || length > kMaxHeaderBytes || length > file_bytes) {
    return wrong(fmt::format("byte 16: a header of {} bytes in a file of {}, expected a multiple of {} up to {}", length, file_bytes,
                             kHeaderUnit, kMaxHeaderBytes));
  }
  return length;
}

Result<RunHeader> decode_header(std::span<const std::byte> bytes, uint64_t file_bytes) try {
  MLA_ASSIGN(const uint64_t length, header_length(bytes, file_bytes));
  if (bytes.size() != length) return wrong(fmt::format("a header of {} bytes where {} were read", length, bytes.size()));
  const Hash expected = hash_of(bytes.first(length - sizeof(Hash)));
  if (!std::equal(expected.begin(), expected.end(), bytes.end() - static_cast<std::ptrdiff_t>(sizeof(Hash)))) {
    return wrong("the header's checksum is wrong: the file was damaged or not written to its end");
  }
  const Fixed fixed = fixed_part(bytes);
  MLA_TRY(check_counts(fixed, length, file_bytes));

  RunHeader h{.number = fixed.number,
              .shape = {.identity = fixed.identity, .n_layers = fixed.n_layers, .row_bytes = fixed.row_bytes},
              .first_page = fixed.first_page};
  std::span<const std::byte> rest = bytes.subspan(sizeof(Fixed));
  h.checksums.resize(fixed.n_pages);
  std::memcpy(h.checksums.data(), take(rest, fixed.n_pages * sizeof(Hash)).data(), fixed.n_pages * sizeof(Hash));
  h.tokens.resize((size_t{fixed.first_page} + fixed.n_pages) * kPageRows);
  std::memcpy(h.tokens.data(), take(rest, h.tokens.size() * sizeof(int32_t)).data(), h.tokens.size() * sizeof(int32_t));
  const auto text = [&](size_t n) { return std::string(reinterpret_cast<const char*>(take(rest, n).data()), n); };
  h.space = text(fixed.space_bytes);
  h.label = text(fixed.label_bytes);
  return h;
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for a run's header");
}

std::string run_name(uint64_t number) { return fmt::format("{:016x}{}", number, kRunSuffix); }
std::string temporary_name(uint64_t number) { return fmt::format("{:016x}{}", number, kTemporarySuffix); }
std::optional<uint64_t> run_number(std::string_view name) { return parse_number(name, kRunSuffix); }
bool is_temporary_name(std::string_view name) { return parse_number(name, kTemporarySuffix).has_value(); }

Hash root_key(KeyHash hash, const Hash& identity, std::string_view space) {
  std::vector<std::byte> bytes(identity.begin(), identity.end());
  const auto text = std::as_bytes(std::span(space));
  bytes.insert(bytes.end(), text.begin(), text.end());
  return hash(bytes);
}

Hash page_key(KeyHash hash, const Hash& parent, std::span<const int32_t> tokens) {
  std::array<std::byte, sizeof(Hash) + kPageRows * sizeof(int32_t)> bytes;
  std::memcpy(bytes.data(), parent.data(), sizeof(Hash));
  std::memcpy(bytes.data() + sizeof(Hash), tokens.data(), kPageRows * sizeof(int32_t));
  return hash(bytes);
}

std::vector<Hash> chain_keys(KeyHash hash, const Hash& identity, std::string_view space, std::span<const int32_t> tokens) {
  std::vector<Hash> keys;
  keys.reserve(tokens.size() / kPageRows);
  Hash key = root_key(hash, identity, space);
  for (size_t first = 0; first + kPageRows <= tokens.size(); first += kPageRows) {
    keys.push_back(key = page_key(hash, key, tokens.subspan(first, kPageRows)));
  }
  return keys;
}

}  // namespace mla::disk
