#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "model/binder.h"
#include "model/config_readers.h"
#include "model/model.h"

namespace mla {

/// One row of the table of architectures: everything that reading a checkpoint needs to know about one. To
/// add an architecture, write its readers, its tensor names and its folder, and add a row.
struct Architecture {
  std::string_view name;                       ///< Config::architecture
  std::vector<std::string_view> hugging_face;  ///< its values of model_type
  std::string_view gguf;                       ///< its value of general.architecture
  void (*read_hugging_face)(ConfigSource, Config&);
  void (*read_gguf)(ConfigSource, Config&);
  NameTable (*tensor_names)();
  /// Declares the tensors it needs to the binder, which packs them afterwards. The config has been validated.
  std::unique_ptr<Decoder> (*make)(const Config&, Binder&);
};

const std::vector<Architecture>& architectures();

/// Null when unknown.
const Architecture* find_architecture(std::string_view name);
const Architecture* find_by_model_type(std::string_view model_type);
const Architecture* find_by_gguf_name(std::string_view name);

}  // namespace mla
