#include "support/gguf_vocabulary.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>

namespace mla::test {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

enum GgufType : uint32_t { kString = 8, kArray = 9 };

class Reader {
 public:
  explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string string() {
    const auto size = number<uint64_t>();
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  /// The raw bytes of one number of the type.
  std::string raw(uint32_t type) {
    static constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    at_ += kSizes[type];
    return bytes_.substr(at_ - kSizes[type], kSizes[type]);
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

template <typename T>
T as(const std::string& raw) {
  T value{};
  std::memcpy(&value, raw.data(), std::min(sizeof(T), raw.size()));
  return value;
}

}  // namespace

Vocabulary read_gguf_vocabulary(const std::filesystem::path& path) {
  Reader in(read_file(path));
  in.raw(10);  // magic and version
  in.raw(10);  // tensors
  const auto n = in.number<uint64_t>();
  std::map<std::string, std::vector<std::string>> values;
  for (uint64_t i = 0; i < n; ++i) {
    std::string key = in.string();
    auto type = in.number<uint32_t>();
    uint64_t count = 1;
    if (type == kArray) {
      type = in.number<uint32_t>();
      count = in.number<uint64_t>();
    }
    std::vector<std::string>& out =
        values[key.substr(0, 10) == "tokenizer." ? key.substr(key.rfind('.') + 1) : "other"];
    out.clear();
    for (uint64_t k = 0; k < count; ++k) out.push_back(type == kString ? in.string() : in.raw(type));
  }
  const auto id = [&](const char* key) { return values.count(key) ? as<int32_t>(values[key][0]) : -1; };
  const auto flag = [&](const char* key, bool fallback) {
    return values.count(key) ? values[key][0][0] != 0 : fallback;
  };
  Vocabulary v;
  v.model = values["model"].at(0);
  if (values.count("pre")) v.pre = values["pre"][0];
  v.tokens = values["tokens"];
  v.merges = values["merges"];
  for (const std::string& raw : values["scores"]) v.scores.push_back(as<float>(raw));
  for (const std::string& raw : values["token_type"])
    v.kinds.push_back(static_cast<TokenKind>(as<int32_t>(raw)));
  v.bos = id("bos_token_id");
  v.eos = id("eos_token_id");
  v.unknown = id("unknown_token_id");
  v.add_bos = flag("add_bos_token", v.model == "llama");
  v.add_space_prefix = flag("add_space_prefix", true);
  if (values.count("chat_template")) v.chat_template = values["chat_template"][0];
  return v;
}

std::vector<TokenizerVector> read_tokenizer_vectors(const std::filesystem::path& gguf) {
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
