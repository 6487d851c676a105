#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench_serve_client.h"
#include "cli/bench_serve_load.h"

namespace mla::cli {

/// How requests are sent: by clients that each wait for their answer before they ask again (closed loop), or at a rate that
/// does not care about answers (open loop).
struct LoadOptions {
  std::string target = "/v1/completions";
  int64_t concurrency = 8;      ///< clients of a closed loop
  double rate = 0.0;            ///< requests per second of an open loop; 0 = closed loop
  int64_t max_concurrency = 0;  ///< of an open loop: more requests than this wait in the client; 0 = no limit
  int64_t requests = 0;         ///< stop after this many; 0 = no limit
  double duration = 0.0;        ///< begin no request after this many seconds; 0 = no limit
  double ramp = 0.0;            ///< seconds over which clients or rate grow to their full number
  double timeout = 600.0;       ///< of one request, seconds
  uint64_t seed = 0;            ///< of the arrivals
  /// Every request is of this shape and apart from all others (warm-up).
  std::optional<RequestShape> apart;
  /// Long prompts that arrive one after the other while the closed loop's streams flow; the load ends after them.
  std::optional<RequestShape> intruder;
  int64_t intruders = 3;
};

/// One request that was sent. Times in seconds from the start of the load.
struct RequestRecord {
  double due = 0.0;  ///< when it should have been sent; latencies count from here, so that a late client hides nothing
  double end = 0.0;
  std::vector<double> text_times;
  int64_t n_prompt = -1, n_cached = -1;  ///< negative where the server did not say
  int64_t n_output = 0;
  std::string error;      ///< "connect", "timeout", "broken", "protocol", "server_error", "http_429", ...; empty = none
  bool finished = false;  ///< false for one that was under way when the load ended
  bool intruder = false;
};

struct LoadResult {
  std::vector<RequestRecord> records;
  double seconds = 0.0;      ///< from the start to the end of the last request
  double cpu_seconds = 0.0;  ///< of this process
  std::string last_error;    ///< the last failure in the server's or the system's words
  bool gave_up = false;      ///< nothing but failures: the rest was not sent
};

/// Sends the load and waits for the answers. Shows progress under `label`; Ctrl-C ends it with what there is.
LoadResult run_load(HttpClient& client, const RequestMaker& maker, const LoadOptions& options, const std::string& label);

}  // namespace mla::cli
