#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/chart.h"
#include "cli/machine.h"
#include "cli/terminal.h"

namespace mla::cli {

/// What a benchmark's document must hold before its table and picture are made of it: fields of the document itself, of
/// every element of `results`, and of every element of another list. Counts are whole numbers.
struct DocumentSchema {
  std::string_view benchmark;  ///< the value of its field `benchmark`: "attention", "compare"
  std::vector<std::string_view> texts, counts;
  std::vector<std::string_view> result_counts;   ///< beside `attention` (text), `depth` and `batch`
  std::vector<std::string_view> result_numbers;  ///< of lines that were not skipped; null is allowed
  std::string_view list;                         ///< the other list; empty = none
  std::vector<std::string_view> list_texts, list_counts;
};

/// Now: "2026-11-22T12:00:00Z".
std::string utc_date();

/// Where, when and with what a benchmark ran: how each document begins. `isa` and `threads` are what the limits were
/// measured with.
Json begin_document(std::string_view benchmark, Isa isa, int threads, const MachineLimits& limits);

/// The most operations a second of a document's machine: the limit that shares are of.
double flop_limit(const Json& document);

/// A document that a benchmark printed with --json. Errors: kInvalidFile when it is not one, or of another benchmark.
Result<Json> read_document(const std::filesystem::path& path, const DocumentSchema& schema);

/// Errors: kResource.
Status write_picture(const std::filesystem::path& path, const Figure& figure);

/// Comma-separated values of a row's plain fields (its lists are left out), and their names.
std::string csv_header(const Json& row);
std::string csv_row(const Json& row);

/// "12.9 (61%)" of rates per second, in units of 1e9.
std::string rate_and_share(double rate, double limit);

}  // namespace mla::cli
