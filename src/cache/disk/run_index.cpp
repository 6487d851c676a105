#include "cache/disk/run_index.h"

#include <fmt/format.h>
#include <lmdb.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "cache/disk/hash.h"

namespace mla::disk {
namespace {

constexpr char kMagic[8] = {'M', 'L', 'A', 'S', 'U', 'M', '\r', '\n'};
constexpr uint64_t kIndexVersion = 1;
constexpr unsigned kFlags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC;
constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 36;

/// The contents of index.sum.
struct Sum {
  char magic[8];
  uint64_t version;
  uint64_t index_bytes;
  Hash index_hash;
  Hash own_hash;

  Hash hash() const { return hash_of(std::as_bytes(std::span(this, 1)).first(offsetof(Sum, own_hash))); }
};
static_assert(sizeof(Sum) == 56);

/// What stands before the keys in a run's value.
struct Value {
  uint64_t last_use;
  uint64_t file_bytes;
  uint32_t first_page;
  uint32_t n_pages;
};
static_assert(sizeof(Value) == 24);

struct CloseEnvironment {
  void operator()(MDB_env* env) const { mdb_env_close(env); }
};
struct AbortTransaction {
  void operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
};
struct CloseCursor {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};
using Environment = std::unique_ptr<MDB_env, CloseEnvironment>;
using Transaction = std::unique_ptr<MDB_txn, AbortTransaction>;
using Cursor = std::unique_ptr<MDB_cursor, CloseCursor>;

Error lmdb_error(const Folder& folder, int code) {
  return Error::resource(fmt::format("the index of the disk cache {}: {}", folder.path().string(), mdb_strerror(code)));
}

/// Opens the index through the open folder, so that it is the folder's own even if the path has changed.
int open_environment(const Folder& folder, uint64_t map_bytes, unsigned flags, Environment& out) {
  MDB_env* env = nullptr;
  if (const int failed = mdb_env_create(&env); failed != 0) return failed;
  out.reset(env);
  if (const int failed = mdb_env_set_mapsize(env, map_bytes); failed != 0) return failed;
  return mdb_env_open(env, fmt::format("/proc/self/fd/{}/{}", folder.fd(), kIndexName).c_str(), kFlags | flags, 0600);
}

int begin(MDB_env* env, unsigned flags, Transaction& out, MDB_dbi& table) {
  MDB_txn* txn = nullptr;
  if (const int failed = mdb_txn_begin(env, nullptr, flags, &txn); failed != 0) return failed;
  out.reset(txn);
  return mdb_dbi_open(txn, nullptr, 0, &table);
}

/// Big-endian, so that LMDB's order is the numbers'.
std::array<std::byte, 8> key_bytes(uint64_t number) {
  std::array<std::byte, 8> bytes;
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(number >> (56 - 8 * i));
  return bytes;
}

uint64_t number_of(const MDB_val& key) {
  uint64_t number = 0;
  for (size_t i = 0; i < key.mv_size; ++i) number = number << 8 | static_cast<const uint8_t*>(key.mv_data)[i];
  return number;
}

/// The hash of all bytes of an open file.
std::optional<Hash> hash_of_file(const File& file, uint64_t size) {
  Hasher hasher;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min<uint64_t>(size, uint64_t{1} << 20)));
  for (uint64_t done = 0; done < size;) {
    const auto piece = std::span(buffer).first(static_cast<size_t>(std::min<uint64_t>(buffer.size(), size - done)));
    if (file.read(piece, done) != 0) return std::nullopt;
    hasher.add(piece);
    done += piece.size();
  }
  return hasher.digest();
}

/// Whether index.mdb is, byte for byte, what index.sum was made for; then its size.
std::optional<uint64_t> trusted_size(const Folder& folder) {
  uint64_t sum_bytes = 0, index_bytes = 0;
  const File sum_file = folder.open_file(kIndexSumName, sum_bytes);
  if (!sum_file.valid() || sum_bytes != sizeof(Sum)) return std::nullopt;
  Sum sum;
  if (sum_file.read(std::as_writable_bytes(std::span(&sum, 1)), 0) != 0) return std::nullopt;
  if (std::memcmp(sum.magic, kMagic, sizeof(kMagic)) != 0 || sum.version != kIndexVersion || sum.own_hash != sum.hash()) return std::nullopt;
  const File index = folder.open_file(kIndexName, index_bytes);
  if (!index.valid() || index_bytes != sum.index_bytes || index_bytes > kMaxIndexBytes) return std::nullopt;
  if (hash_of_file(index, index_bytes) != sum.index_hash) return std::nullopt;
  return index_bytes;
}

bool read_entry(const MDB_val& value, RunEntry& entry) {
  Value fixed;
  if (value.mv_size < sizeof(fixed)) return false;
  std::memcpy(&fixed, value.mv_data, sizeof(fixed));
  if (value.mv_size != sizeof(fixed) + uint64_t{fixed.n_pages} * sizeof(Hash) || fixed.n_pages == 0) return false;
  entry.last_use = fixed.last_use;
  entry.file_bytes = fixed.file_bytes;
  entry.first_page = fixed.first_page;
  entry.keys.resize(fixed.n_pages);
  std::memcpy(entry.keys.data(), static_cast<const std::byte*>(value.mv_data) + sizeof(fixed), fixed.n_pages * sizeof(Hash));
  return true;
}

/// All runs of an index whose bytes are trusted.
std::optional<std::map<uint64_t, RunEntry>> read_all(const Folder& folder, uint64_t index_bytes) {
  Environment env;
  Transaction txn;
  MDB_dbi table = 0;
  if (open_environment(folder, index_bytes, MDB_RDONLY, env) != 0 || begin(env.get(), MDB_RDONLY, txn, table) != 0) return std::nullopt;
  MDB_cursor* raw = nullptr;
  if (mdb_cursor_open(txn.get(), table, &raw) != 0) return std::nullopt;
  const Cursor cursor(raw);
  std::map<uint64_t, RunEntry> runs;
  bool version_seen = false;
  MDB_val key, value;
  int code = mdb_cursor_get(raw, &key, &value, MDB_FIRST);
  for (; code == 0; code = mdb_cursor_get(raw, &key, &value, MDB_NEXT)) {
    if (key.mv_size != 8) return std::nullopt;
    const uint64_t number = number_of(key);
    if (number == 0) {
      version_seen = value.mv_size == sizeof(kIndexVersion) && std::memcmp(value.mv_data, &kIndexVersion, sizeof(kIndexVersion)) == 0;
    } else if (!read_entry(value, runs[number])) {
      return std::nullopt;
    }
  }
  if (code != MDB_NOTFOUND || !version_seen) return std::nullopt;
  return runs;
}

int put_all(MDB_txn* txn, MDB_dbi table, const Catalog& catalog) {
  std::vector<std::byte> bytes;
  const auto put = [&](uint64_t number) {
    auto key = key_bytes(number);
    MDB_val k{key.size(), key.data()}, v{bytes.size(), bytes.data()};
    return mdb_put(txn, table, &k, &v, MDB_APPEND);
  };
  bytes.resize(sizeof(kIndexVersion));
  std::memcpy(bytes.data(), &kIndexVersion, sizeof(kIndexVersion));
  if (const int failed = put(0); failed != 0) return failed;
  for (const auto& [number, run] : catalog.runs()) {
    const Value value{run.last_use, run.file_bytes, run.first_page, static_cast<uint32_t>(run.keys.size())};
    const size_t key_size = run.keys.size() * sizeof(Hash);
    bytes.resize(sizeof(value) + key_size);
    std::memcpy(bytes.data(), &value, sizeof(value));
    std::memcpy(bytes.data() + sizeof(value), run.keys.data(), key_size);
    if (const int failed = put(number); failed != 0) return failed;
  }
  return 0;
}

/// Address space for a catalog's index: room for every value on pages of its own, which is more than it takes.
uint64_t map_bytes(const Catalog& catalog) {
  constexpr uint64_t kUnit = uint64_t{1} << 20;
  uint64_t bytes = kUnit;
  for (const auto& [number, run] : catalog.runs()) bytes += 2 * (run.keys.size() * sizeof(Hash) + sizeof(Value)) + 4096;
  return (bytes + kUnit - 1) / kUnit * kUnit;
}

Status write_sum(const Folder& folder, bool durable) {
  Sum sum{.version = kIndexVersion};
  std::memcpy(sum.magic, kMagic, sizeof(kMagic));
  const File index = folder.open_file(kIndexName, sum.index_bytes);
  if (!index.valid()) return system_error("open", folder.path() / kIndexName, index.fd());
  if (durable && index.sync() < 0) return system_error("sync", folder.path() / kIndexName, EIO);
  const auto hash = hash_of_file(index, sum.index_bytes);
  if (!hash) return system_error("read", folder.path() / kIndexName, EIO);
  sum.index_hash = *hash;
  sum.own_hash = sum.hash();
  const File file = folder.create_file(kIndexSumName);
  if (!file.valid()) return system_error("create", folder.path() / kIndexSumName, file.fd());
  int failed = file.write(std::as_bytes(std::span(&sum, 1)), 0);
  if (failed == 0 && durable) failed = file.sync();
  return failed == 0 ? Status() : Status(system_error("write", folder.path() / kIndexSumName, failed));
}

void remove_index(const Folder& folder) {
  folder.unlink(kIndexSumName);  // first: without it nobody believes the rest
  folder.unlink(kIndexName);
}

}  // namespace

std::optional<std::map<uint64_t, RunEntry>> take_index(const Folder& folder) try {
  std::optional<std::map<uint64_t, RunEntry>> runs;
  if (const auto size = trusted_size(folder)) runs = read_all(folder, *size);
  remove_index(folder);
  return runs;
} catch (const std::bad_alloc&) {
  remove_index(folder);
  return std::nullopt;
}

Status write_index(const Folder& folder, const Catalog& catalog, bool durable) try {
  remove_index(folder);
  const auto write = [&] {
    Environment env;
    Transaction txn;
    MDB_dbi table = 0;
    int failed = open_environment(folder, map_bytes(catalog), 0, env);
    if (failed == 0) failed = begin(env.get(), 0, txn, table);
    if (failed == 0) failed = put_all(txn.get(), table, catalog);
    return failed == 0 ? mdb_txn_commit(txn.release()) : failed;
  };
  const int failed = write();
  Status status = failed == 0 ? write_sum(folder, durable) : Status(lmdb_error(folder, failed));
  if (!status.ok()) remove_index(folder);
  return status;
} catch (const std::bad_alloc&) {
  remove_index(folder);
  return Error::resource("not enough memory for the disk cache's index");
}

}  // namespace mla::disk
