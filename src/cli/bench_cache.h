#pragma once

#include "cli/command.h"

namespace mla::cli {

/// `mla bench cache`: bytes, fidelity and speed of a model with each format of cached rows.
Command add_bench_cache(CLI::App& bench);

}  // namespace mla::cli
