#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "engine/engine.h"

namespace mla {

struct EngineLoopOptions {
  int64_t max_waiting = 64;  ///< requests that are accepted and have no place to begin yet, over all clients
  /// Called on the loop's thread after each step (metrics).
  std::function<void(const StepReport& report, double seconds)> on_step;
};

/// How the loop stands, for gauges and for admission.
struct EngineLoopStatus {
  int64_t n_running = 0, n_waiting = 0;
  int64_t n_places = 0;  ///< so many of those that wait, or come next, are in nobody's way (Engine::n_places())
  int64_t n_pages = 0, n_used_pages = 0;  ///< of the cache in memory; used: held by a sequence or kept for its prefix
  int64_t n_reusable_pages = 0;           ///< of the used: held for their prefix alone
};

/// A thread of its own that steps an engine while there is work and sleeps while there is none. Every member may be called
/// from any thread and does not wait for a step. Callbacks run on the loop's thread, between steps or inside one: they
/// must be quick and must not throw; they may call cancel(), pause() and resume().
class EngineLoop {
 public:
  using Id = int64_t;

  struct Job {
    Request request;  ///< on_token and on_embedding run on the loop's thread
    /// Exactly once for every accepted job, however it ends: finished, cancelled, or with the error of a step that could not
    /// be made (its status is then what had been reached).
    std::function<void(const SequenceStatus& status, const std::optional<Error>& error)> on_end;
  };

  static std::unique_ptr<EngineLoop> start(std::unique_ptr<Engine> engine, EngineLoopOptions options = {});
  /// Ends everything as cancelled, then the thread.
  virtual ~EngineLoop() = default;

  /// Errors: as Engine::submit(), checked before it returns; kBusy when max_waiting requests wait for a place or the loop is stopping.
  virtual Result<Id> submit(Job job) = 0;
  /// Ends a job within one step; nothing happens when it has ended.
  virtual void cancel(Id id) = 0;
  /// A paused sequence keeps what it has and gets no more tokens until it is resumed: its client reads too slowly.
  virtual void pause(Id id) = 0;
  virtual void resume(Id id) = 0;
  /// Runs `work` on the loop's thread between two steps, which wait for it: for what no request does (looking at the engine,
  /// dropping prefixes).
  virtual void run(std::function<void(Engine&)> work) = 0;
  /// Accepts no more jobs; those accepted go on.
  virtual void stop_accepting() = 0;
  virtual EngineLoopStatus status() const = 0;

  /// What never changes: limits that requests are checked against.
  virtual int64_t max_sequence_tokens() const = 0;
  virtual const Model& model() const = 0;
};

}  // namespace mla
