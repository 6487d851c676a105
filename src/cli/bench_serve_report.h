#pragma once

#include <string>
#include <vector>

#include "cli/bench_serve_run.h"
#include "cli/chart.h"
#include "cli/terminal.h"

namespace mla::cli {

/// The value below which a share of `sorted` lies (0 <= share <= 1), with linear interpolation between neighbours; not of
/// an empty list.
double percentile(const std::vector<double>& sorted, double share);

/// What a load measured (docs/cli.md, "Measuring a server", has the schema): counts, throughput, and distributions of latency.
Json results_of(const LoadResult& result);

/// The tables of a document whose field `results` is of results_of().
std::string results_text(const Json& document);

/// Its picture: latencies by percentile.
Figure draw_latencies(const Json& document);

}  // namespace mla::cli
