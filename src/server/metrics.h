#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/engine_loop.h"

namespace mla {

/// Why a request was answered without running. A label: one time series each.
enum class Rejection {
  kInvalid,       ///< 400: a field is wrong, or the prompt does not fit
  kUnauthorized,  ///< 401
  kForbidden,     ///< 403: host or origin
  kTooLarge,      ///< 413, 414, 431
  kTimeout,       ///< 408: the client sent too slowly
  kQueueFull,     ///< 429 or 503: too many wait, or too many connections
  kUnavailable,   ///< 503: loading or shutting down
};

/// How a request that ran ended. A label: one time series each.
enum class Ending { kStop, kLength, kToolCalls, kCancelled, kError };

/// kNone, which an unfinished sequence has, counts as an error.
Ending ending_of(FinishReason reason);

/// What became of a request that was accepted. Times in seconds; empty for stages that it did not reach.
struct RequestTimes {
  std::optional<double> queue;    ///< from arrival until its prompt began to be computed
  std::optional<double> prefill;  ///< from there to its first token
  std::optional<double> decode;   ///< from its first token to its last
  std::optional<double> ttft;     ///< from arrival to its first token
  double e2e = 0.0;               ///< from arrival to its end
  int64_t n_prompt = 0, n_cached = 0;  ///< prompt tokens; how many of them were found in a cache
  int64_t n_generated = 0;
  Ending ending = Ending::kStop;
};

/// Totals of the disk cache since the start; all zero without one. Tokens are prompt tokens looked up and found.
struct DiskCacheCounts {
  int64_t bytes = 0;  ///< that its files hold now
  int64_t n_query_tokens = 0, n_hit_tokens = 0;
  int64_t n_corrupt = 0;  ///< entries that failed a check and were dropped
  int64_t n_errors = 0;   ///< calls that the file system refused: the entry was not stored or not read
};

/// What is looked at when somebody asks for the metrics.
struct MetricsSample {
  EngineLoopStatus loop;
  int64_t page_bytes = 0;       ///< of one page of the cache in memory
  int64_t bytes_per_token = 0;  ///< of cached rows, over all layers
  DiskCacheCounts disk;
};

struct BuildInfo {
  std::string isa, commit, version;
};

/// The server's counters and histograms in Prometheus' text format. The names are in docs/operations.md. Labels hold nothing
/// that a client sent: their values are the enumerations above. Thread-safe; an event costs less than a microsecond.
class Metrics {
 public:
  static constexpr const char* kContentType = "text/plain; version=0.0.4; charset=utf-8";

  explicit Metrics(const BuildInfo& build);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// A request for tokens came in; it is rejected or finished later.
  void request_arrived();
  void request_rejected(Rejection reason);
  void request_finished(const RequestTimes& times);
  /// Time between two tokens of one request.
  void inter_token(double seconds);
  /// For EngineLoopOptions::on_step.
  void step(const StepReport& report, double seconds);

  /// `sample` is called by text(), on its thread; without one, gauges are zero. It must not call back.
  void set_sampler(std::function<MetricsSample()> sample);
  /// Everything, in the text exposition format, version 0.0.4.
  std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
