#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace mla::test {

/// The tokenizer.* metadata of a well-formed GGUF file. Small and without checks on purpose: the io room
/// reads files that may be broken; the text room's tests need real vocabularies and no other room.
Vocabulary read_gguf_vocabulary(const std::filesystem::path& path);

/// A text and the ids it must become.
struct TokenizerVector {
  std::string text;
  std::vector<int32_t> ids;
};
/// The vectors beside a vocabulary: <gguf>.inp holds texts with a line "__ggml_vocab_test__" after each,
/// <gguf>.out one line of ids per text.
std::vector<TokenizerVector> read_tokenizer_vectors(const std::filesystem::path& gguf);

}  // namespace mla::test
