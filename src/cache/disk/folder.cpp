#include "cache/disk/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace mla::disk {
namespace {
namespace fs = std::filesystem;

/// The first line is what https://bford.info/cachedir/ asks for; the second makes the folder ours.
constexpr std::string_view kTag =
    "Signature: 8a477f597d28d172789f06886806bc55\n# mla disk cache: cached prefixes of prompts; safe to delete (mla cache wipe)\n";

/// Makes a folder and those above it.
int make_folders(FileSystem& files, const fs::path& path) {
  fs::path made;
  int failed = 0;
  for (const fs::path& part : path) {
    made /= part;
    failed = files.make_folder(made.string());
  }
  return failed == -EEXIST ? 0 : failed;
}

}  // namespace

Error system_error(const char* doing, const fs::path& path, int code) {
  return Error::resource(fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(std::abs(code))));
}

Result<Folder> Folder::open(FileSystem& files, const fs::path& path, bool create) {
  fs::path clean = path.lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();  // "folder/"
  if (clean.empty()) return Error::usage("the disk cache's folder has no name");
  File folder(files, files.open_folder(clean.string()));
  if (folder.fd() == -ENOENT && create) {
    if (const int failed = make_folders(files, clean); failed < 0) return system_error("create", clean, failed);
    folder = File(files, files.open_folder(clean.string()));
  }
  if (folder.fd() == -ENOENT) return Error::usage(fmt::format("there is no disk cache in {}: no such folder", clean.string()));
  if (!folder.valid()) return system_error("open the disk cache's folder", clean, folder.fd());
  Folder opened(files, std::move(clean), std::move(folder));
  MLA_TRY(opened.check_owner());
  MLA_TRY(opened.claim(create));
  return opened;
}

Status Folder::check_owner() const {
  struct stat status {};
  if (const int failed = files_->fstat(fd(), status); failed < 0) return system_error("examine", path_, failed);
  if (status.st_uid == ::geteuid()) return {};
  return Error::resource(fmt::format("{} belongs to user {}, and not to this one ({}): choose a folder of your own", path_.string(),
                                     status.st_uid, ::geteuid()));
}

/// Checks that the folder is a cache, or makes it one into which nobody else may look.
Status Folder::claim(bool create) const {
  std::vector<std::byte> tag(kTag.size());
  uint64_t size = 0;
  const File existing = open_file(kTagName, size);
  const bool ours = existing.valid() && size == tag.size() && existing.read(tag, 0) == 0 &&
                    std::memcmp(tag.data(), kTag.data(), tag.size()) == 0;
  if (!ours) {
    MLA_ASSIGN(const std::vector<std::string> names, list());
    // A tag of ours that a full disk or a crash cut short is made again.
    if (!create || std::any_of(names.begin(), names.end(), [](const std::string& name) { return name != kTagName; })) {
      return Error::usage(fmt::format("{} is not a disk cache{}", path_.string(),
                                      create ? ", and not empty: choose an empty or a new folder" : ""));
    }
    if (!names.empty()) unlink(kTagName);
    const File fresh = create_file(kTagName);
    int failed = fresh.valid() ? fresh.write(std::as_bytes(std::span(kTag)), 0) : fresh.fd();
    // Whatever the policy for runs: without its tag a folder that is not empty would be refused after a power cut.
    if (failed == 0) failed = fresh.sync();
    if (failed == 0) failed = sync();
    if (failed < 0) return system_error("write to", path_, failed);
  }
  if (!create) return {};
  struct stat status {};
  if (const int failed = files_->fstat(fd(), status); failed < 0) return system_error("examine", path_, failed);
  if ((status.st_mode & 077) == 0) return {};
  if (const int failed = files_->fchmod(fd(), 0700); failed < 0) return system_error("make private", path_, failed);
  return {};
}

Status Folder::lock() {
  const int failed = files_->lock(fd());
  if (failed == 0) return {};
  if (failed == -EWOULDBLOCK) {
    return Error::resource(fmt::format("the disk cache {} is in use by another process: give each server a folder of its own", path_.string()));
  }
  return system_error("lock", path_, failed);
}

Result<std::vector<std::string>> Folder::list() const {
  std::vector<std::string> names;
  if (const int failed = files_->list(fd(), names); failed < 0) return system_error("list", path_, failed);
  return names;
}

int Folder::sync() const {
  const int failed = folder_.sync();
  return failed == -EINVAL || failed == -ENOTSUP ? 0 : failed;
}

File Folder::create_file(const std::string& name) const {
  return File(*files_, files_->open(fd(), name, O_RDWR | O_CREAT | O_EXCL));
}

}  // namespace mla::disk
