#pragma once

#include "cli/command.h"

namespace mla::cli {

/// `mla bench serve`: load for any server that speaks OpenAI's API, and how it bears it.
Command add_bench_serve(CLI::App& bench);

}  // namespace mla::cli
