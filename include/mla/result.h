#pragma once

// Result, Status, Error and ErrorKind are the library's own: one definition for its inside and for its users.
// An installation has the definition itself in this place.
#include "../../src/base/result.h"
