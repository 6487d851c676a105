#include "cli/bench_serve_run.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>

#include "cli/bench_serve_answer.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

constexpr double kTick = 0.05;                    ///< seconds between looks at progress and Ctrl-C
constexpr int64_t kCalmTokens = 16;               ///< of every stream, before the next intruder
constexpr uint64_t kIntruders = uint64_t{1} << 32;  ///< where the indices of their prompts begin
constexpr size_t kMaxErrorBody = 4096;
constexpr double kLeastPause = 0.05, kMostPause = 1.0;  ///< seconds that a client waits after a failure

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

const char* name_of(CallFault fault) {
  switch (fault) {
    case CallFault::kConnect: return "connect";
    case CallFault::kTimeout: return "timeout";
    case CallFault::kBroken: return "broken";
    case CallFault::kProtocol: break;
  }
  return "protocol";
}

/// A request under way.
struct Flight {
  RequestRecord record;
  HttpClient::Id id = 0;
  int status = 0;
  double retry_after = 0.0;
  StreamedAnswer answer;
  std::string error_body;
};

class LoadRun {
 public:
  LoadRun(HttpClient& client, const RequestMaker& maker, const LoadOptions& options, const std::string& label)
      : client_(client), maker_(maker), options_(options), arrivals_(std::max(options.rate, 1e-9), options.ramp, options.seed), progress_(label, unit()) {}

  LoadResult run() {
    const double cpu = cpu_seconds();
    begin_ = Clock::now();
    if (options_.rate > 0.0) {
      schedule_arrival();
    } else {
      n_clients_ = options_.concurrency;
      for (int64_t i = 0; i < options_.concurrency; ++i) {
        const double share = static_cast<double>(i) / static_cast<double>(options_.concurrency);
        client_.after(options_.ramp * share, [this] { next_of_client(); });
      }
    }
    tick();
    client_.run();
    result_.seconds = last_end_ > 0.0 ? last_end_ : now();
    result_.cpu_seconds = cpu_seconds() - cpu;
    return std::move(result_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  double now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  std::string unit() const { return options_.requests > 0 ? "requests" : options_.intruder ? "long prompts" : "s"; }

  bool may_begin(double when) const {
    if (stopping_ || (options_.requests > 0 && n_begun_ >= options_.requests)) return false;
    return options_.duration <= 0.0 || when < options_.duration;
  }

  // Closed loop: every client asks, waits for the answer, and asks again.

  void next_of_client() {
    if (!may_begin(now())) {
      --n_clients_;
      return stop_if_done();
    }
    send(next_request(), now(), false, [this](double pause) {
      if (pause > 0.0) return client_.after(pause, [this] { next_of_client(); });
      next_of_client();
    });
  }

  // Open loop: requests arrive when they arrive; those above the limit wait here, and their latency includes the wait.

  void schedule_arrival() {
    const double when = arrivals_.next();
    arrivals_over_ = !may_begin(when);
    if (arrivals_over_) return stop_if_done();
    ++n_begun_;
    client_.after(when - now(), [this, when] {
      due_.push_back(when);
      send_due();
      schedule_arrival();
    });
  }

  void send_due() {
    while (!due_.empty() && !stopping_ && (options_.max_concurrency <= 0 || static_cast<int64_t>(flights_.size()) < options_.max_concurrency)) {
      const double due = due_.front();
      due_.pop_front();
      send(make_request(), due, false, [this](double) { send_due(); });
    }
  }

  // Intruders: long prompts among streams that flow.

  void maybe_intrude() {
    if (!options_.intruder || intruding_ || n_intruders_ >= options_.intruders || static_cast<int64_t>(flights_.size()) < options_.concurrency) return;
    const bool flowing = std::all_of(flights_.begin(), flights_.end(), [](const auto& flight) { return !flight->answer.text_times().empty(); });
    if (!flowing || n_texts() - calm_since_ < kCalmTokens * options_.concurrency) return;
    intruding_ = true;
    const uint64_t index = kIntruders + static_cast<uint64_t>(n_intruders_++);
    send(maker_.make_apart(index, *options_.intruder), now(), true, [this](double) {
      intruding_ = false;
      calm_since_ = n_texts();
      if (n_intruders_ >= options_.intruders) stop();
    });
  }

  /// Pieces of text that came so far.
  int64_t n_texts() const {
    int64_t n = n_texts_of_ended_;
    for (const auto& flight : flights_) n += static_cast<int64_t>(flight->answer.text_times().size());
    return n;
  }

  // One request.

  PlannedRequest next_request() {
    ++n_begun_;
    return make_request();
  }
  PlannedRequest make_request() {
    const uint64_t index = n_sent_++;
    return options_.apart ? maker_.make_apart(index, *options_.apart) : maker_.make(index);
  }

  /// `done` is told how long its client should wait before it asks again.
  void send(PlannedRequest request, double due, bool intruder, std::function<void(double pause)> done) {
    const auto flight = std::make_shared<Flight>();
    flight->record.due = due;
    flight->record.intruder = intruder;
    flights_.push_back(flight);
    flight->id = client_.start({.target = options_.target, .body = std::move(request.body), .timeout_seconds = options_.timeout,
                                .on_head = [flight](int status, double retry_after) {
                                  flight->status = status;
                                  flight->retry_after = retry_after;
                                },
                                .on_body = [this, flight](std::string_view bytes) { receive(*flight, bytes); },
                                .on_end = [this, flight, done = std::move(done)](const std::optional<CallError>& error) {
                                  std::erase(flights_, flight);
                                  const double pause = land(*flight, error);
                                  if (!stopping_) done(pause);
                                  stop_if_done();
                                }});
  }

  void receive(Flight& flight, std::string_view bytes) {
    if (flight.status == 200) return flight.answer.feed(bytes, now());
    if (flight.error_body.size() < kMaxErrorBody) flight.error_body += bytes.substr(0, kMaxErrorBody);
  }

  /// Why a request failed, and the words for it; the kind is empty when it did not.
  static std::pair<std::string, std::string> failure_of(const Flight& flight, const std::optional<CallError>& error) {
    const StreamedAnswer& answer = flight.answer;
    if (error) return {name_of(error->fault), error->message};
    if (flight.status != 200) return {fmt::format("http_{}", flight.status), error_message(flight.error_body)};
    if (!answer.error().empty()) return {"server_error", answer.error()};
    if (answer.complete()) return {};
    if (answer.n_events() == 0) return {"protocol", "the answer is no stream of server-sent events"};
    return {"broken", "the stream ended without data: [DONE]"};
  }

  /// Writes down what became of a request. Returns how long to wait before the next.
  double land(Flight& flight, const std::optional<CallError>& error) {
    RequestRecord record = record_of(flight);
    record.finished = true;
    record.end = now();
    last_end_ = record.end;
    const auto [kind, message] = failure_of(flight, error);
    record.error = kind;
    n_texts_of_ended_ += static_cast<int64_t>(record.text_times.size());
    result_.records.push_back(std::move(record));
    ++n_ended_;
    if (kind.empty()) {
      n_failures_in_a_row_ = 0;
      return 0.0;
    }
    result_.last_error = fmt::format("{}: {}", kind, message);
    const bool turned_away = flight.status == 429 || flight.status == 503;
    if (!turned_away && ++n_failures_in_a_row_ >= std::max<int64_t>(20, 2 * options_.concurrency)) {
      result_.gave_up = true;
      stop();
    }
    return std::clamp(flight.retry_after, kLeastPause, kMostPause);
  }

  static RequestRecord record_of(const Flight& flight) {
    RequestRecord record = flight.record;
    const StreamedAnswer& answer = flight.answer;
    record.text_times = answer.text_times();
    record.n_prompt = answer.n_prompt();
    record.n_cached = answer.n_cached();
    record.n_output = answer.n_output() >= 0 ? answer.n_output() : static_cast<int64_t>(record.text_times.size());
    return record;
  }

  // The end.

  void tick() {
    if (interrupted()) return stop();
    if (options_.requests > 0) progress_.update(static_cast<double>(n_ended_), static_cast<double>(options_.requests));
    else if (options_.intruder) progress_.update(static_cast<double>(n_intruders_), static_cast<double>(options_.intruders));
    else progress_.update(now(), options_.duration);
    maybe_intrude();
    if (!stopping_) client_.after(kTick, [this] { tick(); });
  }

  void stop_if_done() {
    const bool none_to_come = options_.rate > 0.0 ? arrivals_over_ && due_.empty() : n_clients_ == 0;
    if (none_to_come && flights_.empty()) stop();
  }

  /// Keeps what those under way have so far, and ends them.
  void stop() {
    if (std::exchange(stopping_, true)) return;
    for (const auto& flight : flights_) {
      result_.records.push_back(record_of(*flight));
      last_end_ = now();
    }
    flights_.clear();
    client_.cancel_all();
  }

  HttpClient& client_;
  const RequestMaker& maker_;
  const LoadOptions& options_;
  Arrivals arrivals_;
  Progress progress_;
  LoadResult result_;
  Clock::time_point begin_;
  std::vector<std::shared_ptr<Flight>> flights_;
  std::deque<double> due_;  ///< arrivals that wait for room
  int64_t n_clients_ = 0, n_begun_ = 0, n_ended_ = 0, n_intruders_ = 0;
  uint64_t n_sent_ = 0;
  int64_t n_failures_in_a_row_ = 0, n_texts_of_ended_ = 0, calm_since_ = 0;
  double last_end_ = 0.0;
  bool arrivals_over_ = false, intruding_ = false, stopping_ = false;
};

}  // namespace

LoadResult run_load(HttpClient& client, const RequestMaker& maker, const LoadOptions& options, const std::string& label) {
  return LoadRun(client, maker, options, label).run();
}

}  // namespace mla::cli
