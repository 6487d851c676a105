#include "cli/bench_serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

namespace mla::cli {
namespace {

/// Shares of a distribution that its curve in the picture goes through; each is drawn at 1 / (1 - share).
constexpr std::array kCurve = {0.0,  0.1,  0.2,  0.3,  0.4,  0.5,   0.6,   0.7,  0.75,  0.8,   0.85,  0.9,
                               0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.992, 0.995, 0.998, 0.999, 0.9995, 0.9999};

Json distribution(std::vector<double> values) {
  if (values.empty()) return {{"n", 0}};
  std::sort(values.begin(), values.end());
  double sum = 0.0;
  for (const double value : values) sum += value;
  const double n = static_cast<double>(values.size());
  Json json = {{"n", values.size()}, {"mean", sum / n}, {"p50", percentile(values, 0.5)}, {"p90", percentile(values, 0.9)},
               {"p95", percentile(values, 0.95)}, {"p99", percentile(values, 0.99)}, {"max", values.back()}};
  json["curve"] = Json::array();
  for (const double share : kCurve) {
    if (share == 0.0 && n > 10) continue;  // the least of many is an accident: events that arrived in one piece
    if ((1.0 - share) * n < 0.999) break;  // beyond what so many values can tell
    json["curve"].push_back(Json::array({share, percentile(values, share)}));
  }
  return json;
}

/// The times that a load's records hold, sorted by what they are.
struct Latencies {
  std::vector<double> first_token, between_tokens, per_output_token, end_to_end;
  std::vector<double> during_intruder, apart_from_intruder, intruder_first_token;  ///< the first two: of between_tokens
};

using Windows = std::vector<std::pair<double, double>>;

/// From when each long prompt was sent until its first token came.
Windows windows_of(const LoadResult& result) {
  Windows windows;
  for (const RequestRecord& r : result.records) {
    if (r.intruder && r.error.empty() && !r.text_times.empty()) windows.emplace_back(r.due, r.text_times.front());
  }
  return windows;
}

void add_gaps(const RequestRecord& r, const Windows& windows, Latencies& all) {
  for (size_t i = 1; i < r.text_times.size(); ++i) {
    const double from = r.text_times[i - 1], to = r.text_times[i];
    const bool during = std::any_of(windows.begin(), windows.end(), [&](const auto& w) { return from < w.second && to > w.first; });
    all.between_tokens.push_back(to - from);
    (during ? all.during_intruder : all.apart_from_intruder).push_back(to - from);
  }
}

Latencies latencies_of(const LoadResult& result) {
  Latencies all;
  const Windows windows = windows_of(result);
  for (const RequestRecord& r : result.records) {
    if (!r.error.empty() || r.text_times.empty()) continue;
    if (r.intruder) {
      all.intruder_first_token.push_back(r.text_times.front() - r.due);
      continue;
    }
    all.first_token.push_back(r.text_times.front() - r.due);
    add_gaps(r, windows, all);
    if (!r.finished) continue;
    all.end_to_end.push_back(r.end - r.due);
    if (r.n_output > 1) all.per_output_token.push_back((r.text_times.back() - r.text_times.front()) / static_cast<double>(r.n_output - 1));
  }
  return all;
}

/// Requests by how they ended, and the tokens of those that did well.
struct Totals {
  int64_t completed = 0, failed = 0, unfinished = 0;
  int64_t n_prompt = 0, n_cached = 0, n_output = 0;
  std::map<std::string, int64_t> errors;
};

Totals totals_of(const LoadResult& result) {
  Totals t;
  for (const RequestRecord& r : result.records) {
    t.n_output += r.n_output;
    t.n_prompt += std::max<int64_t>(0, r.n_prompt);
    t.n_cached += std::max<int64_t>(0, r.n_cached);
    if (!r.error.empty()) ++t.errors[r.error];
    ++(!r.error.empty() ? t.failed : r.finished ? t.completed : t.unfinished);
  }
  return t;
}

std::string time_text(double seconds) {
  if (seconds < 1e-3) return short_number(seconds * 1e6) + " us";
  return seconds < 1.0 ? short_number(seconds * 1e3) + " ms" : short_number(seconds) + " s";
}

constexpr const char* kRow = "{:<26} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n";

std::string latency_line(const std::string& name, const Json& d) {
  if (d["n"] == 0) return "";
  const auto time = [&](const char* key) { return time_text(d[key].get<double>()); };
  return fmt::format(kRow, name, grouped(d["n"].get<int64_t>()), time("mean"), time("p50"), time("p90"), time("p95"), time("p99"), time("max"));
}

/// The rows of the table and the lines of the picture.
constexpr std::array<std::pair<const char*, const char*>, 4> kLatencies = {
    {{"ttft", "first token"}, {"inter_token", "between tokens"}, {"per_output_token", "per output token"}, {"e2e", "end to end"}}};

Panel::Line curve(const std::string& name, const Json& d) {
  Panel::Line line{name, {}};
  if (d["n"] == 0) return line;
  for (const Json& point : d["curve"]) {
    const double value = point[1].get<double>();
    if (value > 0.0) line.points.emplace_back(1.0 / (1.0 - point[0].get<double>()), value * 1e3);
  }
  return line;
}

}  // namespace

double percentile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

Json results_of(const LoadResult& result) {
  const Totals t = totals_of(result);
  Latencies all = latencies_of(result);
  const double seconds = std::max(result.seconds, 1e-9);
  const auto per_second = [&](int64_t n) { return static_cast<double>(n) / seconds; };
  Json json = {{"seconds", result.seconds},
               {"requests", {{"sent", result.records.size()}, {"completed", t.completed}, {"failed", t.failed}, {"unfinished", t.unfinished}}},
               {"errors", Json::object()},
               {"tokens", {{"prompt", t.n_prompt}, {"cached", t.n_cached}, {"output", t.n_output}}},
               {"throughput", {{"requests_per_second", per_second(t.completed)}, {"output_tokens_per_second", per_second(t.n_output)},
                               {"total_tokens_per_second", per_second(t.n_prompt + t.n_output)}}},
               {"client_cpu_share", result.cpu_seconds / seconds}};
  for (const auto& [kind, n] : t.errors) json["errors"][kind] = n;
  if (!result.last_error.empty()) json["last_error"] = result.last_error;
  json["latency_seconds"] = {{"ttft", distribution(std::move(all.first_token))}, {"inter_token", distribution(std::move(all.between_tokens))},
                             {"per_output_token", distribution(std::move(all.per_output_token))}, {"e2e", distribution(std::move(all.end_to_end))}};
  if (all.intruder_first_token.empty()) return json;
  json["intruder_seconds"] = {{"ttft", distribution(std::move(all.intruder_first_token))},
                              {"inter_token_during", distribution(std::move(all.during_intruder))},
                              {"inter_token_apart", distribution(std::move(all.apart_from_intruder))}};
  return json;
}

std::string results_text(const Json& document) {
  const Json& r = document["results"];
  const auto count = [&](const char* group, const char* key) { return grouped(r[group][key].get<int64_t>()); };
  const auto rate = [&](const char* key) { return short_number(r["throughput"][key].get<double>()); };
  std::string out = fmt::format("requests  {} done, {} failed, {} cut off, in {}: {} requests/s\n", count("requests", "completed"), count("requests", "failed"),
                                count("requests", "unfinished"), time_text(r["seconds"].get<double>()), rate("requests_per_second"));
  out += fmt::format("tokens    {} prompt ({} cached), {} output: {} output tokens/s, {} tokens/s\n", count("tokens", "prompt"), count("tokens", "cached"),
                     count("tokens", "output"), rate("output_tokens_per_second"), rate("total_tokens_per_second"));
  if (!r["errors"].empty()) {
    out += "errors   ";
    for (const auto& [kind, n] : r["errors"].items()) out += fmt::format(" {} {}", grouped(n.get<int64_t>()), kind);
    out += fmt::format("; the last: {}\n", r["last_error"].get<std::string>());
  }
  out += fmt::format("client    {:.1f}% of one processor\n\n", 100.0 * r["client_cpu_share"].get<double>());
  out += fmt::format(kRow, "", "n", "mean", "p50", "p90", "p95", "p99", "max");
  for (const auto& [key, name] : kLatencies) out += latency_line(name, r["latency_seconds"][key]);
  if (!r.contains("intruder_seconds")) return out;
  const Json& intruder = r["intruder_seconds"];
  out += latency_line("long prompt's first token", intruder["ttft"]);
  out += latency_line("between, while it arrives", intruder["inter_token_during"]);
  return out + latency_line("between, otherwise", intruder["inter_token_apart"]);
}

Figure draw_latencies(const Json& document) {
  const Json& r = document["results"];
  Figure figure;
  figure.title = fmt::format("{}: latency by percentile", document["model"].get<std::string>());
  figure.subtitle = fmt::format("{}; {} output tokens/s, {} requests/s", document["load"]["text"].get<std::string>(),
                                short_number(r["throughput"]["output_tokens_per_second"].get<double>()),
                                short_number(r["throughput"]["requests_per_second"].get<double>()));
  const std::vector<std::pair<double, std::string>> ticks = {{1, "0%"}, {2, "50%"}, {10, "90%"}, {100, "99%"}, {1000, "99.9%"}, {10000, "99.99%"}};
  const auto panel = [&](const char* title, std::vector<Panel::Line> lines) {
    figure.panels.push_back({.title = title, .x_label = "share of all that is faster", .y_label = "milliseconds", .lines = std::move(lines), .x_ticks = ticks});
  };
  const Json& latency = r["latency_seconds"];
  panel("Requests", {curve("first token", latency["ttft"]), curve("end to end", latency["e2e"])});
  if (r.contains("intruder_seconds")) {
    const Json& intruder = r["intruder_seconds"];
    panel("Between tokens", {curve("long prompt arrives", intruder["inter_token_during"]), curve("otherwise", intruder["inter_token_apart"])});
  } else {
    panel("Between tokens", {curve("between tokens", latency["inter_token"]), curve("per request", latency["per_output_token"])});
  }
  return figure;
}

}  // namespace mla::cli
