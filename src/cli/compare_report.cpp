#include "cli/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace mla::cli {
namespace {

constexpr const char* kDecoder = "{:<9} {:>14} {:>9} {:>7} {:>11} {:>13}\n";
constexpr const char* kMeasured = "{:<9} {:>7} {:>5} {:>8} {:>6} {:>9} {:>13} {:>13} {:>11}\n";

std::string text(const Json& object, const char* key) { return printable(object[key].get<std::string>()); }
int64_t count(const Json& object, const char* key) { return object[key].get<int64_t>(); }
double number(const Json& object, const char* key) { return object[key].is_null() ? 0.0 : object[key].get<double>(); }

std::string signed_percent(double ratio) {
  return fmt::format("{:+.1f}%", 100.0 * (ratio - 1.0));
}

/// Names in the order in which the decoders are listed.
std::vector<std::string> names_of(const Json& document) {
  std::vector<std::string> names;
  for (const Json& d : document["decoders"]) names.push_back(text(d, "attention"));
  return names;
}

/// The largest batches of one attention by depth.
std::map<int64_t, int64_t> largest_batches(const Json& document, const std::string& attention) {
  std::map<int64_t, int64_t> batches;
  for (const Json& row : document["results"]) {
    if (text(row, "attention") == attention) batches[count(row, "depth")] = count(row, "largest_batch");
  }
  return batches;
}

std::string dimensions(const Json& document) {
  return fmt::format("{} layers, d_model {}, {} heads, {}, {} cache", count(document, "layers"), count(document, "d_model"),
                     count(document, "heads"), text(document, "quant"), text(document, "cache"));
}

}  // namespace

const DocumentSchema& compare_schema() {
  static const DocumentSchema schema{
      .benchmark = "compare",
      .texts = {"dims", "quant", "cache", "same", "processor"},
      .counts = {"layers", "d_model", "heads", "memory_bytes"},
      .result_counts = {"largest_batch"},
      .result_numbers = {"tok_per_s", "spread", "gb_per_s", "flop_per_s", "cache_bytes", "speedup_over_mha"},
      .list = "decoders",
      .list_texts = {"attention", "architecture"},
      .list_counts = {"parameters", "d_ff", "weight_bytes", "cache_bytes_per_token"}};
  return schema;
}

std::string decoders_text(const Json& document) {
  std::string out = fmt::format("{}: {}; random weights, a dense feed-forward in every layer\n", text(document, "dims"), dimensions(document));
  out += fmt::format(kDecoder, "attention", "parameters", "to MLA's", "d_ff", "weights", "cache/token");
  double own = 0.0;
  for (const Json& d : document["decoders"]) {
    if (text(d, "attention") == "MLA") own = number(d, "parameters");
  }
  for (const Json& d : document["decoders"]) {
    out += fmt::format(kDecoder, text(d, "attention"), grouped(count(d, "parameters")),
                       own > 0.0 ? signed_percent(number(d, "parameters") / own) : "-", count(d, "d_ff"), human_bytes(number(d, "weight_bytes")),
                       human_bytes(number(d, "cache_bytes_per_token")));
  }
  return out + "\n";
}

std::string comparison_header() {
  return fmt::format(kMeasured, "attention", "depth", "batch", "tok/s", "+-", "over MHA", "GB/s", "GFLOP/s", "cache");
}

std::string comparison_line(const Json& row, const Json& document) {
  const std::string name = text(row, "attention");
  if (row.contains("skipped")) return fmt::format("{:<9} {:>7} {:>5}  {}\n", name, count(row, "depth"), count(row, "batch"), text(row, "skipped"));
  return fmt::format(kMeasured, name, count(row, "depth"), count(row, "batch"), short_number(number(row, "tok_per_s")),
                     fmt::format("{:.0f}%", 100.0 * number(row, "spread")),
                     row["speedup_over_mha"].is_null() ? "-" : short_number(number(row, "speedup_over_mha")) + "x",
                     rate_and_share(number(row, "gb_per_s") * 1e9, number(document, "read_gb_per_s") * 1e9),
                     rate_and_share(number(row, "flop_per_s"), flop_limit(document)), human_bytes(number(row, "cache_bytes")));
}

std::string batches_text(const Json& document) {
  if (document["results"].empty()) return "";
  std::string out = fmt::format("\nlargest batch in {}, computed: weights and whole pages of cached rows, activations not counted\n{:>7}",
                                human_bytes(number(document, "memory_bytes")), "depth");
  std::map<int64_t, std::string> lines;
  for (const std::string& name : names_of(document)) {
    out += fmt::format(" {:>9}", name);
    for (const auto& [depth, batch] : largest_batches(document, name)) lines[depth] += fmt::format(" {:>9}", grouped(batch));
  }
  out += "\n";
  for (const auto& [depth, line] : lines) out += fmt::format("{:>7}{}\n", depth, line);
  return out;
}

Figure draw_comparison(const Json& document) {
  const Json& results = document["results"];
  const int64_t batch = results.empty() ? 1 : count(results.front(), "batch");
  Figure figure{.title = "What latent attention buys: one decoder, four attentions"};
  figure.subtitle = fmt::format("{}: {}; the same {} in all four; measured on {}, {} threads", text(document, "dims"), dimensions(document),
                                text(document, "same"), text(document, "processor"), document.value("threads", 0));
  Panel speed{.title = fmt::format("Decoding speed, {}", batch == 1 ? "one sequence" : fmt::format("{} sequences", batch)),
              .x_label = "cached tokens", .y_label = "tokens per second"};
  Panel room{.title = fmt::format("Largest batch in {} (computed)", human_bytes(number(document, "memory_bytes"))),
             .x_label = "tokens of each sequence", .y_label = "sequences"};
  for (const std::string& name : names_of(document)) {
    Panel::Line measured{name, {}}, computed{name, {}};
    for (const Json& row : results) {
      const double rate = row.contains("skipped") ? 0.0 : number(row, "tok_per_s");
      if (text(row, "attention") == name && count(row, "batch") == batch && rate > 0.0 && count(row, "depth") > 0)
        measured.points.emplace_back(number(row, "depth"), rate);
    }
    for (const auto& [depth, n] : largest_batches(document, name)) {
      if (depth > 0 && n > 0) computed.points.emplace_back(static_cast<double>(depth), static_cast<double>(n));
    }
    speed.lines.push_back(std::move(measured));
    room.lines.push_back(std::move(computed));
  }
  figure.panels = {std::move(speed), std::move(room)};
  return figure;
}

}  // namespace mla::cli
