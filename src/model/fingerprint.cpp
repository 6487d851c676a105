#include "model/fingerprint.h"

#include <algorithm>
#include <new>
#include <span>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/file.h"

namespace mla {
namespace {

constexpr int64_t kAlwaysFull = int64_t{1} << 20;  ///< bytes of a tensor that is hashed in full in any model
constexpr int64_t kBlock = int64_t{64} << 10;
constexpr int64_t kBlocks = 16;  ///< of a larger tensor, spread evenly, with both its ends

template <class T>
void add_value(disk::Hasher& hasher, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  hasher.add(std::as_bytes(std::span(&value, 1)));
}

void add_metadata_value(disk::Hasher& hasher, const MetadataValue& value) {
  add_value(hasher, static_cast<uint64_t>(value.index()));
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          hasher.add_text(v);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          add_value(hasher, static_cast<uint64_t>(v.size()));
          for (const std::string& text : v) hasher.add_text(text);
        } else if constexpr (std::is_same_v<T, std::vector<bool>>) {
          add_value(hasher, static_cast<uint64_t>(v.size()));
          for (const bool bit : v) add_value(hasher, bit);
        } else if constexpr (std::is_arithmetic_v<T>) {
          add_value(hasher, v);
        } else if constexpr (!std::is_same_v<T, std::monostate>) {
          add_value(hasher, static_cast<uint64_t>(v.size()));
          hasher.add(std::as_bytes(std::span(v)));
        }
      },
      value);
}

void add_metadata(disk::Hasher& hasher, const Metadata& metadata) {
  add_value(hasher, static_cast<uint64_t>(metadata.entries().size()));
  for (const auto& [key, value] : metadata.entries()) {
    hasher.add_text(key);
    add_metadata_value(hasher, value);
  }
}

Status add_file(disk::Hasher& hasher, const std::filesystem::path& path) {
  if (path.empty()) {
    hasher.add_text("no file");
    return {};
  }
  MLA_ASSIGN(const auto file, MappedFile::open(path));
  add_value(hasher, file->size());
  hasher.add(file->bytes());
  return {};
}

void add_tensor(disk::Hasher& hasher, const TensorView& tensor, bool full) {
  hasher.add_text(tensor.name);
  add_value(hasher, static_cast<uint64_t>(tensor.dtype));
  add_value(hasher, static_cast<uint64_t>(tensor.shape.size()));
  hasher.add(std::as_bytes(std::span(tensor.shape)));
  const int64_t n = tensor.n_bytes();
  const std::span<const std::byte> bytes(tensor.data, static_cast<size_t>(n));
  if (full || n <= std::max(kAlwaysFull, kBlocks * kBlock)) {
    hasher.add(bytes);
  } else {
    for (int64_t i = 0; i < kBlocks; ++i) {
      hasher.add(bytes.subspan(static_cast<size_t>((n - kBlock) / (kBlocks - 1) * i), static_cast<size_t>(kBlock)));
    }
    hasher.add(bytes.last(static_cast<size_t>(kBlock)));
  }
  if (tensor.block_scale == nullptr) return;
  const auto blocks = [&](int64_t size) { return (size + tensor.scale_block - 1) / tensor.scale_block; };
  // The matrices of a stack have their scales one after the other.
  const int64_t n_out = tensor.rank() < 2 ? 1 : tensor.shape[static_cast<size_t>(tensor.rank() - 2)];
  const int64_t n_matrices = n_out == 0 ? 0 : tensor.n_rows() / n_out;
  const auto n_scales = static_cast<size_t>(n_matrices * blocks(n_out) * blocks(tensor.n_in()));
  hasher.add(std::as_bytes(std::span(tensor.block_scale, n_scales)));
}

}  // namespace

Result<disk::Hash> model_fingerprint(const Model& model, uint64_t fully_hashed_bytes) try {
  if (!model.has_checkpoint()) return Error::usage("a model without a checkpoint has no fingerprint");
  const Checkpoint& checkpoint = model.checkpoint();
  disk::Hasher hasher;
  hasher.add_text(model.config().architecture);
  add_metadata(hasher, checkpoint.metadata);
  MLA_TRY(add_file(hasher, checkpoint.tokenizer_json));
  MLA_TRY(add_file(hasher, checkpoint.tokenizer_config_json));

  const bool full = checkpoint.tensor_bytes() <= fully_hashed_bytes;
  add_value(hasher, full);
  std::vector<const TensorView*> tensors;
  for (const TensorView& tensor : checkpoint.tensors) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(), [](const TensorView* a, const TensorView* b) { return a->name < b->name; });
  add_value(hasher, static_cast<uint64_t>(tensors.size()));
  for (const TensorView* tensor : tensors) {
    add_tensor(hasher, *tensor, full);
    // Where the backend has a copy of its own, the file's bytes need not stay in memory.
    if (model.backend().packed_bytes(*tensor) > 0) checkpoint.release(*tensor);
  }
  for (const auto& file : checkpoint.files) {
    if (full) break;
    const FileStamp& s = file->stamp();
    for (const uint64_t word : {s.device, s.inode, s.size, static_cast<uint64_t>(s.modified_ns), static_cast<uint64_t>(s.changed_ns)}) {
      add_value(hasher, word);
    }
  }
  return hasher.digest();
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the model's fingerprint");
}

}  // namespace mla
