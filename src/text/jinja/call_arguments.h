#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace mla::jinja {

/// What a call hands over.
struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> keyword;

  const Value* find(std::string_view name) const;
};

/// Throws for an argument too many, one that is given twice or has no such name, and for a missing one of the
/// first `n_required`.
void bind_arguments(std::string_view function, const CallArguments& arguments,
                    std::span<const std::string_view> names, size_t n_required,
                    std::span<std::optional<Value>> bound);

/// The arguments in the order of `names`; those that were left out are empty.
template <size_t N>
std::array<std::optional<Value>, N> bind(std::string_view function, const CallArguments& arguments,
                                         const std::array<std::string_view, N>& names,
                                         size_t n_required = 0) {
  std::array<std::optional<Value>, N> bound;
  bind_arguments(function, arguments, names, n_required, bound);
  return bound;
}

/// Throws unless the value is an integer (a boolean is one).
int64_t require_integer(const Value& value);
/// Throws unless the value is a string.
const Text& require_string(const Value& value);

}  // namespace mla::jinja
