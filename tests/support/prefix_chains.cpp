#include "support/prefix_chains.h"

#include <algorithm>
#include <chrono>

namespace mla::test {
namespace {

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

std::vector<int32_t> chain_tokens(uint32_t chain, int64_t n_pages) {
  std::vector<int32_t> tokens(static_cast<size_t>(n_pages * kPageRows));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool shared = i < 2 * kPageRows;
    tokens[i] = static_cast<int32_t>(mix((shared ? chain / 8 : 1'000'000 + chain) * uint64_t{1'000'003} + i) % 32'000);
  }
  return tokens;
}

std::vector<std::byte> page_content(std::string_view space, const std::vector<int32_t>& tokens, int64_t page, size_t page_bytes) {
  uint64_t seed = 1;
  for (char c : space) seed = mix(seed ^ static_cast<unsigned char>(c));
  for (size_t i = 0; i < static_cast<size_t>((page + 1) * kPageRows); ++i) seed = mix(seed ^ static_cast<uint64_t>(tokens[i]));
  std::vector<std::byte> bytes(page_bytes);
  for (size_t i = 0; i < page_bytes; ++i) bytes[i] = static_cast<std::byte>(mix(seed + i / 8) >> (i % 8 * 8));
  return bytes;
}

CacheIdentity small_identity(const std::string& model) {
  return {.text = "identity of " + model, .label = model + ", 12-byte rows", .n_layers = 2, .row_bytes = 12};
}

void store_chain(DiskCache& cache, uint32_t chain, int64_t n_pages, std::string_view space, bool wait) {
  const std::vector<int32_t> tokens = chain_tokens(chain, n_pages);
  std::vector<std::vector<std::byte>> pages;
  std::vector<const std::byte*> pointers;
  for (int64_t page = 0; page < n_pages; ++page) pages.push_back(page_content(space, tokens, page, kSmallPageBytes));
  for (const auto& page : pages) pointers.push_back(page.data());
  cache.store(space, tokens, pointers);
  if (wait) cache.wait_until_idle();
}

Loaded load_chain(DiskCache& cache, uint32_t chain, int64_t n_pages, std::string_view space, int64_t first_page) {
  const std::vector<int32_t> tokens = chain_tokens(chain, n_pages);
  Loaded loaded{.n_found = cache.find(space, tokens, first_page)};
  std::vector<std::vector<std::byte>> pages(static_cast<size_t>(loaded.n_found), std::vector<std::byte>(kSmallPageBytes));
  std::vector<std::byte*> pointers;
  for (auto& page : pages) pointers.push_back(page.data());
  const auto load = cache.load(space, tokens, first_page, pointers);
  while (!load->done()) load->wait(std::chrono::milliseconds(100));
  loaded.n_loaded = load->n_loaded();
  for (int64_t i = 0; i < loaded.n_loaded; ++i) {
    if (pages[static_cast<size_t>(i)] != page_content(space, tokens, first_page + i, kSmallPageBytes)) ++loaded.n_wrong;
  }
  return loaded;
}

std::vector<std::string> file_names(const std::filesystem::path& folder, std::string_view suffix) {
  std::vector<std::string> names;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(folder, gone)) {
    if (entry.path().string().ends_with(suffix)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t run_bytes(const std::filesystem::path& folder) {
  uint64_t bytes = 0;
  for (const std::string& name : file_names(folder)) {
    if (name.ends_with(".run") || name.ends_with(".tmp")) bytes += std::filesystem::file_size(folder / name);
  }
  return bytes;
}

}  // namespace mla::test
