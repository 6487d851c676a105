#include "engine/engine_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace mla {
namespace {

/// What other threads ask of the loop's thread; carried out between steps, in the order of asking.
struct Command {
  enum class Kind { kSubmit, kCancel, kPause, kResume, kRun };
  Kind kind = Kind::kRun;
  EngineLoop::Id id = 0;
  std::unique_ptr<EngineLoop::Job> job;  ///< kSubmit
  std::function<void(Engine&)> work;     ///< kRun
};

class ThreadedLoop final : public EngineLoop {
 public:
  ThreadedLoop(std::unique_ptr<Engine> engine, EngineLoopOptions options)
      : engine_(std::move(engine)), options_(std::move(options)) {
    publish_status(true);
    thread_ = std::thread([this] { work(); });
  }
  ~ThreadedLoop() override {
    {
      const std::lock_guard lock(mutex_);
      accepts_ = false;
      stops_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  Result<Id> submit(Job job) override;
  void cancel(Id id) override { post({.kind = Command::Kind::kCancel, .id = id}); }
  void pause(Id id) override { post({.kind = Command::Kind::kPause, .id = id}); }
  void resume(Id id) override { post({.kind = Command::Kind::kResume, .id = id}); }
  void run(std::function<void(Engine&)> work) override {
    post({.kind = Command::Kind::kRun, .work = std::move(work)});
  }
  void stop_accepting() override {
    const std::lock_guard lock(mutex_);
    accepts_ = false;
  }
  EngineLoopStatus status() const override;
  int64_t max_sequence_tokens() const override { return engine_->max_sequence_tokens(); }
  const Model& model() const override { return engine_->model(); }

 private:
  using OnEnd = std::function<void(const SequenceStatus&, const std::optional<Error>&)>;
  struct Live {
    SequenceId sequence = 0;
    OnEnd on_end;
    std::optional<Error> error;  ///< what its callback threw
  };

  // On any thread.
  void post(Command command);

  // On the loop's thread.
  void work();
  bool wait_for_work(bool idle, std::vector<Command>& commands);
  void carry_out(Command& command);
  void begin(Id id, Job job);
  static void guard(Live& live, Request& request);
  bool step();
  void report_finished();
  void give_up_after(const Error& error);
  void end(Id id, const std::optional<Error>& error);
  void publish_status(bool idle);

  const std::unique_ptr<Engine> engine_;
  const EngineLoopOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  // Guarded by mutex_.
  std::vector<Command> posted_;
  int64_t n_posted_jobs_ = 0;  ///< how many of them are submissions
  EngineLoopStatus status_;
  Id next_id_ = 1;
  bool accepts_ = true;
  bool stops_ = false;

  // The loop's thread alone.
  std::map<Id, Live> live_;  ///< entries stay where they are until their end
  int64_t n_published_ = 0;
  int64_t n_reusable_pages_ = 0;  ///< as it was when it was last counted
  bool failed_before_ = false;    ///< the step before this one failed

  std::thread thread_;  ///< last: it uses all of the above
};

// -- other threads
// -------------------------------------------------------------------------------------------------------------------

Result<EngineLoop::Id> ThreadedLoop::submit(Job job) try {
  MLA_TRY(engine_->check(job.request));
  Command command{.kind = Command::Kind::kSubmit, .job = std::make_unique<Job>(std::move(job))};
  Id id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!accepts_) return Error::busy("no more requests are accepted: the server is shutting down");
    if (const int64_t n = status_.n_waiting + n_posted_jobs_ - status_.n_places; n >= std::max<int64_t>(options_.max_waiting, 1)) {
      return Error::busy(fmt::format("{} requests wait already, and no more than {} may: try again later", n,
                                     options_.max_waiting));
    }
    id = command.id = next_id_;
    posted_.push_back(std::move(command));
    ++next_id_;
    ++n_posted_jobs_;
  }
  wake_.notify_one();
  return id;
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for a request");
}

void ThreadedLoop::post(Command command) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(command));
  }
  wake_.notify_one();
}

EngineLoopStatus ThreadedLoop::status() const {
  const std::lock_guard lock(mutex_);
  EngineLoopStatus status = status_;
  status.n_waiting += n_posted_jobs_;
  return status;
}

// -- the loop's thread
// -------------------------------------------------------------------------------------------------------------------

void ThreadedLoop::work() {
  std::vector<Command> commands;
  bool idle = true;
  while (wait_for_work(idle, commands)) {
    for (Command& command : commands) carry_out(command);
    commands.clear();
    idle = !step();
    publish_status(idle);
  }
  while (!live_.empty()) end(live_.begin()->first, std::nullopt);
}

/// Takes what was posted; sleeps until there is something when the loop is idle. False when the loop is to
/// end.
bool ThreadedLoop::wait_for_work(bool idle, std::vector<Command>& commands) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return !idle || stops_ || !posted_.empty(); });
  if (stops_ && posted_.empty()) return false;
  commands.swap(posted_);
  status_.n_waiting += std::exchange(n_posted_jobs_, 0);  // until the engine has counted them
  return true;
}

void ThreadedLoop::carry_out(Command& command) {
  if (command.kind == Command::Kind::kSubmit) return begin(command.id, std::move(*command.job));
  if (command.kind == Command::Kind::kRun) return command.work(*engine_);
  const auto found = live_.find(command.id);
  if (found == live_.end()) return;
  switch (command.kind) {
    case Command::Kind::kCancel:
      return end(command.id, std::nullopt);
    case Command::Kind::kPause:
      return engine_->pause(found->second.sequence);
    default:
      return engine_->resume(found->second.sequence);
  }
}

void ThreadedLoop::begin(Id id, Job job) {
  const SequenceStatus nothing{.finished = true,
                               .reason = FinishReason::kCancelled,
                               .n_prompt = static_cast<int64_t>(job.request.prompt.size())};
  OnEnd on_end = std::move(job.on_end);
  std::optional<Error> error;
  try {
    Live& live = live_[id];
    guard(live, job.request);
    if (auto sequence = engine_->submit(std::move(job.request)); sequence.ok()) {
      live.sequence = *sequence;
      live.on_end = std::move(on_end);
      return;
    } else {
      error = std::move(sequence).error();
    }
  } catch (const std::bad_alloc&) {
    error = Error::resource("not enough memory for a request");
  }
  live_.erase(id);
  if (on_end) on_end(nothing, error);
}

/// A callback that throws, against its contract, ends its own job and no other.
void ThreadedLoop::guard(Live& live, Request& request) {
  const auto failed = [&live](const std::exception& e) {
    live.error = Error::failure(fmt::format("the receiver of the answer failed: {}", e.what()));
    return false;
  };
  if (request.on_token) {
    request.on_token = [failed, on_token = std::move(request.on_token)](const SampledToken& token) {
      try {
        return on_token(token);
      } catch (const std::exception& e) {
        return failed(e);
      }
    };
  }
  if (request.on_embedding) {
    request.on_embedding = [failed,
                            on_embedding = std::move(request.on_embedding)](std::span<const float> values) {
      try {
        on_embedding(values);
      } catch (const std::exception& e) {
        failed(e);
      }
    };
  }
}

/// One step of the engine. False when there is nothing to do until something is posted.
bool ThreadedLoop::step() {
  if (!engine_->busy()) return false;
  const auto started = std::chrono::steady_clock::now();
  std::optional<Error> error;
  StepReport report;
  try {
    if (auto made = engine_->step(); made.ok()) {
      report = *made;
    } else {
      error = std::move(made).error();
    }
  } catch (const std::exception& e) {
    error = Error::failure(fmt::format("a step failed: {}", e.what()));
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
  report_finished();
  if (error) {
    give_up_after(*error);
    return true;
  }
  failed_before_ = false;
  // What a step has changed may let another begin, whether or not a token came of it.
  const bool changed = report.n_sequences + report.n_preemptions > 0;
  if (changed && options_.on_step) options_.on_step(report, taken.count());
  return changed || report.n_loading > 0;
}

void ThreadedLoop::report_finished() {
  for (auto entry = live_.begin(); entry != live_.end();) {
    const Id id = (entry++)->first;
    const auto status = engine_->status(live_.at(id).sequence);
    if (!status.ok() || status->finished) end(id, std::nullopt);
  }
}

/// Memory may be there again in a moment, so a step that found too little is tried once more as it is. When
/// it fails again the youngest of those that run is ended with the error, and so on until the others fit or
/// none is left. Any other failure ends all that took part: there is no reason why a second attempt should
/// end otherwise.
void ThreadedLoop::give_up_after(const Error& error) {
  if (error.kind == ErrorKind::kResource && !std::exchange(failed_before_, true)) return;
  std::vector<Id> running;
  for (const auto& [id, live] : live_) {
    const auto status = engine_->status(live.sequence);
    if (status.ok() && status->running) running.push_back(id);
  }
  if (running.empty() && !live_.empty()) running.push_back(live_.begin()->first);
  if (error.kind == ErrorKind::kResource && running.size() > 1)
    running.erase(running.begin(), running.end() - 1);
  for (const Id id : running) end(id, error);
}

/// Ends a job, in whatever state it is, and says so to its owner.
void ThreadedLoop::end(Id id, const std::optional<Error>& error) {
  const auto node = live_.extract(id);
  if (node.empty()) return;
  const Live& live = node.mapped();
  engine_->cancel(live.sequence);
  const auto status = engine_->status(live.sequence);
  if (live.on_end)
    live.on_end(status.ok() ? *status : SequenceStatus{.finished = true}, live.error ? live.error : error);
}

void ThreadedLoop::publish_status(bool idle) {
  constexpr int64_t kSteps = 16;  // counting goes through the whole index: not in every step
  if (idle || n_published_++ % kSteps == 0) n_reusable_pages_ = engine_->n_reusable_pages();
  const std::lock_guard lock(mutex_);
  status_ = {.n_running = engine_->n_running(),
             .n_waiting = engine_->n_waiting(),
             .n_places = engine_->n_places(),
             .n_pages = engine_->cache().n_pages(),
             .n_used_pages = engine_->cache().n_used(),
             .n_reusable_pages = n_reusable_pages_};
}

}  // namespace

std::unique_ptr<EngineLoop> EngineLoop::start(std::unique_ptr<Engine> engine, EngineLoopOptions options) {
  return std::make_unique<ThreadedLoop>(std::move(engine), std::move(options));
}

}  // namespace mla
