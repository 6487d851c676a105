#pragma once

#include <fmt/format.h>

#include <cstddef>

#include "text/jinja/failure.h"

namespace mla::jinja {

/// Counts how deep the interpreter is, for as long as it lives: what it runs calls itself, on a stack that
/// ends.
class Levels {
 public:
  Levels(size_t& depth, size_t most) : depth_(depth) {
    if (depth >= most)
      throw Failure(
          fmt::format("blocks, expressions and calls lie more than {} levels deep in each other", most));
    ++depth_;
  }
  ~Levels() { --depth_; }
  Levels(const Levels&) = delete;
  Levels& operator=(const Levels&) = delete;

 private:
  size_t& depth_;
};

}  // namespace mla::jinja
