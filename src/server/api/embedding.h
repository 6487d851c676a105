#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_loop.h"
#include "server/api/answer.h"
#include "server/http/message.h"
#include "server/metrics.h"

namespace mla::server {

/// One request for embeddings, planned.
struct EmbeddingPlan {
  std::vector<mla::Request> inputs;  ///< with pooling, without callbacks
  std::string model;
  bool base64 = false;  ///< little-endian f32 in base64 instead of numbers
  std::chrono::steady_clock::time_point arrived;
};

/// Runs the inputs as jobs of the loop and answers when all have ended. Vectors are scaled to length 1, as OpenAI's are. The
/// loop outlives the answer.
std::shared_ptr<Answer> start_embedding(EngineLoop& loop, Metrics& metrics, EmbeddingPlan plan, std::shared_ptr<http::Reply> reply);

/// The base64 text of bytes (RFC 4648, with padding).
std::string base64(std::string_view bytes);

}  // namespace mla::server
