#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cache/disk/maintenance.h"
#include "cli/command.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

struct CacheOptions {
  std::string action;
  std::string folder;
  double budget_gib = 0.0;
  bool yes = false;
  CLI::Option* budget_option = nullptr;
};

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

std::string hex(const disk::Hash& hash) {
  std::string text;
  for (const std::byte byte : hash) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

std::string bytes_text(uint64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

Json run_json(const disk::RunSummary& run) {
  Json json = {{"file", run.name}, {"bytes", run.file_bytes}, {"model", run.label}, {"identity", hex(run.identity)},
               {"namespace", run.space}, {"first_token", run.first_token}, {"tokens", run.n_tokens}};
  if (!run.fault.empty()) json["fault"] = run.fault;
  return json;
}

/// What belongs together: one model with one row format and one way of computing.
struct Group {
  std::string label;
  int64_t n_runs = 0, n_tokens = 0;
  uint64_t bytes = 0;
};

std::string table(const std::vector<disk::RunSummary>& runs) {
  std::map<disk::Hash, Group> groups;
  for (const disk::RunSummary& run : runs) {
    if (!run.fault.empty()) continue;
    Group& group = groups[run.identity];
    group.label = run.label;
    ++group.n_runs;
    group.n_tokens += run.n_tokens;
    group.bytes += run.file_bytes;
  }
  std::string text = fmt::format("{:>7} {:>12} {:>10}  {}\n", "runs", "tokens", "size", "model");
  for (const auto& [identity, group] : groups) {
    text += fmt::format("{:>7} {:>12} {:>10}  {}\n", grouped(group.n_runs), grouped(group.n_tokens), bytes_text(group.bytes), group.label);
  }
  return text;
}

/// `ls` reads headers, `verify` everything.
Status list(const std::filesystem::path& folder, bool verify) {
  Progress progress("verifying", "B");
  MLA_ASSIGN(const std::vector<disk::RunSummary> runs, disk::examine_runs(folder, verify, [&](uint64_t done, uint64_t total) {
    if (verify) progress.update(static_cast<double>(done), static_cast<double>(total));
  }));
  progress.finish();
  uint64_t bytes = 0;
  int64_t n_damaged = 0;
  for (const disk::RunSummary& run : runs) {
    bytes += run.file_bytes;
    n_damaged += run.fault.empty() ? 0 : 1;
  }
  if (terminal_options().json) {
    Json document = {{"folder", folder.string()}, {"bytes", bytes}, {"damaged", n_damaged}, {"verified", verify}, {"runs", Json::array()}};
    for (const disk::RunSummary& run : runs) document["runs"].push_back(run_json(run));
    MLA_TRY(write_json(document));
  } else {
    std::string text = runs.empty() ? std::string() : table(runs);
    for (const disk::RunSummary& run : runs) {
      if (!run.fault.empty()) text += fmt::format("damaged: {}: {}\n", run.name, run.fault);
    }
    text += fmt::format("{}: {} in {} runs{}\n", folder.string(), bytes_text(bytes), grouped(static_cast<int64_t>(runs.size())),
                        !verify          ? ""
                        : n_damaged == 0 ? ", every checksum is right"
                                         : fmt::format(", {} damaged", n_damaged));
    MLA_TRY(write_stdout(printable(text)));
  }
  if (verify && n_damaged > 0) {
    return Error::invalid_file(fmt::format("{} of {} runs are damaged; they are never used, and `mla cache gc` deletes them", n_damaged, runs.size()));
  }
  return {};
}

Status collect(const std::filesystem::path& folder, const CacheOptions& o) {
  const bool limited = o.budget_option->count() > 0;
  const auto budget = limited ? static_cast<uint64_t>(o.budget_gib * kGiB) : ~uint64_t{0};
  MLA_ASSIGN(const disk::Collected c, disk::collect_garbage(folder, budget));
  if (terminal_options().json) {
    return write_json({{"folder", folder.string()}, {"damaged", c.n_damaged}, {"leftover", c.n_leftover}, {"evicted", c.n_evicted},
                       {"bytes_before", c.bytes_before}, {"bytes_after", c.bytes_after}});
  }
  return write_stdout(printable(fmt::format("{}: {} -> {} ({} damaged, {} left over, {} least recently used)\n", folder.string(),
                                            bytes_text(c.bytes_before), bytes_text(c.bytes_after), c.n_damaged, c.n_leftover, c.n_evicted)));
}

Status wipe_folder(const std::filesystem::path& folder, const CacheOptions& o) {
  if (!o.yes) {
    return Error::usage(fmt::format("this deletes all cached prefixes in {}; say so with --yes", folder.string()));
  }
  MLA_ASSIGN(const disk::Wiped w, disk::wipe(folder));
  if (terminal_options().json) return write_json({{"folder", folder.string()}, {"files", w.n_files}, {"bytes", w.bytes}});
  return write_stdout(printable(fmt::format("{}: {} files, {} deleted\n", folder.string(), grouped(w.n_files), bytes_text(w.bytes))));
}

Status cache(const CacheOptions& o) {
  std::filesystem::path folder = o.folder;
  if (folder.empty()) {
    MLA_ASSIGN(folder, disk::default_cache_folder());
  }
  if (o.budget_option->count() > 0 && o.action != "gc") return Error::usage("--budget is for `mla cache gc`");
  if (o.yes && o.action != "wipe") return Error::usage("--yes is for `mla cache wipe`");
  if (o.action == "gc") return collect(folder, o);
  if (o.action == "wipe") return wipe_folder(folder, o);
  return list(folder, o.action == "verify");
}

}  // namespace

Command add_cache(CLI::App& root) {
  auto o = std::make_shared<CacheOptions>();
  CLI::App* app = add_subcommand(root, "cache", "Look after the prefixes that a server keeps on disk",
                                 {"mla cache ls", "mla cache verify --dir /var/cache/mla    # reads everything; a server may be running",
                                  "mla cache gc --budget 10              # GiB; damaged and least recently used runs go", "mla cache wipe --yes"});
  app->add_option("action", o->action, "ls: what is there; verify: compare every checksum; gc: delete what is damaged or over the budget; wipe: delete all")
      ->required()->check(CLI::IsMember({"ls", "verify", "gc", "wipe"}))->type_name("ACTION");
  app->add_option("--dir", o->folder, "The cache's folder (default: $XDG_CACHE_HOME/mla/prefixes or ~/.cache/mla/prefixes)")
      ->check(not_empty())->type_name("DIR");
  o->budget_option = app->add_option("--budget", o->budget_gib, "gc: GiB that may stay (default: all that is sound)")
      ->check(CLI::Range(0.0, 1e6))->type_name("GIB");
  app->add_flag("--yes", o->yes, "wipe: really");
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return cache(*o); }};
}

}  // namespace mla::cli
