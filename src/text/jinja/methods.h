#pragma once

#include <string_view>

#include "text/jinja/call_arguments.h"
#include "text/jinja/heap.h"

namespace mla::jinja {

/// Whether Python's type has this method and templates may call it here.
bool has_method(const Value& object, std::string_view name);
/// Whether it is a method that changes its object: jinja2's sandbox forbids those.
bool is_mutating_method(const Value& object, std::string_view name);
Value call_method(Heap& heap, const Method& method, const CallArguments& arguments);

}  // namespace mla::jinja
