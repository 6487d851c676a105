#pragma once

#include <string_view>

#include "text/jinja/call_arguments.h"
#include "text/jinja/heap.h"

namespace mla::jinja {

/// What stands behind | in a template.
using Filter = Value (*)(Heap& heap, const Value& input, const CallArguments& arguments);
/// What stands behind `is`.
using Test = bool (*)(Heap& heap, const Value& input, const CallArguments& arguments);

/// Null for a name that is none, or none that chat templates have a use for (random, urlize, xmlattr and
/// their like).
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);
/// The same by name at run time (map, select); throws for an unknown one.
Value apply_filter(Heap& heap, std::string_view name, const Value& input, const CallArguments& arguments);
bool apply_test(Heap& heap, std::string_view name, const Value& input, const CallArguments& arguments);

/// The filters of one kind, for find_filter(): each file holds a table.
Filter find_text_filter(std::string_view name);
Filter find_sequence_filter(std::string_view name);

}  // namespace mla::jinja
