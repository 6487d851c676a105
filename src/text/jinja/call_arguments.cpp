#include "text/jinja/call_arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/failure.h"

namespace mla::jinja {

const Value* CallArguments::find(std::string_view name) const {
  for (const auto& [key, value] : keyword) {
    if (key == name) return &value;
  }
  return nullptr;
}

void bind_arguments(std::string_view function, const CallArguments& arguments,
                    std::span<const std::string_view> names, size_t n_required,
                    std::span<std::optional<Value>> bound) {
  const size_t n = arguments.positional.size();
  if (n > names.size())
    throw Failure(fmt::format("{}() takes at most {} arguments ({} given)", function, names.size(), n));
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (const auto& [key, value] : arguments.keyword) {
    const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), key) - names.begin());
    if (at == names.size())
      throw Failure(fmt::format("{}() got an unexpected keyword argument '{}'", function, key));
    if (bound[at]) throw Failure(fmt::format("{}() got multiple values for argument '{}'", function, key));
    bound[at] = value;
  }
  for (size_t i = 0; i < n_required; ++i) {
    if (!bound[i]) throw Failure(fmt::format("{}() missing required argument '{}'", function, names[i]));
  }
}

int64_t require_integer(const Value& value) {
  require_defined(value);
  if (!value.is_integral())
    throw Failure(fmt::format("'{}' object cannot be interpreted as an integer", type_name(value)));
  return value.as_integer();
}

const Text& require_string(const Value& value) {
  require_defined(value);
  if (!value.is_string()) throw Failure(fmt::format("expected str, got {}", type_name(value)));
  return *value.text;
}

}  // namespace mla::jinja
