#include "server/http/keys.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/file.h"

namespace mla::http {
namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr size_t kMinKeyLength = 16;
constexpr size_t kMaxNameLength = 64;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
                  c == '_' || c == '-';
         });
}

bool is_key(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// Keys that others can read are no keys; a group may read them (secrets of containers are handed out so).
Status check_permissions(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {};  // reading it says what is wrong
  if ((info.st_mode & (S_IRWXO | S_IWGRP)) == 0) return {};
  return Error::usage(
      fmt::format("{}: permissions {:04o} let other users at the API keys; expected 0600; fix: chmod 600 {}",
                  path.string(), info.st_mode & 07777, path.string()));
}

}  // namespace

Status KeyRing::add(std::string name, std::string_view key, bool admin) {
  if (!is_name(name)) return Error::usage("a key's name has 1 to 64 letters, digits, '.', '_' or '-'");
  if (!is_key(key)) return Error::usage("a key has visible ASCII characters only");
  const Sha256Digest digest = sha256(key);
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i].name == name) return Error::usage(fmt::format("the name '{}' is given to two keys", name));
    if (digests_[i] == digest)
      return Error::usage(fmt::format("'{}' and '{}' have the same key", keys_[i].name, name));
  }
  keys_.push_back({std::move(name), admin});
  digests_.push_back(digest);
  return {};
}

Result<KeyRing> KeyRing::read(const std::filesystem::path& path) {
  MLA_TRY(check_permissions(path));
  MLA_ASSIGN(const std::string text, read_regular_file(path, kMaxFileBytes));
  KeyRing ring;
  size_t number = 0;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = trimmed(std::string_view(text).substr(at, end - at));
    at = end + 1;
    if (line.empty() || line.front() == '#') continue;

    // The messages name the line, not what is on it: they end in logs.
    const auto wrong = [&](std::string_view what) {
      return Error::invalid_file(fmt::format("{}, line {}: {}", path.string(), number + 1, what));
    };
    std::string name = fmt::format("key-{}", number + 1);
    bool admin = false;
    if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
      name = line.substr(0, colon);
      line.remove_prefix(colon + 1);
      admin = line.starts_with("admin:");
      if (admin) line.remove_prefix(6);
    }
    if (line.find(':') != std::string_view::npos)
      return wrong("expected key, name:key or name:admin:key; a key has no ':'");
    if (line.size() < kMinKeyLength) {
      return wrong(fmt::format(
          "a key of {} characters can be guessed; expected at least {}; fix: openssl rand -hex 32",
          line.size(), kMinKeyLength));
    }
    if (const Status added = ring.add(std::move(name), line, admin); !added.ok())
      return wrong(added.error().message);
  }
  if (ring.empty()) return Error::invalid_file(path.string() + ": no key in it; expected lines of name:key");
  return ring;
}

const KeyRing::Key* KeyRing::find(std::string_view presented) const {
  const size_t index = find_in_constant_time(std::span<const Sha256Digest>(digests_), sha256(presented));
  return index < keys_.size() ? &keys_[index] : nullptr;
}

}  // namespace mla::http
