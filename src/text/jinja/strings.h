#pragma once

#include <cstdint>
#include <vector>

#include "text/jinja/heap.h"

// Python's string methods, on strings that remember which bytes people wrote. Shared by methods and filters.

namespace mla::jinja {

enum class Case : uint8_t {
  kUpper,
  kLower,
  kCapitalize,  ///< the first character in title case, the rest in lower case
  kTitle,       ///< str.title(): every letter behind another character that is none
  kTitleWords,  ///< the filter: behind a space, a hyphen or an opening bracket
  kSwap,
};
Value change_case(Heap& heap, const Text& text, Case to);

/// count < 0: all of them. An empty `old` stands between all characters.
Value replace(Heap& heap, const Text& text, const Text& old, const Text& by, int64_t count);
/// At runs of white space; `most` < 0: all of them.
std::vector<Value> split_at_space(Heap& heap, const Text& text, int64_t most);
std::vector<Value> split_at_space_from_right(Heap& heap, const Text& text, int64_t most);
/// At a separator that is not empty.
std::vector<Value> split(Heap& heap, const Text& text, const Text& separator, int64_t most);
std::vector<Value> split_from_right(Heap& heap, const Text& text, const Text& separator, int64_t most);
std::vector<Value> split_lines(Heap& heap, const Text& text, bool keep_ends);
Value join(Heap& heap, const Text& separator, const std::vector<Value>& items);
/// Without the characters of `set` (white space where it is null) at the ends.
Value strip(Heap& heap, const Text& text, const Text* set, bool left, bool right);
/// Filled up with spaces, or with `fill`, to `width` characters.
enum class Align : uint8_t { kLeft, kCenter, kRight };
Value pad(Heap& heap, const Text& text, Align align, int64_t width, std::string_view fill = " ");
Value escape(Heap& heap, const Text& text);

}  // namespace mla::jinja
