#pragma once

#include "server/api/field_reader.h"

namespace mla::server {

/// The messages of a chat request as templates take them: "content" a string (the parts of an array joined), the role
/// "developer" read as "system", and nothing that is not known. Errors go to `body`.
Json read_messages(FieldReader& body);

/// The tools of a chat request, checked; null when there are none.
Json read_tools(FieldReader& body);

}  // namespace mla::server
