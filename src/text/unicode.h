#pragma once

#include <string>
#include <string_view>

namespace mla {

/// Unicode's normalization forms (Unicode Standard Annex #15).
enum class UnicodeForm {
  kNfc,   ///< canonical composition: e + U+0301 becomes U+00E9
  kNfd,   ///< canonical decomposition
  kNfkc,  ///< compatibility composition: the ligature U+FB01 becomes "fi"
  kNfkd,  ///< compatibility decomposition
};

/// The properties of characters are utf8proc's. Hugging Face's tokenizers library reads older tables, so that
/// results differ for characters that Unicode added since its version 9, and only for those.
///
/// In all of these, bytes that are not valid UTF-8 pass unchanged and end what stands before them, as if the
/// text were cut there. ASCII text is copied. Time is linear, but n log n in a run of n combining marks that
/// are out of order; the result has at most 3 (kNfc, kNfd) or 11 (kNfkc, kNfkd) times the bytes.
std::string normalize_unicode(std::string_view text, UnicodeForm form);

/// Lower case, character by character.
std::string lower_case(std::string_view text);

/// The text without characters of the general categories Mn, Mc and Me.
std::string strip_combining_marks(std::string_view text);

}  // namespace mla
