#include "grammar/schema_place.h"

#include <nlohmann/json.hpp>
#include <vector>

namespace mla {
namespace {

using Json = nlohmann::ordered_json;
constexpr size_t kMaxShown = 300;

/// A part of a pointer with '~' and '/' put into words.
std::string escaped(std::string_view part) {
  std::string text = "/";
  for (const char c : part.substr(0, kMaxShown)) {
    if (c == '~' || c == '/') {
      text += c == '~' ? "~0" : "~1";
    } else {
      text += c;
    }
  }
  return text;
}

std::string unescaped(std::string_view part) {
  std::string name;
  for (size_t i = 0; i < part.size(); ++i) {
    const bool escape = part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1');
    name += escape ? (part[++i] == '0' ? '~' : '/') : part[i];
  }
  return name;
}

/// The member or element of that name, or null.
const Json* inside(const Json& value, const std::string& name) {
  if (value.is_object()) {
    const auto found = value.find(name);
    return found == value.end() ? nullptr : &*found;
  }
  constexpr size_t kMaxDigits = 9;
  const bool is_index =
      !name.empty() && name.size() <= kMaxDigits && name.find_first_not_of("0123456789") == std::string::npos;
  if (!value.is_array() || !is_index) return nullptr;
  const size_t index = std::stoul(name);
  return index < value.size() ? &value[index] : nullptr;
}

}  // namespace

std::string pointer_to(const SchemaPlace& place, std::string_view keyword) {
  std::vector<std::string> parts;  // the last one first
  if (!keyword.empty()) parts.push_back(escaped(keyword));
  const SchemaPlace* p = &place;
  for (; p->parent != nullptr; p = p->parent) {
    if (p->index != SchemaPlace::kNoIndex) parts.push_back(escaped(std::to_string(p->index)));
    if (p->keyword == "properties") parts.push_back(escaped(p->name));
    parts.push_back(escaped(p->keyword));
  }
  std::string pointer(p->begin.substr(0, kMaxShown));
  for (auto part = parts.rbegin(); part != parts.rend() && pointer.size() < kMaxShown; ++part)
    pointer += *part;
  return pointer;
}

Result<const Json*> follow_pointer(const Json& root, std::string_view reference) {
  if (!reference.starts_with('#'))
    return Error::usage("only references into the schema itself are served, such as \"#/$defs/name\"");
  if (reference.find('%') != std::string_view::npos)
    return Error::usage("percent signs in references are not served");
  const Json* target = &root;
  for (reference.remove_prefix(1); !reference.empty();) {
    if (reference.front() != '/')
      return Error::usage("expected a JSON pointer, such as \"#/$defs/name\"; anchors are not served");
    reference.remove_prefix(1);
    const std::string_view part = reference.substr(0, reference.find('/'));
    reference.remove_prefix(part.size());
    target = inside(*target, unescaped(part));
    if (target == nullptr) return Error::usage("leads to nothing in this schema");
  }
  return target;
}

}  // namespace mla
