#pragma once

#include "io/checkpoint.h"
#include "model/config.h"
#include "model/field_reader.h"

namespace mla {

/// What a reader of hyper-parameters works with: one for each architecture and file format
/// (src/model/registry.cpp lists them). `type` is the file's own name of the architecture: model_type, or
/// general.architecture.
struct ConfigSource {
  FieldReader& fields;
  const Checkpoint& checkpoint;
  std::string_view type;
};

// config.json
void read_deepseek_hf(ConfigSource source, Config& config);
void read_llama_hf(ConfigSource source, Config& config);
void read_qwen_hf(ConfigSource source, Config& config);
void read_gpt2_hf(ConfigSource source, Config& config);
void read_falcon_hf(ConfigSource source, Config& config);

// GGUF metadata
void read_deepseek_gguf(ConfigSource source, Config& config);
void read_llama_gguf(ConfigSource source, Config& config);
void read_qwen_gguf(ConfigSource source, Config& config);
void read_gpt2_gguf(ConfigSource source, Config& config);
void read_falcon_gguf(ConfigSource source, Config& config);

/// width^-0.5, the usual attention scale; 0 for a width that Config::validate() reports.
float inverse_root(int64_t width);

/// Width of a head when the file does not state it: d_model / n_heads, a fault if that is not whole.
int64_t even_head_width(FieldReader& fields, const Config& config);

/// Sliding-window attention over `window` tokens equals full attention up to that length, so the context ends
/// there.
void limit_context_to_window(int64_t window, Config& config);

}  // namespace mla
