#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/engine_loop.h"
#include "grammar/token_index.h"
#include "server/api/api_error.h"
#include "server/api/chat_prompt.h"
#include "server/api/embedding.h"
#include "server/api/generation.h"
#include "server/api/request.h"

namespace mla::server {

/// The model that is served, once it is loaded.
struct ServedModel {
  ServedModel(EngineLoop& engine_loop, std::string name, bool split_reasoning);

  /// The vocabulary for answers that are constrained: made when the first of them is asked for, then kept.
  std::shared_ptr<const TokenIndex> token_index() const;

  EngineLoop& loop;
  std::string id;       ///< what requests call it
  int64_t created = 0;  ///< seconds since 1970: when it was loaded
  std::shared_ptr<const Tokenizer> tokenizer;
  ChatPrompter chat;
  int64_t n_vocab = 0;
  int64_t n_context = 0;  ///< tokens that one sequence may have

 private:
  mutable std::once_flag index_is_made_;
  mutable std::shared_ptr<const TokenIndex> token_index_;
};

/// For whom a request is answered.
struct Caller {
  std::string client;            ///< the name of its key, or empty
  std::string prefix_namespace;  ///< whose cached prefixes it may use
};

/// The cached prefixes that a client may use: its own, or everybody's when they are shared or there are no keys.
std::string prefix_namespace_of(const std::string& client, bool share_prefixes);

/// Requests as jobs: prompts rendered and tokenised, limits checked, seeds chosen. Errors: 404 for another model's name, 400
/// with code context_length_exceeded for what does not fit, 400 for what the chat template refuses and for ids that are none.
ApiResult<GenerationPlan> plan_chat(const ServedModel& model, ChatRequest request, const Caller& caller);
ApiResult<GenerationPlan> plan_completion(const ServedModel& model, CompletionRequest request, const Caller& caller);
ApiResult<EmbeddingPlan> plan_embedding(const ServedModel& model, const EmbeddingRequest& request, const Caller& caller);

/// The ids of a text to embed or complete. Errors: 400 naming `field`.
ApiResult<std::vector<int32_t>> prompt_ids(const ServedModel& model, const PromptInput& input, std::string_view field);
/// 404 unless `name` is empty or the model's.
ApiResult<bool> check_model_name(const ServedModel& model, const std::string& name);

}  // namespace mla::server
