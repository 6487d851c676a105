#include "server/api/api.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <exception>
#include <new>
#include <utility>

#include "server/api/embedding.h"

namespace mla::server {
namespace {

constexpr size_t kLargeBody = size_t{64} << 10;
constexpr size_t kMaxNotedFields = 100;  ///< of all requests together: clients choose the names

void send_json(http::Reply& reply, const Json& json, int status = 200) { reply.send({.status = status, .body = written(json)}); }

}  // namespace

Api::Api(ApiOptions options, Metrics& metrics, Log& log) : options_(std::move(options)), metrics_(metrics), log_(log) {
  if (options_.request_timeout.count() > 0) watch_deadlines();
}

void Api::join() {
  for (auto* pool : {&pool_, &pool_of_large_}) pool->stop();
  for (auto* pool : {&pool_, &pool_of_large_}) pool->join();
}

// -- state
// -------------------------------------------------------------------------------------------------------------------

void Api::loading(double done, double total) {
  const std::lock_guard lock(mutex_);
  loaded_ = done;
  to_load_ = total;
}

void Api::ready(EngineLoop& loop) {
  auto model = std::make_shared<const ServedModel>(loop, options_.model_name, options_.split_reasoning);
  if (!model->chat.problem().empty()) log_.info("chat_unavailable", {{"reason", model->chat.problem()}});
  const std::lock_guard lock(mutex_);
  model_ = std::move(model);
}

void Api::stop_accepting() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
}

void Api::watch_deadlines() {
  deadline_timer_.expires_after(std::chrono::seconds(1));
  deadline_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::vector<std::shared_ptr<Answer>> late;
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(watched_, [](const auto& weak) { return weak.expired(); });
      for (const auto& weak : watched_) {
        auto answer = weak.lock();
        if (answer != nullptr && Clock::now() - answer->arrived() > options_.request_timeout) late.push_back(std::move(answer));
      }
    }
    const ApiError timeout{.status = 504, .type = "timeout_error",
                           .message = fmt::format("the answer took longer than {} s", options_.request_timeout.count()),
                           .code = "request_timeout"};
    for (const auto& answer : late) answer->abort(timeout);
    watch_deadlines();
  });
}

Json Api::progress_json() const {
  const std::lock_guard lock(mutex_);
  const char* const status = stopping_ ? "stopping" : model_ != nullptr ? "ok" : "loading";
  Json json = {{"status", status}};
  if (model_ == nullptr) {
    json["progress"] = {{"loaded_bytes", loaded_}, {"total_bytes", to_load_}, {"fraction", to_load_ > 0 ? loaded_ / to_load_ : 0.0}};
  }
  return json;
}

// -- what all requests for the model share
// -------------------------------------------------------------------------------------------------------------------

void Api::reject(const ApiError& error, const ReplyPtr& reply) {
  metrics_.request_rejected(rejection_of(error));
  reply->send(error_response(error));
}

void Api::with_model(Request request, ReplyPtr reply, Work work) {
  std::shared_ptr<const ServedModel> model;
  bool stopping = false;
  {
    const std::lock_guard lock(mutex_);
    model = model_;
    stopping = stopping_;
  }
  if (stopping) return reject(not_available("the server is stopping", 1), reply);
  if (model == nullptr) return reject(not_available("the model is being loaded; GET /readyz tells how far it is", 2), reply);
  if (model->tokenizer == nullptr) return reject(ApiError::bad("", "this model has no tokenizer: it cannot be served"), reply);
  auto& pool = request.body.size() > kLargeBody ? pool_of_large_ : pool_;
  auto task = [this, model = std::move(model), request = std::move(request), reply = std::move(reply), work = std::move(work)] {
    ApiError failure{.status = 500, .type = "server_error", .code = "internal_error"};
    try {
      return work(model, request, reply);
    } catch (const std::bad_alloc&) {
      failure = not_available("not enough memory for this request", 5);
    } catch (const std::exception& e) {
      failure.message = "a fault of the server's";
      log_.error("request_failed", {{"request_id", request.request_id}, {"what", e.what()}});
    }
    reply->send(error_response(failure));
  };
  boost::asio::post(pool, std::move(task));
}

/// Tells the log what a client asked for that means nothing here: once for each name, and only so many.
void Api::note(const Request& request, const GenerationParams& params) {
  if (options_.log_prompts) log_.info("prompt", {{"request_id", request.request_id}, {"body", request.body}});
  if (!log_.writes(LogLevel::kDebug)) return;
  const std::lock_guard lock(mutex_);
  for (const std::string& name : params.unknown_fields) {
    if (noted_fields_.size() >= kMaxNotedFields || !noted_fields_.insert(name).second) continue;
    log_.debug("unknown_field", {{"request_id", request.request_id}, {"field", name}});
  }
}

void Api::run(const ServedModel& model, ApiResult<GenerationPlan> plan, Clock::time_point arrived, const ReplyPtr& reply) {
  if (!plan.ok()) return reject(plan.error(), reply);
  plan->arrived = arrived;
  const auto generation = Generation::create(model.loop, metrics_, std::move(*plan), reply);
  generation->start();
  watch(generation);
}

void Api::watch(const std::shared_ptr<Answer>& answer) {
  if (options_.request_timeout.count() == 0) return;
  const std::lock_guard lock(mutex_);
  watched_.push_back(answer);
}

// -- the OpenAI API
// -------------------------------------------------------------------------------------------------------------------

void Api::chat_completions(Request request, ReplyPtr reply) {
  metrics_.request_arrived();
  with_model(std::move(request), std::move(reply), [this, arrived = Clock::now()](const auto& model, const Request& r, const ReplyPtr& to) {
    auto parsed = parse_chat_request(r.body);
    if (!parsed.ok()) return reject(parsed.error(), to);
    note(r, parsed->common);
    const Caller caller{r.client, prefix_namespace_of(r.client, options_.share_prefixes)};
    run(*model, plan_chat(*model, std::move(*parsed), caller), arrived, to);
  });
}

void Api::completions(Request request, ReplyPtr reply) {
  metrics_.request_arrived();
  with_model(std::move(request), std::move(reply), [this, arrived = Clock::now()](const auto& model, const Request& r, const ReplyPtr& to) {
    auto parsed = parse_completion_request(r.body);
    if (!parsed.ok()) return reject(parsed.error(), to);
    note(r, parsed->common);
    const Caller caller{r.client, prefix_namespace_of(r.client, options_.share_prefixes)};
    run(*model, plan_completion(*model, std::move(*parsed), caller), arrived, to);
  });
}

void Api::embeddings(Request request, ReplyPtr reply) {
  metrics_.request_arrived();
  with_model(std::move(request), std::move(reply), [this, arrived = Clock::now()](const auto& model, const Request& r, const ReplyPtr& to) {
    auto parsed = parse_embedding_request(r.body);
    if (!parsed.ok()) return reject(parsed.error(), to);
    const Caller caller{r.client, prefix_namespace_of(r.client, options_.share_prefixes)};
    auto plan = plan_embedding(*model, *parsed, caller);
    if (!plan.ok()) return reject(plan.error(), to);
    plan->arrived = arrived;
    watch(start_embedding(model->loop, metrics_, std::move(*plan), to));
  });
}

Json Api::model_json(const ServedModel& model) const {
  return {{"id", model.id}, {"object", "model"}, {"created", model.created}, {"owned_by", "mla"}, {"max_model_len", model.n_context}};
}

void Api::list_models(Request, ReplyPtr reply) {
  const std::lock_guard lock(mutex_);
  Json list = Json::array();
  if (model_ != nullptr) list.push_back(model_json(*model_));
  send_json(*reply, {{"object", "list"}, {"data", std::move(list)}});
}

void Api::show_model(Request request, ReplyPtr reply) {
  std::shared_ptr<const ServedModel> model;
  {
    const std::lock_guard lock(mutex_);
    model = model_;
  }
  if (model == nullptr) return reply->send(error_response(not_available("the model is being loaded; GET /readyz tells how far it is", 2)));
  if (const auto known = check_model_name(*model, request.path_id); !known.ok()) return reply->send(error_response(known.error()));
  send_json(*reply, model_json(*model));
}

// -- tokens
// -------------------------------------------------------------------------------------------------------------------

void Api::tokenize(Request request, ReplyPtr reply) {
  with_model(std::move(request), std::move(reply), [](const auto& model, const Request& r, const ReplyPtr& to) {
    const auto parsed = parse_tokenize_request(r.body);
    if (!parsed.ok()) return to->send(error_response(parsed.error()));
    const Tokenizer& tokenizer = *model->tokenizer;
    const auto ids = tokenizer.encode(parsed->text, {.add_bos = parsed->add_special && tokenizer.add_bos(), .parse_special = parsed->parse_special});
    // Written at once: a document of millions of tokens would take many times the memory of its text.
    std::string tokens;
    for (const int32_t id : ids) {
      if (!tokens.empty()) tokens += ',';
      if (!parsed->with_pieces) {
        tokens += std::to_string(id);
        continue;
      }
      auto piece = tokenizer.token_bytes(id, true);
      tokens += fmt::format(R"({{"id":{},"piece":{}}})", id, written(piece.ok() ? std::move(*piece) : std::string()));
    }
    to->send({.body = fmt::format(R"({{"tokens":[{}],"count":{},"max_model_len":{}}})", tokens, ids.size(), model->n_context)});
  });
}

void Api::detokenize(Request request, ReplyPtr reply) {
  with_model(std::move(request), std::move(reply), [](const auto& model, const Request& r, const ReplyPtr& to) {
    const auto parsed = parse_detokenize_request(r.body);
    if (!parsed.ok()) return to->send(error_response(parsed.error()));
    const auto text = model->tokenizer->decode(parsed->ids);
    if (!text.ok()) return to->send(error_response(ApiError::bad("tokens", "'tokens': " + text.error().message)));
    send_json(*to, {{"content", *text}, {"prompt", *text}});
  });
}

// -- the server's own state
// -------------------------------------------------------------------------------------------------------------------

void Api::live(Request, ReplyPtr reply) { send_json(*reply, {{"status", "ok"}}); }

void Api::health(Request request, ReplyPtr reply) { ready_state(std::move(request), std::move(reply)); }

void Api::ready_state(Request, ReplyPtr reply) {
  const Json state = progress_json();
  http::Response response{.status = state["status"] == "ok" ? 200 : 503, .body = written(state)};
  if (response.status == 503) response.headers.emplace_back("Retry-After", "2");
  reply->send(std::move(response));
}

void Api::metrics(Request, ReplyPtr reply) { reply->send({.body = metrics_.text(), .content_type = Metrics::kContentType}); }

void Api::version(Request, ReplyPtr reply) {
  send_json(*reply, {{"name", "mla"}, {"version", options_.version}, {"commit", options_.commit}});
}

}  // namespace mla::server
