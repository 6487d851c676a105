#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "text/utf8.h"

namespace mla {
namespace {

size_t ascii_prefix(std::string_view text) {
  const auto end =
      std::find_if(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x80; });
  return static_cast<size_t>(end - text.begin());
}

bool is_combining_mark(int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

int combining_class(int32_t code) {
  return utf8proc_get_property(code)->combining_class;
}

/// Whether a decomposed character neither moves past nor joins what stands before it: besides marks, only the
/// vowels and final consonants of Hangul join.
bool starts_segment(int32_t code) {
  const bool hangul_vowel_or_final = code >= 0x1160 && code <= 0x11FF;
  return code < 0x80 || (!hangul_vowel_or_final && combining_class(code) == 0 && !is_combining_mark(code));
}

/// Normalises character by character, holding back no more than one segment: a starter and what may join it.
/// utf8proc decomposes and composes; its own ordering of marks is quadratic, so that is done here.
class UnicodeNormalizer {
 public:
  UnicodeNormalizer(UnicodeForm form, std::string& out)
      : compose_(form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc), out_(out) {
    const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
    options_ = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                              (compatible ? UTF8PROC_COMPAT : 0));
  }

  void ascii(std::string_view text) {
    flush();
    out_.append(text.substr(0, text.size() - 1));
    segment_.push_back(text.back());
  }

  void character(char32_t code) {
    std::array<utf8proc_int32_t, kMaxDecomposition> parts;
    int last_boundclass = UTF8PROC_BOUNDCLASS_START;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts.data(), parts.size(),
                                           options_, &last_boundclass);
    // Unicode promises never to exceed kMaxDecomposition, so there is always room.
    for (utf8proc_ssize_t i = 0; i < n; ++i) {
      if (starts_segment(parts[static_cast<size_t>(i)])) flush();
      segment_.push_back(parts[static_cast<size_t>(i)]);
    }
  }

  void flush() {
    if (segment_.size() > 1) {
      order_marks();
      if (compose_) compose();
    }
    for (const utf8proc_int32_t code : segment_) append_utf8(out_, static_cast<char32_t>(code));
    segment_.clear();
  }

 private:
  static constexpr size_t kMaxDecomposition = 18;  // U+FDFA

  /// Canonical ordering: each run of characters with a combining class is sorted by it, stably.
  void order_marks() {
    const auto by_class = [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); };
    const auto is_starter = [](int32_t code) { return combining_class(code) == 0; };
    for (auto begin = segment_.begin(); begin != segment_.end();) {
      begin = std::find_if_not(begin, segment_.end(), is_starter);
      const auto end = std::find_if(begin, segment_.end(), is_starter);
      if (!std::is_sorted(begin, end, by_class)) std::stable_sort(begin, end, by_class);
      begin = end;
    }
  }

  void compose() {
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    const auto length = static_cast<utf8proc_ssize_t>(segment_.size());
    segment_.resize(static_cast<size_t>(utf8proc_normalize_utf32(segment_.data(), length, options)));
  }

  bool compose_;
  utf8proc_option_t options_;
  std::string& out_;
  std::vector<utf8proc_int32_t> segment_;
};

/// Rewrites the valid characters of a text: `change` appends what stands for one.
template <typename Change>
std::string map_characters(std::string_view text, Change&& change) {
  std::string out;
  out.reserve(text.size());
  for (Utf8Char c = next_utf8(text); c.length > 0; c = next_utf8(text)) {
    if (c.valid) {
      change(c.code, out);
    } else {
      out.append(text.substr(0, c.length));
    }
    text.remove_prefix(c.length);
  }
  return out;
}

}  // namespace

std::string normalize_unicode(std::string_view text, UnicodeForm form) {
  std::string out;
  out.reserve(text.size());
  UnicodeNormalizer normalizer(form, out);
  while (!text.empty()) {
    size_t length = ascii_prefix(text);
    if (length > 0) {
      normalizer.ascii(text.substr(0, length));
    } else {
      const Utf8Char c = next_utf8(text);
      length = c.length;
      if (c.valid) {
        normalizer.character(c.code);
      } else {
        normalizer.flush();
        out.append(text.substr(0, length));
      }
    }
    text.remove_prefix(length);
  }
  normalizer.flush();
  return out;
}

std::string lower_case(std::string_view text) {
  return map_characters(text, [](char32_t code, std::string& out) {
    // The only character whose lower case is two: i and a combining dot above.
    if (code == 0x130) {
      out.append("i\xCC\x87");
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
    }
  });
}

std::string strip_combining_marks(std::string_view text) {
  return map_characters(text, [](char32_t code, std::string& out) {
    if (!is_combining_mark(static_cast<int32_t>(code))) append_utf8(out, code);
  });
}

}  // namespace mla
