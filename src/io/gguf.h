#pragma once

#include <memory>

#include "base/file.h"
#include "base/result.h"
#include "io/checkpoint.h"

namespace mla {

/// Opens a GGUF checkpoint from one mapped file of it, with the other parts of a split one
/// (NAME-00001-of-0000N.gguf; metadata from the first part). `vocabulary_only` accepts a checkpoint without
/// tensors and reads only the first part. Errors: kInvalidFile, kResource; messages begin with the path of
/// the file at fault.
Result<std::shared_ptr<Checkpoint>> open_gguf(std::shared_ptr<MappedFile> file, bool vocabulary_only);

}  // namespace mla
