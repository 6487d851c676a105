#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mla/cache_size.h"
#include "mla/result.h"

namespace mla {

enum class ComputeBackend {
  kCpu,  ///< threads and the best vector instructions of this machine (the variable MLA_ISA forces others)
  kReference,  ///< plain single-threaded loops: slow, and what everything else is tested against
};

struct LanguageModelOptions {
  ComputeBackend backend = ComputeBackend::kCpu;
  int n_threads = 0;  ///< 0 = the processors that this process may use; at most 1024
  /// Products with quantised weights see activations as numbers of 16 bits. With this, of 8: prompts are read up to
  /// 1.6 times as fast, and predictions move a little (kCpu, where the processor has such products).
  bool activations_of_8_bits = false;
};

struct LanguageModelInfo {
  std::string architecture;  ///< "deepseek_v3", "llama", "gpt2", ...
  std::string name;          ///< what the checkpoint calls itself
  int64_t n_parameters = 0;
  int64_t n_layers = 0;
  int64_t d_model = 0;
  int64_t n_vocab = 0;
  int64_t n_context = 0;  ///< longest sequence that the model was made for
  bool has_tokenizer = false;
  bool has_chat_format = false;  ///< a chat template that can be read: tokenize_chat() works
  CacheShape cache;
};

/// One message of a conversation.
struct ConversationMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// A checkpoint, open and ready to compute. Copies are cheap and share the weights. A model and everything
/// that is made of it belong to one thread at a time.
class LanguageModel {
 public:
  /// Opens a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a GGUF file (any part of a
  /// split one). Files are mapped; what the kernels want in another order is copied: they must not be changed
  /// while the model is open. Errors: kInvalidFile (what, where, got, expected), kResource, kUsage for an
  /// MLA_ISA this machine cannot run or a thread count out of range.
  static Result<LanguageModel> open(const std::filesystem::path& path,
                                    const LanguageModelOptions& options = {});

  const LanguageModelInfo& info() const;

  /// Ids of a text that begins a document: BOS goes in front where the model wants it. Special tokens in the
  /// text are text. Errors: kUsage without a tokenizer.
  Result<std::vector<int32_t>> tokenize(std::string_view text) const;
  /// Ids of a conversation up to where the assistant speaks, as the checkpoint's own chat template renders it.
  /// Errors: kUsage without a tokenizer or a chat template, or what the template refuses (a role, an order of
  /// turns); kInvalidFile for a template that cannot be read.
  Result<std::vector<int32_t>> tokenize_chat(const std::vector<ConversationMessage>& messages) const;
  /// The bytes that the ids stand for; special tokens stand for nothing. Errors: kUsage without a tokenizer
  /// or for an id out of range.
  Result<std::string> detokenize(std::span<const int32_t> ids) const;

 private:
  friend class Generator;
  struct Impl;
  explicit LanguageModel(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mla
