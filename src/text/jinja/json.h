#pragma once

#include "text/jinja/call_arguments.h"
#include "text/jinja/heap.h"

namespace mla::jinja {

/// The filter tojson as transformers defines it: json.dumps with ensure_ascii=False unless the arguments say
/// otherwise.
Value to_json(Heap& heap, const Value& value, const CallArguments& arguments);

}  // namespace mla::jinja
