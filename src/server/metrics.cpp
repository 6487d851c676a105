#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <utility>

namespace mla {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

constexpr std::array kRejections = {
    std::pair{Rejection::kInvalid, "invalid"},       std::pair{Rejection::kUnauthorized, "unauthorized"},
    std::pair{Rejection::kForbidden, "forbidden"},   std::pair{Rejection::kTooLarge, "too_large"},
    std::pair{Rejection::kTimeout, "timeout"},       std::pair{Rejection::kQueueFull, "queue_full"},
    std::pair{Rejection::kUnavailable, "unavailable"}};
constexpr std::array kEndings = {std::pair{Ending::kStop, "stop"}, std::pair{Ending::kLength, "length"},
                                 std::pair{Ending::kToolCalls, "tool_calls"}, std::pair{Ending::kCancelled, "cancelled"},
                                 std::pair{Ending::kError, "error"}};

/// From what a short prompt on a small model takes to a long one on a large model, on processors.
const Buckets kPromptSeconds = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120};
/// Dense where people notice: between a smooth stream and one that stalls.
const Buckets kTokenSeconds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10};
const Buckets kRequestSeconds = {0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800};
const Buckets kLengths = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144};
const Buckets kTokens = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

Counter& counter(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

Gauge& gauge(Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

Histogram& histogram(Registry& registry, const char* name, const char* help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

/// One counter per value of a label, all of them there from the start, so that rates have a zero to begin from.
template <class Enum, size_t n>
std::array<Counter*, n> counters(Registry& registry, const char* name, const char* help, const char* label,
                                 const std::array<std::pair<Enum, const char*>, n>& values) {
  auto& family = prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  std::array<Counter*, n> all{};
  for (const auto& [value, text] : values) all.at(static_cast<size_t>(value)) = &family.Add({{label, text}});
  return all;
}

/// Times that a clock going backwards or a stage that was left out made useless are not counted.
void observe(Histogram& histogram, std::optional<double> seconds) {
  if (seconds && std::isfinite(*seconds)) histogram.Observe(std::max(0.0, *seconds));
}

/// A counter whose total somebody else keeps.
void raise_to(Counter& counter, int64_t total) {
  const double more = static_cast<double>(total) - counter.Value();
  if (more > 0.0) counter.Increment(more);
}

void add(Counter& counter, int64_t n) {
  if (n > 0) counter.Increment(static_cast<double>(n));
}

}  // namespace

Ending ending_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return Ending::kStop;
    case FinishReason::kLength: return Ending::kLength;
    case FinishReason::kCancelled: return Ending::kCancelled;
    case FinishReason::kNoToken:
    case FinishReason::kNone: break;
  }
  return Ending::kError;
}

struct Metrics::Impl {
  Registry registry;

  Counter& arrived = counter(registry, "mla_requests_arrived_total", "Requests for tokens, rejected ones included.");
  std::array<Counter*, kEndings.size()> finished =
      counters(registry, "mla_requests_total", "Requests that ended, by how.", "finish_reason", kEndings);
  std::array<Counter*, kRejections.size()> rejected =
      counters(registry, "mla_request_rejected_total", "Requests that were answered without running, by why.", "reason", kRejections);
  Counter& prompt_tokens = counter(registry, "mla_prompt_tokens_total", "Prompt tokens computed; those found in a cache are not.");
  Counter& generation_tokens = counter(registry, "mla_generation_tokens_total", "Tokens generated.");
  Counter& preemptions = counter(registry, "mla_preemptions_total", "Times that a running request gave its cache pages back.");
  Counter& prefix_queries = counter(registry, "mla_prefix_cache_queries_total", "Prompt tokens of requests that ended: looked up in the prefix cache.");
  Counter& prefix_hits = counter(registry, "mla_prefix_cache_hits_total", "Prompt tokens found in the prefix cache, in memory or on disk.");
  Counter& disk_queries = counter(registry, "mla_disk_cache_queries_total", "Prompt tokens looked up in the disk cache.");
  Counter& disk_hits = counter(registry, "mla_disk_cache_hits_total", "Prompt tokens found in the disk cache.");
  Counter& disk_corrupt = counter(registry, "mla_disk_cache_corrupt_total", "Entries of the disk cache that failed a check and were dropped.");
  Counter& disk_errors = counter(registry, "mla_disk_cache_errors_total", "Calls of the disk cache that the file system refused.");

  Histogram& ttft = histogram(registry, "mla_time_to_first_token_seconds", "From arrival to the first token.", kPromptSeconds);
  Histogram& itl = histogram(registry, "mla_inter_token_latency_seconds", "Between two tokens of one request.", kTokenSeconds);
  Histogram& queue = histogram(registry, "mla_request_queue_time_seconds", "From arrival until the prompt began to be computed.", kPromptSeconds);
  Histogram& prefill = histogram(registry, "mla_request_prefill_time_seconds", "From the begin of the prompt to the first token.", kPromptSeconds);
  Histogram& decode = histogram(registry, "mla_request_decode_time_seconds", "From the first token to the last.", kRequestSeconds);
  Histogram& e2e = histogram(registry, "mla_e2e_request_latency_seconds", "From arrival to the end.", kRequestSeconds);
  Histogram& prompt_lengths = histogram(registry, "mla_request_prompt_tokens", "Prompt tokens of a request.", kLengths);
  Histogram& answer_lengths = histogram(registry, "mla_request_generation_tokens", "Tokens generated for a request.", kLengths);
  Histogram& iteration_tokens = histogram(registry, "mla_iteration_tokens", "Tokens of one step: prompt tokens computed and tokens generated.", kTokens);
  Histogram& iteration_seconds = histogram(registry, "mla_iteration_seconds", "Time of one step.", kTokenSeconds);

  Gauge& running = gauge(registry, "mla_requests_running", "Requests that are being computed.");
  Gauge& waiting = gauge(registry, "mla_requests_waiting", "Requests that wait for room.");
  Gauge& usage = gauge(registry, "mla_kv_cache_usage_ratio", "Share of the cache in memory that running requests hold, 0 to 1.");
  Gauge* ram_bytes = nullptr;
  Gauge* disk_bytes = nullptr;
  Gauge& capacity = gauge(registry, "mla_kv_cache_capacity_bytes", "Size of the cache in memory.");
  Gauge& bytes_per_token = gauge(registry, "mla_kv_bytes_per_token", "Cached bytes of one token, over all layers.");

  std::mutex scrape;  ///< guards `sampler`, and keeps one scrape's gauges together
  std::function<MetricsSample()> sampler;

  explicit Impl(const BuildInfo& build) {
    auto& bytes = prometheus::BuildGauge().Name("mla_kv_cache_bytes").Help("Cached rows, those kept for their prefix included, by where they are.").Register(registry);
    ram_bytes = &bytes.Add({{"tier", "ram"}});
    disk_bytes = &bytes.Add({{"tier", "disk"}});
    prometheus::BuildGauge().Name("mla_build_info").Help("Always 1; the labels say what runs.").Register(registry)
        .Add({{"isa", build.isa}, {"commit", build.commit}, {"version", build.version}}, 1.0);
  }

  void show(const MetricsSample& s) {
    const auto bytes = [&](int64_t pages) { return static_cast<double>(pages) * static_cast<double>(s.page_bytes); };
    const int64_t held = s.loop.n_used_pages - s.loop.n_reusable_pages;
    running.Set(static_cast<double>(s.loop.n_running));
    waiting.Set(static_cast<double>(s.loop.n_waiting));
    usage.Set(s.loop.n_pages > 0 ? static_cast<double>(held) / static_cast<double>(s.loop.n_pages) : 0.0);
    ram_bytes->Set(bytes(s.loop.n_used_pages));
    disk_bytes->Set(static_cast<double>(s.disk.bytes));
    capacity.Set(bytes(s.loop.n_pages));
    bytes_per_token.Set(static_cast<double>(s.bytes_per_token));
    raise_to(disk_queries, s.disk.n_query_tokens);
    raise_to(disk_hits, s.disk.n_hit_tokens);
    raise_to(disk_corrupt, s.disk.n_corrupt);
    raise_to(disk_errors, s.disk.n_errors);
  }
};

Metrics::Metrics(const BuildInfo& build) : impl_(std::make_unique<Impl>(build)) {}
Metrics::~Metrics() = default;

void Metrics::request_arrived() { impl_->arrived.Increment(); }

void Metrics::request_rejected(Rejection reason) { impl_->rejected.at(static_cast<size_t>(reason))->Increment(); }

void Metrics::request_finished(const RequestTimes& times) {
  impl_->finished.at(static_cast<size_t>(times.ending))->Increment();
  add(impl_->prefix_queries, times.n_prompt);
  add(impl_->prefix_hits, times.n_cached);
  impl_->prompt_lengths.Observe(static_cast<double>(std::max<int64_t>(0, times.n_prompt)));
  impl_->answer_lengths.Observe(static_cast<double>(std::max<int64_t>(0, times.n_generated)));
  observe(impl_->queue, times.queue);
  observe(impl_->prefill, times.prefill);
  observe(impl_->decode, times.decode);
  observe(impl_->ttft, times.ttft);
  observe(impl_->e2e, times.e2e);
}

void Metrics::inter_token(double seconds) { observe(impl_->itl, seconds); }

void Metrics::step(const StepReport& report, double seconds) {
  add(impl_->prompt_tokens, report.n_prompt_tokens);
  add(impl_->generation_tokens, report.n_new_tokens);
  add(impl_->preemptions, report.n_preemptions);
  const int64_t tokens = report.n_prompt_tokens + report.n_new_tokens;
  if (tokens == 0) return;
  impl_->iteration_tokens.Observe(static_cast<double>(tokens));
  observe(impl_->iteration_seconds, seconds);
}

void Metrics::set_sampler(std::function<MetricsSample()> sample) {
  const std::lock_guard lock(impl_->scrape);
  impl_->sampler = std::move(sample);
}

std::string Metrics::text() const {
  const std::lock_guard lock(impl_->scrape);
  impl_->show(impl_->sampler ? impl_->sampler() : MetricsSample{});
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace mla
