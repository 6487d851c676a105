#include "support/gguf_builder.h"

#include <fstream>

namespace mla::test {

std::string gguf_text(std::string_view text) {
  return ByteWriter().put<uint64_t>(text.size()).text(text).bytes();
}

GgufBuilder& GgufBuilder::raw_pair(std::string_view bytes) {
  pairs_.text(bytes);
  ++n_pairs_;
  return *this;
}

GgufBuilder& GgufBuilder::raw(std::string_view key, uint32_t type, std::string_view value) {
  return raw_pair(ByteWriter().text(gguf_text(key)).put(type).text(value).bytes());
}

GgufBuilder& GgufBuilder::string(std::string_view key, std::string_view value) {
  return raw(key, static_cast<uint32_t>(GgufType::kString), gguf_text(value));
}

GgufBuilder& GgufBuilder::strings(std::string_view key, const std::vector<std::string>& values) {
  ByteWriter value;
  value.put(GgufType::kString).put<uint64_t>(values.size());
  for (const std::string& v : values) value.text(gguf_text(v));
  return raw(key, static_cast<uint32_t>(GgufType::kArray), value.bytes());
}

GgufBuilder& GgufBuilder::i32s(std::string_view key, const std::vector<int32_t>& values) {
  ByteWriter value;
  value.put(GgufType::kI32).put<uint64_t>(values.size());
  for (const int32_t v : values) value.put(v);
  return raw(key, static_cast<uint32_t>(GgufType::kArray), value.bytes());
}

GgufBuilder& GgufBuilder::tensor(Tensor tensor) {
  tensors_.push_back(std::move(tensor));
  return *this;
}

GgufBuilder& GgufBuilder::zeros(std::string_view name, DType dtype, std::vector<uint64_t> shape) {
  uint64_t n = 1;
  for (const uint64_t d : shape) n *= d;
  const auto bytes = static_cast<size_t>(dtype_bytes(dtype, static_cast<int64_t>(n)));
  return tensor(
      {std::string(name), ggml_from_dtype(dtype).value(), std::move(shape), std::string(bytes, '\0')});
}

std::string GgufBuilder::bytes() const {
  ByteWriter out;
  out.text(lies.magic).put(lies.version);
  out.put(lies.n_tensors.value_or(tensors_.size())).put(lies.n_pairs.value_or(n_pairs_)).text(pairs_.bytes());
  ByteWriter data;
  for (const Tensor& t : tensors_) {
    data.pad_to(lies.alignment);
    out.text(gguf_text(t.name)).put(t.rank.value_or(static_cast<uint32_t>(t.dims.size())));
    for (const uint64_t d : t.dims) out.put(d);
    out.put(t.type).put<uint64_t>(t.offset.value_or(data.size()));
    data.text(t.data);
  }
  if (!tensors_.empty()) out.pad_to(lies.alignment);
  return out.text(data.bytes()).bytes();
}

std::filesystem::path save(const std::filesystem::path& path, std::string_view bytes) {
  std::filesystem::remove(
      path);  // a new file: mappings of the old one stay as they are, and nothing waits for the disk
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

}  // namespace mla::test
