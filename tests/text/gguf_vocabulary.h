#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace mla::test {

/// The tokenizer.* metadata of a well-formed GGUF file. Deliberately small and without checks: the io room reads files that
/// may be broken; this room's tests only need real vocabularies.
Vocabulary read_gguf_vocabulary(const std::filesystem::path& path);

/// A vector file of llama.cpp: texts separated by a line, and one line of ids for each.
struct TokenizerVector {
  std::string text;
  std::vector<int32_t> ids;
};
std::vector<TokenizerVector> read_vectors(const std::filesystem::path& gguf);

}  // namespace mla::test
