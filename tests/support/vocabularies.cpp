#include "support/vocabularies.h"

#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "model/model.h"
#include "support/paths.h"

namespace mla::test {
namespace fs = std::filesystem;

namespace {

template <typename T>
T value_or_throw(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& gguf) {
  const auto checkpoint = value_or_throw(open_checkpoint(gguf, /*vocabulary_only=*/true));
  auto tokenizer = value_or_throw(read_tokenizer(*checkpoint));
  if (tokenizer == nullptr) throw std::runtime_error(gguf.string() + " has no tokenizer");
  return tokenizer;
}

fs::path deepseek_v3_tokenizer_json() {
  static const fs::path unpacked = [] {
    const fs::path packed = shared_file("data/tokenizers/deepseek-v3/tokenizer.json.xz");
    const fs::path config = shared_file("data/tokenizers/deepseek-v3/tokenizer_config.json");
    if (packed.empty() || config.empty()) return fs::path();
    const fs::path json = temp_dir("deepseek-v3") / "tokenizer.json";
    fs::copy_file(config, json.parent_path() / "tokenizer_config.json");
    const std::string command = "xz -dc '" + packed.string() + "' > '" + json.string() + "'";
    return std::system(command.c_str()) == 0 ? json : fs::path();
  }();
  return unpacked;
}

std::vector<NamedTokenizer> every_tokenizer() {
  std::vector<NamedTokenizer> all;
  for (const char* name : {"byte_bpe", "spm_bpe", "unigram"}) {
    const fs::path folder = golden(std::string("text/") + name);
    all.push_back(
        {std::string(name) + "/tokenizer.json",
         value_or_throw(load_tokenizer_json(folder / "tokenizer.json", folder / "tokenizer_config.json"))});
    if (fs::exists(folder / "vocab.gguf")) {
      all.push_back({std::string(name) + "/vocab.gguf", load_tokenizer(folder / "vocab.gguf")});
    }
  }
  for (const char* name : {"tokenizers/ggml-vocab-deepseek-llm", "tokenizers/ggml-vocab-gpt-2",
                           "tokenizers/ggml-vocab-llama-spm", "weights/stories260K"}) {
    const fs::path gguf = shared_file(std::string("data/") + name + ".gguf");
    if (!gguf.empty()) all.push_back({name, load_tokenizer(gguf)});
  }
  if (const fs::path json = deepseek_v3_tokenizer_json(); !json.empty()) {
    all.push_back({"deepseek-v3",
                   value_or_throw(load_tokenizer_json(json, json.parent_path() / "tokenizer_config.json"))});
  }
  return all;
}

std::vector<TokenizerVector> read_tokenizer_vectors(const fs::path& gguf) {
  static const std::string kSeparator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_file(gguf.string() + ".inp");
  std::istringstream lines(read_file(gguf.string() + ".out"));
  std::vector<TokenizerVector> vectors;
  std::string line;
  for (size_t at = 0; std::getline(lines, line);) {
    const size_t end = texts.find(kSeparator, at);
    TokenizerVector v{texts.substr(at, end - at), {}};
    std::istringstream ids(line);
    for (int32_t id = 0; ids >> id;) v.ids.push_back(id);
    vectors.push_back(std::move(v));
    at = end == std::string::npos ? texts.size() : end + kSeparator.size();
  }
  return vectors;
}

}  // namespace mla::test
