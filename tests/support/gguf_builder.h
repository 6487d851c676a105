#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf_types.h"
#include "tensor/dtype.h"

namespace mla::test {

/// Little-endian bytes, appended one value after another.
class ByteWriter {
 public:
  template <typename T>
  ByteWriter& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  ByteWriter& text(std::string_view raw) {
    bytes_ += raw;
    return *this;
  }
  void pad_to(uint64_t alignment) { bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment); }
  size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Builds GGUF files. Used plainly it writes valid ones; the fields of `lies` and of a tensor make it state
/// something else than what it writes.
class GgufBuilder {
 public:
  /// Dimensions as GGUF orders them: innermost first.
  struct Tensor {
    std::string name;
    uint32_t type = 0;  ///< ggml's number
    std::vector<uint64_t> dims;
    std::string data;
    std::optional<uint64_t> offset = {};  ///< instead of the next free aligned one
    std::optional<uint32_t> rank = {};    ///< instead of dims.size()
  };
  struct Lies {
    std::string magic = "GGUF";
    uint32_t version = 3;
    std::optional<uint64_t> n_tensors;
    std::optional<uint64_t> n_pairs;
    uint64_t alignment = 32;  ///< of offsets and data; the key general.alignment is not written for it
  } lies;

  GgufBuilder& u32(std::string_view key, uint32_t value) { return scalar(key, GgufType::kU32, value); }
  GgufBuilder& i32(std::string_view key, int32_t value) { return scalar(key, GgufType::kI32, value); }
  GgufBuilder& u16(std::string_view key, uint16_t value) { return scalar(key, GgufType::kU16, value); }
  GgufBuilder& u64(std::string_view key, uint64_t value) { return scalar(key, GgufType::kU64, value); }
  GgufBuilder& f32(std::string_view key, float value) { return scalar(key, GgufType::kF32, value); }
  GgufBuilder& boolean(std::string_view key, bool value) {
    return scalar(key, GgufType::kBool, static_cast<uint8_t>(value));
  }
  GgufBuilder& string(std::string_view key, std::string_view value);
  GgufBuilder& strings(std::string_view key, const std::vector<std::string>& values);
  GgufBuilder& i32s(std::string_view key, const std::vector<int32_t>& values);
  /// A pair whose value is these bytes.
  GgufBuilder& raw(std::string_view key, uint32_t type, std::string_view value);
  /// These bytes where a pair should be (they count as one).
  GgufBuilder& raw_pair(std::string_view bytes);
  template <typename T>
  GgufBuilder& scalar(std::string_view key, GgufType type, T value) {
    return raw(key, static_cast<uint32_t>(type), {reinterpret_cast<const char*>(&value), sizeof(T)});
  }

  GgufBuilder& tensor(Tensor tensor);
  /// A tensor of zeros; `shape` innermost first.
  GgufBuilder& zeros(std::string_view name, DType dtype, std::vector<uint64_t> shape);

  std::string bytes() const;

 private:
  ByteWriter pairs_;
  uint64_t n_pairs_ = 0;
  std::vector<Tensor> tensors_;
};

/// A value of a length-prefixed GGUF text.
std::string gguf_text(std::string_view text);

/// Writes `bytes` to `path` and returns the path.
std::filesystem::path save(const std::filesystem::path& path, std::string_view bytes);

}  // namespace mla::test
