#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/head_screen.h"
#include "server/http/limits.h"
#include "server/http/message.h"

namespace mla::http {

/// Reads one request from bytes in pieces of any size, within the limits, and stops at the first byte that is
/// wrong. What it makes of the bytes does not depend on how they were cut. After HeadScreen, Boost.Beast's
/// parser does the reading.
class RequestParser {
 public:
  enum class State {
    kHead,     ///< wants more bytes of the head
    kBody,     ///< the head is complete, and more bytes of the body are wanted
    kDone,     ///< the request is complete
    kRefused,  ///< the bytes are no request that is read; where the next one would begin is unknown
  };

  explicit RequestParser(const Limits& limits);
  ~RequestParser();

  /// Takes bytes of this request and returns their number: all of them, unless the request ends before.
  /// Returns early where the head ends, so that the caller may look at it first.
  size_t feed(std::string_view bytes);

  State state() const;
  const Refusal& refusal() const;  ///< when kRefused
  const HeadScreen& head() const;
  bool has_begun() const;  ///< some byte was taken

  /// After the head: method, headers, and the raw target as `path`. After the end: the body too.
  Request& request();
  bool keep_alive() const;        ///< the client wants another request on this connection; after the head
  bool expects_continue() const;  ///< the client waits for "100 Continue"; after the head

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla::http
