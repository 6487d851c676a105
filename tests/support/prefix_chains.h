#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cache/disk/disk_cache.h"

namespace mla::test {

/// A text's tokens: the first n_pages pages of the endless chain number `chain`. Chains of one `family` (chain / 8) begin with
/// the same two pages.
std::vector<int32_t> chain_tokens(uint32_t chain, int64_t n_pages);

/// What a page must hold: bytes that follow from the namespace and all tokens up to its end, and from nothing else.
std::vector<std::byte> page_content(std::string_view space, const std::vector<int32_t>& tokens, int64_t page, size_t page_bytes);

/// An identity of small pages: 2 layers, 64 rows of 12 bytes.
CacheIdentity small_identity(const std::string& model = "model A");
inline constexpr size_t kSmallPageBytes = 2 * 64 * 12;

/// Stores the first n_pages of a chain and waits until they are written or dropped.
void store_chain(DiskCache& cache, uint32_t chain, int64_t n_pages, std::string_view space = "", bool wait = true);

struct Loaded {
  int64_t n_found = 0, n_loaded = 0;
  int64_t n_wrong = 0;  ///< pages whose bytes are not page_content(): must be 0, whatever happens
};
/// Finds and loads pages of a chain from `first_page` on, at most up to n_pages, and compares every byte.
Loaded load_chain(DiskCache& cache, uint32_t chain, int64_t n_pages, std::string_view space = "", int64_t first_page = 0);

/// The names of a folder's files, sorted; those that end with `suffix`.
std::vector<std::string> file_names(const std::filesystem::path& folder, std::string_view suffix = "");

/// Bytes of all runs, finished or begun, in a folder.
uint64_t run_bytes(const std::filesystem::path& folder);

}  // namespace mla::test
