#pragma once

#include <string>
#include <string_view>

namespace mla::jinja {

/// Appends what stands between the quotes of a string in a template, its escapes read as Python reads them.
/// Returns what is wrong with it, or an empty message.
std::string unescape(std::string_view written, std::string& out);

}  // namespace mla::jinja
