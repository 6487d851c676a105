#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mla::test {

/// Builds safetensors files. `entry_json` and the optional fields make it state something else than what it
/// writes.
class SafetensorsBuilder {
 public:
  struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<uint64_t> shape;
    std::string data;
    std::optional<std::string> offsets = {};  ///< JSON instead of the true "[begin,end]"
  };

  SafetensorsBuilder& tensor(Tensor tensor);
  /// F32 values.
  SafetensorsBuilder& f32(std::string_view name, std::vector<uint64_t> shape,
                          const std::vector<float>& values);
  /// `n` zero bytes.
  SafetensorsBuilder& zeros(std::string_view name, std::string_view dtype, std::vector<uint64_t> shape,
                            size_t n);
  /// A member of the header's object as JSON text: "name":{...}.
  SafetensorsBuilder& raw_member(std::string_view json);

  std::string bytes() const { return with_header("{" + members_ + "}", data_); }
  /// A file with this header, padded with spaces so that the data is aligned.
  static std::string with_header(std::string header, std::string_view data);

 private:
  std::string members_;
  std::string data_;
};

}  // namespace mla::test
