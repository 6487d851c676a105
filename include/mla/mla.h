#pragma once

/// All of the public API. Everything here lives in namespace mla; names that no header of include/mla
/// declares are internal.

#include "mla/attention.h"       // IWYU pragma: export
#include "mla/cache_size.h"      // IWYU pragma: export
#include "mla/generator.h"       // IWYU pragma: export
#include "mla/language_model.h"  // IWYU pragma: export
#include "mla/result.h"          // IWYU pragma: export
