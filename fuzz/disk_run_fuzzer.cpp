// A run of the disk cache (docs/format-disk-cache.md): its header and its pages, through the reader that the
// cache uses.

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cache/disk/run_file.h"
#include "input.h"

namespace mla::disk {
namespace {

constexpr size_t kMaxFile = 1 << 18;
constexpr size_t kChecksumsAt = 88;  // behind the fields of fixed size

template <typename T>
T field(const std::string& bytes, size_t at) {
  T value{};
  if (at + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

void put_hash(std::string& bytes, size_t at, size_t begin, size_t length) {
  const Hash hash = hash_of(std::as_bytes(std::span(bytes).subspan(begin, length)));
  std::memcpy(bytes.data() + at, hash.data(), sizeof(hash));
}

/// Mutations cannot guess checksums: the file as long as it says, with checksums that fit.
std::string repaired(std::string bytes) {
  const auto header = field<uint64_t>(bytes, 16), page = field<uint64_t>(bytes, 48);
  const auto n_pages = field<uint32_t>(bytes, 76);
  if (header < kHeaderUnit || header > kMaxFile || n_pages > 64 || page > kMaxFile) return bytes;
  const size_t whole = header + n_pages * page;
  if (whole > kMaxFile) return bytes;
  bytes.resize(whole);
  for (size_t i = 0; i < n_pages && kChecksumsAt + (i + 1) * sizeof(Hash) <= header; ++i) {
    put_hash(bytes, kChecksumsAt + i * sizeof(Hash), header + i * page, page);
  }
  put_hash(bytes, header - sizeof(Hash), 0, header - sizeof(Hash));
  return bytes;
}

/// A folder in which every run is the input.
class OneFile : public FileSystem {
 public:
  std::filesystem::path input;
  int open(int folder, const std::string& name, int flags) override {
    return name.ends_with(".run") ? ::open(input.c_str(), O_RDONLY | O_CLOEXEC)
                                  : FileSystem::open(folder, name, flags);
  }
};

/// An empty cache that lasts as long as the program.
class EmptyCache {
 public:
  explicit EmptyCache(FileSystem& files) : path_(make_folder()), folder_(open(files, path_)) {}
  ~EmptyCache() { std::filesystem::remove_all(path_); }
  const Folder& folder() const { return folder_; }

 private:
  static std::string make_folder() {
    std::string path = (std::filesystem::temp_directory_path() / "fuzz-disk-XXXXXX").string();
    fuzz::require(mkdtemp(path.data()) != nullptr, "a temporary folder");
    return path;
  }
  static Folder open(FileSystem& files, const std::string& path) {
    auto folder = Folder::open(files, path, /*create=*/true);
    fuzz::require(folder.ok(), "an empty folder becomes a cache");
    return std::move(folder).value();
  }
  const std::string path_;
  const Folder folder_;
};

void check(const RunReader& run, size_t file_bytes) {
  const RunHeader& h = run.header();
  fuzz::require(h.file_bytes() == file_bytes, "an accepted header says how long its file is");
  fuzz::require(h.tokens.size() == (size_t{h.first_page} + h.n_pages()) * kPageRows,
                "tokens from the chain's beginning");
  fuzz::require(decode_header(encode_header(h), file_bytes).ok(), "what was read can be written");
  std::vector<std::byte> page(h.shape.page_bytes());
  std::string message;
  for (uint32_t i = 0; i < h.n_pages(); ++i) {
    const int64_t chain_page = int64_t{h.first_page} + i;
    fuzz::require(run.holds(i, h.shape, h.space, h.tokens, chain_page), "a run holds its own pages");
    fuzz::require(!run.holds(i, h.shape, h.space + "x", h.tokens, chain_page),
                  "and those of no other namespace");
    const ReadOutcome outcome = run.read_page(i, page, message);
    fuzz::require(outcome == ReadOutcome::kOk || outcome == ReadOutcome::kCorrupt,
                  "a page is sound or damaged");
    fuzz::require((outcome == ReadOutcome::kOk) == (hash_of(page) == h.checksums[i]),
                  "a sound page has its checksum");
  }
}

}  // namespace
}  // namespace mla::disk

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  static disk::OneFile files;
  static const disk::EmptyCache cache(files);
  fuzz::Choices choices(data, size);
  const bool repair = choices.next(8) != 0;
  std::string bytes(choices.rest());
  if (repair) bytes = disk::repaired(std::move(bytes));
  const fuzz::InputFile input(bytes);
  files.input = input.path();
  disk::RunReader run;
  std::string message;
  const auto outcome = disk::RunReader::open(cache.folder(), disk::field<uint64_t>(bytes, 24), run, message);
  if (outcome == disk::ReadOutcome::kOk) {
    disk::check(run, bytes.size());
  } else {
    fuzz::require(outcome == disk::ReadOutcome::kCorrupt && !message.empty(), "what is no run is corrupt");
  }
  return 0;
}
