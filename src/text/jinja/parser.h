#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace mla::jinja {

/// Reads a template. `max_depth` limits the nesting of its expressions and blocks. Throws SyntaxFailure.
Program parse(std::string_view source, size_t max_depth);

}  // namespace mla::jinja
