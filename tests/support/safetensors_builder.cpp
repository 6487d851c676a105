#include "support/safetensors_builder.h"

#include <fmt/format.h>

#include "support/gguf_builder.h"

namespace mla::test {

SafetensorsBuilder& SafetensorsBuilder::raw_member(std::string_view json) {
  if (!members_.empty()) members_ += ",";
  members_ += json;
  return *this;
}

SafetensorsBuilder& SafetensorsBuilder::tensor(Tensor t) {
  const std::string offsets = fmt::format("[{},{}]", data_.size(), data_.size() + t.data.size());
  data_ += t.data;
  return raw_member(fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":{}}})", t.name, t.dtype,
                                fmt::join(t.shape, ","), t.offsets.value_or(offsets)));
}

SafetensorsBuilder& SafetensorsBuilder::f32(std::string_view name, std::vector<uint64_t> shape,
                                            const std::vector<float>& values) {
  return tensor({std::string(name), "F32", std::move(shape),
                 std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))});
}

SafetensorsBuilder& SafetensorsBuilder::zeros(std::string_view name, std::string_view dtype,
                                              std::vector<uint64_t> shape, size_t n) {
  return tensor({std::string(name), std::string(dtype), std::move(shape), std::string(n, '\0')});
}

std::string SafetensorsBuilder::with_header(std::string header, std::string_view data) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return ByteWriter().put<uint64_t>(header.size()).text(header).text(data).bytes();
}

}  // namespace mla::test
