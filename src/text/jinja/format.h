#pragma once

#include <string>
#include <string_view>

#include "text/jinja/call_arguments.h"
#include "text/jinja/heap.h"
#include "text/jinja/value.h"

// Values as text, as Python writes them.

namespace mla::jinja {

/// str(value).
void append_str(TextBuilder& out, const Value& value);
/// repr(value): strings quoted.
void append_repr(TextBuilder& out, const Value& value);
/// str(value) as a string value: the same one when it is one already.
Value str(Heap& heap, const Value& value);
/// repr(value), for messages: shortened where it is long.
std::string repr_of(Heap& heap, const Value& value);

/// repr() of a float: the shortest digits that read back as the same number.
std::string float_repr(double value);

/// template % arguments, for a tuple of them, a dict or a single one.
Value percent_format(Heap& heap, const Text& format, const Value& arguments);
/// str.format().
Value brace_format(Heap& heap, const Text& format, const CallArguments& arguments);

}  // namespace mla::jinja
