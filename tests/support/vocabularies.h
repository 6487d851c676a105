#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace mla::test {

/// The tokenizer of a GGUF file, with or without weights. Throws std::runtime_error, which fails the test,
/// when it has none.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& gguf);

/// The reading room's DeepSeek-V3 tokenizer, unpacked into a temporary folder: the path of its
/// tokenizer.json, with its tokenizer_config.json beside it. Empty where the reading room or the xz command
/// is not there.
std::filesystem::path deepseek_v3_tokenizer_json();

/// Every vocabulary at hand with a name for messages: those of tests/golden and, where it is there, of the
/// reading room.
struct NamedTokenizer {
  std::string name;
  std::shared_ptr<const Tokenizer> tokenizer;
};
std::vector<NamedTokenizer> every_tokenizer();

/// A text and the ids it must become.
struct TokenizerVector {
  std::string text;
  std::vector<int32_t> ids;
};
/// The vectors beside a vocabulary: <gguf>.inp holds texts with a line "__ggml_vocab_test__" after each,
/// <gguf>.out one line of ids per text.
std::vector<TokenizerVector> read_tokenizer_vectors(const std::filesystem::path& gguf);

}  // namespace mla::test
