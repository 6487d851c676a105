#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace mla::jinja {

/// Where in a template's source something stands; both count from 1, columns in characters.
struct Position {
  uint32_t line = 1, column = 1;
};

/// What is wrong with a template or with what it asks for. Thrown inside this folder only: ChatTemplate
/// catches it and returns an Error. The interpreter knows the position of a failure at run time, so only the
/// parser names one.
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message) : std::runtime_error(message) {}
};

/// The template's own refusal: what it says with raise_exception().
class Refusal : public Failure {
 public:
  using Failure::Failure;
};

/// A failure while reading the source, at a place of it.
class SyntaxFailure : public Failure {
 public:
  SyntaxFailure(Position at, const std::string& message) : Failure(message), at_(at) {}
  Position at() const { return at_; }

 private:
  Position at_;
};

}  // namespace mla::jinja
