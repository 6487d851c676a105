#include "cli/bench_document.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "base/file.h"
#include "cli/commit.h"
#include "cli/output_file.h"

namespace mla::cli {
namespace {

constexpr uint64_t kMaxDocument = uint64_t{16} << 20;

/// Checks one object's fields.
class FieldCheck {
 public:
  FieldCheck(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fault_ = where_ + ": expected an object";
  }
  FieldCheck& texts(const std::vector<std::string_view>& names) {
    for (const std::string_view name : names) require(name, "text", [](const Json& v) { return v.is_string(); });
    return *this;
  }
  FieldCheck& counts(const std::vector<std::string_view>& names) {
    for (const std::string_view name : names) require(name, "a whole number", [](const Json& v) { return v.is_number_integer(); });
    return *this;
  }
  FieldCheck& numbers(const std::vector<std::string_view>& names, bool or_null = false) {
    for (const std::string_view name : names)
      require(name, "a number", [&](const Json& v) { return v.is_number() || (or_null && v.is_null()); });
    return *this;
  }
  Status status() const { return fault_.empty() ? Status() : Error::invalid_file(fault_); }

 private:
  template <class Test>
  void require(std::string_view name, const char* expected, const Test& test) {
    if (!fault_.empty()) return;
    const auto field = object_.find(std::string(name));
    if (field == object_.end() || !test(*field)) fault_ = fmt::format("{}: field '{}': expected {}", where_, name, expected);
  }
  const Json& object_;
  std::string where_, fault_;
};

Status check_list(const Json& document, const std::string& name) {
  const auto list = document.find(name);
  if (list != document.end() && list->is_array()) return {};
  return Error::invalid_file(fmt::format("field '{}': expected a list", name));
}

Status check(const Json& document, const DocumentSchema& schema) {
  MLA_TRY(FieldCheck(document, "document").texts({"benchmark"}).status());
  const std::string benchmark = document["benchmark"].get<std::string>();
  if (benchmark != schema.benchmark) {
    return Error::invalid_file(fmt::format("results of `mla bench {0}`; this is `mla bench {1}`", printable(benchmark), schema.benchmark));
  }
  MLA_TRY(FieldCheck(document, "document").texts(schema.texts).counts(schema.counts).numbers({"read_gb_per_s", "f32_gflop_per_s", "bf16_gflop_per_s"}).status());
  MLA_TRY(check_list(document, "results"));
  for (size_t i = 0; i < document["results"].size(); ++i) {
    const Json& row = document["results"][i];
    FieldCheck fields(row, fmt::format("results[{}]", i));
    fields.texts({"attention"}).counts({"depth", "batch"}).counts(schema.result_counts);
    const bool skipped = row.is_object() && row.contains("skipped");
    MLA_TRY(skipped ? fields.texts({"skipped"}).status() : fields.numbers(schema.result_numbers, true).status());
  }
  if (schema.list.empty()) return {};
  const std::string list(schema.list);
  MLA_TRY(check_list(document, list));
  for (size_t i = 0; i < document[list].size(); ++i) {
    MLA_TRY(FieldCheck(document[list][i], fmt::format("{}[{}]", list, i)).texts(schema.list_texts).counts(schema.list_counts).status());
  }
  return {};
}

}  // namespace

std::string utc_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[sizeof("2026-11-22T12:00:00Z")];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

Json begin_document(std::string_view benchmark, Isa isa, int threads, const MachineLimits& limits) {
  return {{"benchmark", benchmark}, {"date", utc_date()}, {"commit", MLA_COMMIT}, {"compiler", __VERSION__},
          {"processor", cpu_features().model}, {"isa", isa_name(isa)}, {"threads", threads},
          {"read_gb_per_s", limits.read_bytes_per_second / 1e9}, {"f32_gflop_per_s", limits.f32_flop_per_second / 1e9},
          {"bf16_gflop_per_s", limits.bf16_flop_per_second / 1e9}};
}

double flop_limit(const Json& document) {
  return std::max(document["f32_gflop_per_s"].get<double>(), document["bf16_gflop_per_s"].get<double>()) * 1e9;
}

Result<Json> read_document(const std::filesystem::path& path, const DocumentSchema& schema) {
  MLA_ASSIGN(const std::string text, read_text_file(path, kMaxDocument));
  Json document = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return Error::invalid_file(fmt::format("{}: not a JSON document; --from takes what `mla bench {} --json` printed", path.string(), schema.benchmark));
  }
  const Status checked = check(document, schema);
  if (!checked.ok()) return checked.error().in(path.string());
  return document;
}

Status write_picture(const std::filesystem::path& path, const Figure& figure) {
  const std::string svg = to_svg(figure);
  MLA_ASSIGN(OutputFile file, OutputFile::create(path));
  MLA_TRY(file.write(std::as_bytes(std::span(svg))));
  MLA_TRY(file.close());
  note("wrote " + path.string());
  return {};
}

std::string csv_header(const Json& row) {
  std::string line;
  for (const auto& [key, value] : row.items()) {
    if (!value.is_structured()) line += (line.empty() ? "" : ",") + key;
  }
  return line + "\n";
}

std::string csv_row(const Json& row) {
  std::string line;
  for (const auto& [key, value] : row.items()) {
    if (value.is_structured()) continue;
    line += (line.empty() ? "" : ",") + (value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump());
  }
  return line + "\n";
}

std::string rate_and_share(double rate, double limit) {
  return limit > 0.0 ? fmt::format("{} ({:.0f}%)", short_number(rate / 1e9), 100.0 * rate / limit) : short_number(rate / 1e9);
}

}  // namespace mla::cli
