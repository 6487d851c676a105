#include "server/api/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

#include "sampling/sampler.h"

namespace mla::server {
namespace {

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

ApiError cancelled() {
  return not_available("the request was cancelled: the client left, or the server is stopping", 1);
}

}  // namespace

std::shared_ptr<Generation> Generation::create(EngineLoop& loop, Metrics& metrics, GenerationPlan plan,
                                               std::shared_ptr<http::Reply> reply) {
  return std::shared_ptr<Generation>(new Generation(loop, metrics, std::move(plan), std::move(reply)));
}

void Generation::start() {
  watch_client();
  if (plan_.prompt_logprobs < 0) return submit();
  score_prompts();
}

Generation::Generation(EngineLoop& loop, Metrics& metrics, GenerationPlan plan, std::shared_ptr<http::Reply> reply)
    : loop_(loop), metrics_(metrics), plan_(std::move(plan)), reply_(std::move(reply)),
      prompt_tokens_(plan_.n_prompts), prompts_(plan_.n_prompts), n_open_(plan_.choices.size()) {
  for (PlannedChoice& planned : plan_.choices) {
    live_.emplace_back(std::move(planned.options));
    prompts_[planned.prompt].n_tokens = static_cast<int64_t>(planned.request.prompt.size());
  }
}

// -- the client
// -------------------------------------------------------------------------------------------------------------------

void Generation::watch_client() {
  // The reply holds these callbacks: they must not hold the generation, which holds the reply.
  reply_->on_closed([weak = weak_from_this()] {
    if (const auto g = weak.lock()) {
      g->closed_ = true;
      g->cancel_all();
    }
  });
  if (!plan_.stream) return;
  reply_->on_drained([weak = weak_from_this()] {
    if (const auto g = weak.lock()) g->resume_all();
  });
}

void Generation::pause_if_behind() {
  if (paused_ || reply_->buffered() <= kMaxBufferedBytes) return;
  {
    const std::lock_guard lock(ids_mutex_);
    for (const EngineLoop::Id id : ids_) loop_.pause(id);
  }
  paused_ = true;
  if (reply_->buffered() == 0) resume_all();  // it was drained before it was known to be paused
}

void Generation::resume_all() {
  if (!paused_.exchange(false)) return;
  const std::lock_guard lock(ids_mutex_);
  for (const EngineLoop::Id id : ids_) loop_.resume(id);
}

void Generation::cancel_all() {
  const std::lock_guard lock(ids_mutex_);
  for (const EngineLoop::Id id : ids_) loop_.cancel(id);
}

void Generation::abort(ApiError error) {
  const std::lock_guard lock(mutex_);
  fail(std::move(error));
}

// -- beginning
// -------------------------------------------------------------------------------------------------------------------

void Generation::submit() {
  // Held to the end: tokens that arrive meanwhile wait until the stream has begun.
  const std::lock_guard lock(mutex_);
  if (over_) return;
  for (size_t i = 0; i < plan_.choices.size(); ++i) {
    mla::Request& request = plan_.choices[i].request;
    if (request.max_new_tokens == 0) continue;
    request.on_token = [self = shared_from_this(), i](const SampledToken& token) { return self->accept(i, token); };
    const auto on_end = [self = shared_from_this(), i](const SequenceStatus& status, const std::optional<Error>& error) {
      self->end(i, status, error);
    };
    if (!submit_job(std::move(request), on_end)) return;
  }
  if (closed_) cancel_all();  // before the ids were known
  if (plan_.stream) {
    reply_->begin_events();
    streaming_ = true;
  }
  emit_beginnings();
  for (size_t i = 0; i < plan_.choices.size(); ++i) {
    if (plan_.choices[i].request.max_new_tokens == 0) close_choice(i, FinishReason::kLength);
  }
}

/// Hands one job to the loop; false when it took none, and all is over.
bool Generation::submit_job(mla::Request request, std::function<void(const SequenceStatus&, const std::optional<Error>&)> on_end) {
  const auto id = loop_.submit({std::move(request), std::move(on_end)});
  if (!id.ok()) {
    fail(api_error(id.error()));
    return false;
  }
  const std::lock_guard ids_lock(ids_mutex_);
  ids_.push_back(*id);
  return true;
}

/// Has the log-probabilities of every prompt's tokens computed, once for all of its choices, before these begin. Until then
/// the loop's thread alone adds to prompt_tokens_.
void Generation::score_prompts() {
  const std::lock_guard lock(mutex_);
  n_scoring_ = plan_.n_prompts;
  size_t next = 0;  // choices of one prompt follow each other
  for (const PlannedChoice& planned : plan_.choices) {
    if (planned.prompt != next) continue;
    const size_t prompt = next++;
    mla::Request request = planned.request;
    request.max_new_tokens = 0;
    request.prompt_logprobs = plan_.prompt_logprobs;
    request.on_prompt_token = [self = shared_from_this(), prompt](const SampledToken& token) { self->add_prompt_token(prompt, token); };
    add_prompt_token(prompt, {.token = request.prompt.front()});
    prompt_tokens_[prompt].front().logprob.reset();  // nothing comes before it
    const auto on_end = [self = shared_from_this()](const SequenceStatus& status, const std::optional<Error>& error) {
      self->end_scoring(status, error);
    };
    if (!submit_job(std::move(request), on_end)) return;
  }
  if (closed_) cancel_all();
}

void Generation::emit_beginnings() {
  for (size_t i = 0; i < plan_.choices.size(); ++i) {
    if (plan_.stream) {
      for (const Json& event : plan_.format->begin(i)) reply_->event(written(event));
    }
    PlannedChoice& planned = plan_.choices[i];
    ChoiceDelta echo;
    if (!planned.echo.empty()) echo.parts.push_back({.text = std::move(planned.echo)});
    echo.tokens = prompt_tokens_[planned.prompt];
    if (!echo.empty()) emit(i, std::move(echo));
  }
}

// -- on the loop's thread
// -------------------------------------------------------------------------------------------------------------------

void Generation::add_prompt_token(size_t prompt, const SampledToken& token) {
  const Tokenizer& tokenizer = *loop_.model().tokenizer();
  TokenRecord record = token_record(tokenizer, token);
  record.silent = tokenizer.is_special(token.token);
  prompt_tokens_[prompt].push_back(std::move(record));
}

void Generation::end_scoring(const SequenceStatus& status, const std::optional<Error>& error) {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (error) return fail(api_error(*error));
    if (status.reason == FinishReason::kCancelled) return fail(cancelled());
    if (--n_scoring_ > 0) return;
  }
  submit();
}

bool Generation::accept(size_t index, const SampledToken& token) {
  const std::lock_guard lock(mutex_);
  if (closed_ || over_) return false;
  Live& live = live_[index];
  const Clock::time_point now = Clock::now();
  if (!first_token_) first_token_ = now;
  if (live.last_token) metrics_.inter_token(seconds_between(*live.last_token, now));
  last_token_ = live.last_token = now;
  ChoiceDelta delta = live.choice.accept(token);
  if (!delta.empty()) emit(index, std::move(delta));
  return !live.choice.ended();
}

void Generation::end(size_t index, const SequenceStatus& status, const std::optional<Error>& error) {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  PromptUse& prompt = prompts_[plan_.choices[index].prompt];
  prompt.n_cached = std::max(prompt.n_cached, status.n_cached);
  if (index == 0 && status.n_generated > 0) {
    queue_seconds_ = status.queue_seconds;
    prefill_seconds_ = status.ttft_seconds - status.queue_seconds;
  }
  if (error) return fail(api_error(*error));
  if (status.reason == FinishReason::kCancelled) return fail(cancelled());
  if (status.reason == FinishReason::kNoToken) {
    return fail({.status = 500, .type = "server_error",
                 .message = "no token of the model's vocabulary can continue the answer as 'response_format' asks", .code = "no_token"});
  }
  close_choice(index, status.reason);
}

// -- under the lock
// -------------------------------------------------------------------------------------------------------------------

void Generation::emit(size_t index, ChoiceDelta delta) {
  if (!plan_.stream) {
    ChoiceDelta& all = live_[index].collected;
    std::move(delta.parts.begin(), delta.parts.end(), std::back_inserter(all.parts));
    std::move(delta.tokens.begin(), delta.tokens.end(), std::back_inserter(all.tokens));
    return;
  }
  for (std::string& event : plan_.format->chunks(index, std::move(delta))) reply_->event(std::move(event));
  pause_if_behind();
}

void Generation::close_choice(size_t index, FinishReason reason) {
  Live& live = live_[index];
  if (ChoiceDelta rest = live.choice.finish(); !rest.empty()) emit(index, std::move(rest));
  live.reason = live.choice.finish_reason(reason);
  --n_open_;
  if (plan_.stream) {
    Json event = plan_.format->finish(index, live.reason);
    if (n_open_ == 0) event["timings"] = timings_json(timings());
    reply_->event(written(event));
  }
  if (n_open_ == 0) complete();
}

void Generation::complete() {
  if (plan_.stream) {
    if (plan_.include_usage) reply_->event(written(plan_.format->usage_chunk(usage())));
    reply_->event("[DONE]");
    reply_->end_events();
  } else {
    std::vector<ChoiceDelta> answers;
    std::vector<std::string> reasons;
    for (Live& live : live_) {
      answers.push_back(std::move(live.collected));
      reasons.push_back(live.reason);
    }
    Json response = plan_.format->whole(std::move(answers), reasons, usage());
    response["timings"] = timings_json(timings());
    reply_->send({.body = written(response)});
  }
  const std::string& reason = live_.front().reason;
  report(reason == "stop" ? Ending::kStop : reason == "length" ? Ending::kLength : Ending::kToolCalls);
  over_ = true;
}

void Generation::fail(ApiError error) {
  if (over_) return;
  cancel_all();  // what the jobs still say is dropped: it is over
  if (streaming_) {
    reply_->event(error_json(error));
    reply_->end_events();
  } else {
    reply_->send(error_response(error));
  }
  if (!streaming_ && error.status < 500) {
    metrics_.request_rejected(rejection_of(error));  // by the loop, before anything ran
  } else {
    report(closed_ ? Ending::kCancelled : Ending::kError);
  }
  over_ = true;
}

void Generation::report(Ending ending) {
  const Timings t = timings();
  RequestTimes times{.e2e = t.total_seconds, .n_prompt = t.n_prompt, .n_cached = t.n_cached, .n_generated = t.n_generated, .ending = ending};
  if (first_token_) {
    times.ttft = t.first_token_seconds;
    times.decode = seconds_between(*first_token_, *last_token_);
  }
  times.queue = queue_seconds_;
  times.prefill = prefill_seconds_;
  metrics_.request_finished(times);
}

Usage Generation::usage() const {
  Usage usage;
  for (const PromptUse& prompt : prompts_) {
    usage.prompt_tokens += prompt.n_tokens;
    usage.cached_tokens += prompt.n_cached;
  }
  for (const Live& live : live_) {
    usage.completion_tokens += live.choice.n_tokens();
    usage.reasoning_tokens += live.choice.n_reasoning_tokens();
  }
  return usage;
}

Timings Generation::timings() const {
  const Usage u = usage();
  return {.first_token_seconds = first_token_ ? seconds_between(plan_.arrived, *first_token_) : 0.0,
          .total_seconds = seconds_between(plan_.arrived, Clock::now()),
          .n_prompt = u.prompt_tokens, .n_cached = u.cached_tokens, .n_generated = u.completion_tokens};
}

}  // namespace mla::server
