#pragma once

#include <memory>
#include <vector>

#include "io/checkpoint.h"

namespace mla {

/// Collects the tensors of a checkpoint's files: one index over all of them, and data aligned for its type.
class CheckpointBuilder {
 public:
  explicit CheckpointBuilder(CheckpointFormat format);

  /// Adds a file and the tensors that it holds. Errors: kInvalidFile when an earlier file has a tensor of the
  /// same name.
  Status add_file(std::shared_ptr<MappedFile> file, std::vector<TensorView> tensors);

  /// The file that holds a tensor; null when there is no such tensor.
  const MappedFile* file_of(const std::string& name) const;

  Checkpoint& checkpoint() { return *checkpoint_; }
  std::shared_ptr<Checkpoint> finish() { return std::move(checkpoint_); }

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
  std::vector<size_t> file_index_;  // for each tensor, its file
};

}  // namespace mla
