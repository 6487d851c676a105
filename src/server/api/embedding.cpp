#include "server/api/embedding.h"

#include <cmath>
#include <cstring>
#include <mutex>
#include <span>
#include <utility>

#include "server/api/api_error.h"
#include "server/api/response_format.h"

namespace mla::server {
namespace {

std::string f32_bytes(const std::vector<float>& values) {
  static_assert(sizeof(float) == 4);
  std::string bytes;
  for (const float value : values) {
    uint32_t word = 0;
    std::memcpy(&word, &value, sizeof(word));
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((word >> shift) & 0xFF);
  }
  return bytes;
}

void scale_to_length_one(std::vector<float>& values) {
  double sum = 0.0;
  for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
  if (!(sum > 0.0)) return;
  const double factor = 1.0 / std::sqrt(sum);
  for (float& v : values) v = static_cast<float>(static_cast<double>(v) * factor);
}

/// Shared by the jobs of one request; the last one to end answers.
class Embedding final : public Answer, public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(EngineLoop& loop, Metrics& metrics, EmbeddingPlan plan, std::shared_ptr<http::Reply> reply)
      : loop_(loop), metrics_(metrics), plan_(std::move(plan)), reply_(std::move(reply)), vectors_(plan_.inputs.size()),
        n_open_(plan_.inputs.size()) {}

  void start() {
    reply_->on_closed([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->leave();
    });
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < plan_.inputs.size() && !over_; ++i) {
      mla::Request& request = plan_.inputs[i];
      n_tokens_ += static_cast<int64_t>(request.prompt.size());
      request.on_embedding = [self = shared_from_this(), i](std::span<const float> values) { self->vectors_[i].assign(values.begin(), values.end()); };
      const auto id = loop_.submit({std::move(request), [self = shared_from_this()](const SequenceStatus& status, const std::optional<Error>& error) {
                                      self->end(status, error);
                                    }});
      if (!id.ok()) return refuse(api_error(id.error()));
      ids_.push_back(*id);
    }
    if (closed_) cancel();  // before the ids were known
  }
  std::chrono::steady_clock::time_point arrived() const override { return plan_.arrived; }
  void abort(ApiError error) override {
    const std::lock_guard lock(mutex_);
    if (!over_) fail(error);
  }

 private:
  void end(const SequenceStatus& status, const std::optional<Error>& error) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    n_cached_ += status.n_cached;
    if (error) return fail(api_error(*error));
    if (status.reason == FinishReason::kCancelled) return fail(not_available("the request was cancelled", 1));
    if (--n_open_ == 0) answer();
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    cancel();
  }
  void cancel() {
    for (const EngineLoop::Id id : ids_) loop_.cancel(id);
  }
  void refuse(const ApiError& error) {
    over_ = true;
    cancel();
    metrics_.request_rejected(rejection_of(error));
    reply_->send(error_response(error));
  }
  void fail(const ApiError& error) {
    over_ = true;
    cancel();
    report(closed_ ? Ending::kCancelled : Ending::kError);
    reply_->send(error_response(error));
  }
  void answer() {
    over_ = true;
    Json data = Json::array();
    for (size_t i = 0; i < vectors_.size(); ++i) {
      scale_to_length_one(vectors_[i]);
      Json values = plan_.base64 ? Json(base64(f32_bytes(vectors_[i]))) : Json(vectors_[i]);
      data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(values)}});
    }
    const Json response = {{"object", "list"}, {"data", std::move(data)}, {"model", plan_.model},
                           {"usage", {{"prompt_tokens", n_tokens_}, {"total_tokens", n_tokens_}}}};
    report(Ending::kStop);
    reply_->send({.body = written(response)});
  }
  void report(Ending ending) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - plan_.arrived).count();
    metrics_.request_finished({.e2e = seconds, .n_prompt = n_tokens_, .n_cached = n_cached_, .ending = ending});
  }

  EngineLoop& loop_;
  Metrics& metrics_;
  EmbeddingPlan plan_;
  const std::shared_ptr<http::Reply> reply_;

  std::mutex mutex_;  ///< guards what follows; each vector is written by its own job before it ends
  std::vector<std::vector<float>> vectors_;
  std::vector<EngineLoop::Id> ids_;
  size_t n_open_;
  int64_t n_tokens_ = 0, n_cached_ = 0;
  bool over_ = false, closed_ = false;
};

}  // namespace

std::shared_ptr<Answer> start_embedding(EngineLoop& loop, Metrics& metrics, EmbeddingPlan plan, std::shared_ptr<http::Reply> reply) {
  auto embedding = std::make_shared<Embedding>(loop, metrics, std::move(plan), std::move(reply));
  embedding->start();
  return embedding;
}

std::string base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) text += i + k <= bytes.size() ? kDigits[(group >> (18 - 6 * k)) & 63] : '=';
  }
  return text;
}

}  // namespace mla::server
