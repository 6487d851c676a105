#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mla::cli {

/// What came back for one request, read from a stream of server-sent events as it arrives, however it is cut into pieces. The
/// load generator shares a machine with the server it measures, so an event of a token is scanned, not parsed: only those
/// with usage or an error are parsed as JSON.
class StreamedAnswer {
 public:
  /// Bytes of the body that arrived at `now` (seconds, any origin).
  void feed(std::string_view bytes, double now);

  bool complete() const { return complete_; }  ///< data: [DONE] was seen
  const std::string& error() const { return error_; }  ///< the message of an error event; empty without one
  /// When each event with text came.
  const std::vector<double>& text_times() const { return text_times_; }
  int64_t n_events() const { return n_events_; }
  /// Of the usage event; negative where the server did not say.
  int64_t n_prompt() const { return n_prompt_; }
  int64_t n_cached() const { return n_cached_; }
  int64_t n_output() const { return n_output_; }

 private:
  void line(std::string_view line, double now);
  void event(std::string_view data, double now);
  void parse(std::string_view data);

  std::string rest_;  ///< a line whose end has not come yet
  std::vector<double> text_times_;
  std::string error_;
  int64_t n_events_ = 0, n_prompt_ = -1, n_cached_ = -1, n_output_ = -1;
  bool complete_ = false, too_long_ = false;
};

/// The message of an error document, or the beginning of a body that is none.
std::string error_message(std::string_view body);

}  // namespace mla::cli
