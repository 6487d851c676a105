#include <fmt/format.h>

#include <array>

#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

Value range(Heap& heap, const CallArguments& arguments) {
  if (!arguments.keyword.empty()) throw Failure("range() takes no keyword arguments");
  const std::vector<Value>& given = arguments.positional;
  if (given.empty() || given.size() > 3)
    throw Failure(fmt::format("range expected 1 to 3 arguments, got {}", given.size()));
  const int64_t first = require_integer(given[0]);
  if (given.size() == 1) return heap.range(0, first, 1);
  const int64_t step = given.size() == 3 ? require_integer(given[2]) : 1;
  if (step == 0) throw Failure("range() arg 3 must not be zero");
  return heap.range(first, require_integer(given[1]), step);
}

/// What dict() and namespace() take: a mapping or pairs, and keywords.
void fill(Heap& heap, Dict& dict, const CallArguments& arguments) {
  if (arguments.positional.size() > 1)
    throw Failure(fmt::format("dict expected at most 1 argument, got {}", arguments.positional.size()));
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Kind::kDict)) {
      for (const auto& [key, value] : source.dict->entries) heap.insert(dict, key, value);
    } else {
      for (const Value& pair : elements(heap, source)) {
        const std::vector<Value> two = elements(heap, pair);
        if (two.size() != 2)
          throw Failure(fmt::format("a dict is made of pairs: got an element of length {}", two.size()));
        heap.insert(dict, two[0], two[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.keyword) heap.insert(dict, heap.string(key), value);
}

Value dict(Heap& heap, const CallArguments& arguments) {
  const Value made = heap.dict();
  fill(heap, *made.dict, arguments);
  return made;
}

Value name_space(Heap& heap, const CallArguments& arguments) {
  const Value made = heap.name_space();
  fill(heap, *made.dict, arguments);
  for (const auto& [key, value] : made.dict->entries) {
    if (key.is_string() && key.bytes().starts_with('_'))
      throw Failure(fmt::format("a namespace's attribute may not begin with _: '{}'", key.bytes()));
  }
  return made;
}

Value raise_exception(Heap& heap, const CallArguments& arguments) {
  const auto [message] = bind<1>("raise_exception", arguments, {"message"}, 1);
  throw Refusal(str(heap, *message).text->bytes);
}

}  // namespace

const Function* find_function(std::string_view name) {
  // strftime_now is left out: a prompt must not change overnight. Templates that ask for it name a day of
  // their own where it is not defined.
  static constexpr std::array<Function, 4> kFunctions = {
      {{"range", range}, {"dict", dict}, {"namespace", name_space}, {"raise_exception", raise_exception}}};
  for (const Function& f : kFunctions) {
    if (f.name == name) return &f;
  }
  return nullptr;
}

}  // namespace mla::jinja
