#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/bench_document.h"

namespace mla::cli {

/// The document of `mla bench compare`, and what is made of it. Beside what begin_document() says: `dims` and the
/// dimensions; `same` (feed-forward | parameters); `memory_bytes`; `decoders`, one for each attention; `results`, one for
/// each attention, batch and depth, measured or skipped, each with `largest_batch`, which is computed.
const DocumentSchema& compare_schema();

/// What the four decoders are: parameters, how far they are from the one with MLA, bytes of weights and of cached rows.
std::string decoders_text(const Json& document);
/// The table of measurements: its header, and the line of one result.
std::string comparison_header();
std::string comparison_line(const Json& row, const Json& document);
/// The largest batch that fits into memory, a line for each depth; an empty text without results.
std::string batches_text(const Json& document);
/// Tokens per second and the largest batch, both against context.
Figure draw_comparison(const Json& document);

}  // namespace mla::cli
