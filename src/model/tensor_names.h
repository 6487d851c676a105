#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace mla {

/// What a tensor is for, whichever name a file gives it.
// clang-format off
enum class Role {
  kEmbedding, kPositionEmbedding, kFinalNorm, kHead,
  kAttentionNorm, kFeedForwardNorm,
  kQ, kK, kV, kQkv, kQNorm, kKNorm, kAttentionOut,          // attention
  kQA, kQANorm, kQB, kKvA, kKvANorm, kKvB, kKUp, kVUp,      // latent attention
  kGate, kUp, kDown,                                        // dense feed-forward
  kRouter, kRouterBias,                                     // experts
  kExpertGate, kExpertUp, kExpertDown,                      // one matrix for each expert (Hugging Face)
  kExpertsGate, kExpertsUp, kExpertsGateUp, kExpertsDown,   // stacked over the experts
  kSharedGate, kSharedUp, kSharedDown,
};
// clang-format on

/// A role's name in each format; empty where the format has none. The first {} is the layer, the second the
/// expert.
struct TensorName {
  Role role;
  std::string_view hugging_face;
  std::string_view gguf;
};
using NameTable = std::span<const TensorName>;

NameTable deepseek_tensor_names();
NameTable llama_tensor_names();  ///< llama, mistral, qwen2, qwen3
NameTable gpt2_tensor_names();
NameTable falcon_tensor_names();

/// The row of a role; the role must be in the table.
const TensorName& tensor_name(NameTable table, Role role);

/// Puts the numbers of the layer and the expert into a name.
std::string numbered(std::string_view name, int64_t layer, int64_t expert = 0);

}  // namespace mla
