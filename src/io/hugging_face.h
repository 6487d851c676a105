#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "io/checkpoint.h"

namespace mla {

/// Opens a Hugging Face folder: config.json, and model.safetensors or the shards that
/// model.safetensors.index.json names. With `weights` (a .safetensors file of the folder) the tensors come
/// from that file, or from all shards when the index names it. `vocabulary_only` reads no weights, and does
/// without config.json where there is a tokenizer.json. Errors: kInvalidFile, kResource; messages begin with
/// the path of the file at fault.
Result<std::shared_ptr<Checkpoint>> open_hugging_face(const std::filesystem::path& folder,
                                                      const std::filesystem::path& weights,
                                                      bool vocabulary_only);

}  // namespace mla
