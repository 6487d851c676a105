#include "cache/disk/maintenance.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "cache/disk/folder.h"
#include "cache/disk/run_file.h"
#include "cache/disk/run_index.h"

namespace mla::disk {
namespace {
namespace fs = std::filesystem;

Result<std::vector<uint64_t>> run_numbers(const Folder& folder) {
  MLA_ASSIGN(const std::vector<std::string> names, folder.list());
  std::vector<uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = run_number(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// Reads a run as far as asked for. Nothing: it is gone meanwhile.
std::optional<RunSummary> examine(const Folder& folder, uint64_t number, bool pages) {
  RunSummary summary{.name = run_name(number)};
  uint64_t size = 0;
  if (folder.open_file(summary.name, size).valid()) summary.file_bytes = size;
  RunReader run;
  ReadOutcome outcome = RunReader::open(folder, number, run, summary.fault);
  if (outcome == ReadOutcome::kMissing) return std::nullopt;
  if (outcome != ReadOutcome::kOk) return summary;
  const RunHeader& h = run.header();
  summary.label = h.label;
  summary.space = h.space;
  summary.identity = h.shape.identity;
  summary.first_token = int64_t{h.first_page} * kPageRows;
  summary.n_tokens = int64_t{h.n_pages()} * kPageRows;
  std::vector<std::byte> page(pages ? h.shape.page_bytes() : 0);
  for (uint32_t i = 0; pages && i < h.n_pages() && outcome == ReadOutcome::kOk; ++i) outcome = run.read_page(i, page, summary.fault);
  return summary;
}

Result<Folder> open_locked(const fs::path& path) {
  MLA_ASSIGN(Folder folder, Folder::open(system_files(), path, /*create=*/false));
  MLA_TRY(folder.lock());
  return folder;
}

}  // namespace

Result<fs::path> default_cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && fs::path(cache).is_absolute()) return fs::path(cache) / "mla" / "prefixes";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".cache" / "mla" / "prefixes";
  return Error::usage("neither HOME nor XDG_CACHE_HOME is set: name the disk cache's folder");
}

Result<std::vector<RunSummary>> examine_runs(const fs::path& path, bool pages,
                                             const std::function<void(uint64_t, uint64_t)>& progress) {
  MLA_ASSIGN(const Folder folder, Folder::open(system_files(), path, /*create=*/false));
  MLA_ASSIGN(const std::vector<uint64_t> numbers, run_numbers(folder));
  uint64_t total = 0, done = 0, size = 0;
  for (const uint64_t number : numbers) {
    if (pages && folder.open_file(run_name(number), size).valid()) total += size;
  }
  std::vector<RunSummary> runs;
  for (const uint64_t number : numbers) {
    auto summary = examine(folder, number, pages);
    if (!summary) continue;
    done += summary->file_bytes;
    runs.push_back(std::move(*summary));
    if (progress) progress(done, std::max(done, total));
  }
  return runs;
}

Result<Collected> collect_garbage(const fs::path& path, uint64_t budget_bytes) {
  MLA_ASSIGN(const Folder folder, open_locked(path));
  MLA_ASSIGN(const std::vector<std::string> names, folder.list());
  MLA_ASSIGN(const std::vector<uint64_t> numbers, run_numbers(folder));
  Collected collected;
  const auto remove = [&](const std::string& name) -> Status {
    const int failed = folder.unlink(name);
    return failed < 0 && failed != -ENOENT ? Status(system_error("delete", path / name, failed)) : Status();
  };
  for (const std::string& name : names) {
    if (!is_temporary_name(name)) continue;
    MLA_TRY(remove(name));
    ++collected.n_leftover;
  }
  auto index = take_index(folder);
  Catalog catalog;
  for (const uint64_t number : numbers) {
    const auto summary = examine(folder, number, /*pages=*/true);
    if (!summary) continue;
    collected.bytes_before += summary->file_bytes;
    if (!summary->fault.empty()) {
      MLA_TRY(remove(summary->name));
      ++collected.n_damaged;
      continue;
    }
    // Without the index all that is known of a run's use is its age. Keys are not needed here.
    RunEntry entry{.file_bytes = summary->file_bytes};
    if (index && index->contains(number)) entry = std::move((*index)[number]);
    catalog.add(number, std::move(entry));
  }
  while (catalog.total_bytes() > budget_bytes) {
    const auto oldest = catalog.least_recently_used();
    if (!oldest) break;
    MLA_TRY(remove(run_name(*oldest)));
    catalog.remove(*oldest);
    ++collected.n_evicted;
  }
  collected.bytes_after = catalog.total_bytes();
  const bool complete = index && std::all_of(catalog.runs().begin(), catalog.runs().end(),
                                             [](const auto& run) { return !run.second.keys.empty(); });
  if (complete) static_cast<void>(write_index(folder, catalog, /*durable=*/true).ok());  // the next start can do without
  return collected;
}

Result<Wiped> wipe(const fs::path& path) {
  MLA_ASSIGN(const Folder folder, open_locked(path));
  MLA_ASSIGN(std::vector<std::string> names, folder.list());
  // The tag goes last: without it the rest would no longer be known to be ours.
  std::stable_partition(names.begin(), names.end(), [](const std::string& name) { return name != kTagName; });
  Wiped wiped;
  for (const std::string& name : names) {
    const bool ours = run_number(name) || is_temporary_name(name) || name == kIndexName || name == kIndexSumName || name == kTagName;
    if (!ours) continue;
    uint64_t size = 0;
    if (folder.open_file(name, size).valid()) wiped.bytes += size;
    const int failed = folder.unlink(name);
    if (failed < 0 && failed != -ENOENT) return system_error("delete", path / name, failed);
    ++wiped.n_files;
  }
  folder.files().remove_folder(folder.path().string());  // fails when something else is in it, which is then not ours
  return wiped;
}

}  // namespace mla::disk
