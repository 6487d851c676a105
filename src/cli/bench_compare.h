#pragma once

#include "cli/command.h"

namespace mla::cli {

/// `mla bench compare`: a whole decoder with each of the four attentions, tokens per second against context length, and
/// the largest batch that fits into a given memory.
Command add_bench_compare(CLI::App& bench);

}  // namespace mla::cli
