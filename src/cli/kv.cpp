#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cache/arithmetic.h"
#include "cli/cache_report.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/terminal.h"

namespace mla::cli {
namespace {

struct KvOptions {
  ModelOptions model;
  std::string name;
  std::string format = "bf16";
  int64_t context = 0;
  int64_t groups = 8;
  bool rope_keys = false;
  bool list = false;
  bool figures = false;
  CLI::Option* name_option = nullptr;
  CLI::Option* groups_option = nullptr;
};

struct Subject {
  std::string name;
  CacheDims dims;
  int64_t n_context = 0;
};

/// A named model, or the checkpoint of --model.
Result<Subject> find_subject(const KvOptions& o) {
  if (o.name_option->count() > 0 && !o.model.model.empty()) return Error::usage("give a NAME or --model, not both");
  if (o.name_option->count() > 0) {
    MLA_ASSIGN(const NamedModel named, find_named_model(o.name));
    return Subject{std::string(named.name), named.dims, named.n_context};
  }
  MLA_ASSIGN(const OpenedModel opened, open_model(o.model, /*vocabulary_only=*/true));
  const Config& c = opened.config;
  return Subject{c.name.empty() ? opened.path.filename().string() : c.name, cache_dims(c), c.n_context};
}

/// "bf16", "f16" (as wide), "f32", "int8", "int6", "int4", or a number of bits per element such as "6".
Result<CacheFormat> parse_format(const std::string& text) {
  const Result<RowFormat> row = row_format_from_name(text == "f16" ? "bf16" : text);
  if (row.ok()) return CacheFormat(*row);
  char* end = nullptr;
  const double bits = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0' && bits > 0 && bits <= 64) return CacheFormat::average_bits(bits);
  return Error::usage(fmt::format("--format '{}': expected f32, bf16, int8, int6, int4, or a number of bits per element such as 6", text));
}

Json cost_json(const CacheCost& cost, const CacheCost& own, int64_t context) {
  return {{"scheme", cost.scheme}, {"elements_per_token", cost.elements_per_token}, {"bytes_per_token", cost.bytes_per_token},
          {"bytes_context", cost.bytes(context)}, {"formula", cost.formula},
          {"ratio_to_own", static_cast<double>(cost.bytes_per_token) / static_cast<double>(own.bytes_per_token)}};
}

Status print_costs(const Subject& subject, const KvOptions& o) {
  MLA_ASSIGN(const CacheFormat format, parse_format(o.format));
  if (o.groups_option->count() > 0 && subject.dims.n_heads % o.groups != 0) {
    return Error::usage(fmt::format("--groups {}: {} has {} heads; expected a number that divides them", o.groups, subject.name,
                                    subject.dims.n_heads));
  }
  const KeyWidth keys = o.rope_keys ? KeyWidth::kWithRope : KeyWidth::kWithoutRope;
  MLA_ASSIGN(const std::vector<CacheCost> schemes, cache_schemes(subject.dims, format, o.groups, keys));
  const int64_t context = o.context > 0 ? o.context : subject.n_context;
  const CacheCost& own = schemes.front();

  if (terminal_options().json) {
    Json document = {{"model", subject.name}, {"format", format.name()}, {"context", context},
                     {"keys", o.rope_keys ? "with_rope" : "without_rope"}, {"schemes", Json::array()}};
    for (const CacheCost& cost : schemes) document["schemes"].push_back(cost_json(cost, own, context));
    return write_json(document);
  }
  std::string text = fmt::format("{}: cache at {}, context of {} tokens\n\n", subject.name, format.name(), grouped(context));
  text += fmt::format("{:<11} {:>11} {:>10} {:>7}  {}\n", "", "bytes/token", "context", "ratio", "formula");
  for (const CacheCost& cost : schemes) {
    text += fmt::format("{:<11} {:>11} {:>10} {:>6}x  {}{}\n", cost.scheme, grouped(cost.bytes_per_token),
                        human_bytes(static_cast<double>(cost.bytes(context))),
                        short_number(static_cast<double>(cost.bytes_per_token) / static_cast<double>(own.bytes_per_token)), cost.formula,
                        &cost == &own ? "   <- this model" : "");
  }
  if (subject.dims.has_mla()) {
    text += o.rope_keys ? "\nKeys of MHA, GQA and MQA are counted with their RoPE part, as the expanded form has them.\n"
                        : "\nKeys of MHA, GQA and MQA are counted without a RoPE part, as usual; --rope-keys counts it.\n";
  }
  return write_stdout(printable(text));
}

Status print_names() {
  if (terminal_options().json) {
    Json names = Json::array();
    for (const NamedModel& m : named_models()) names.push_back({{"name", m.name}, {"aliases", m.aliases}, {"context", m.n_context}});
    return write_json({{"models", names}});
  }
  std::string text;
  for (const NamedModel& m : named_models()) {
    text += m.aliases.empty() ? fmt::format("{}\n", m.name) : fmt::format("{:<16} {}\n", m.name, fmt::join(m.aliases, ", "));
  }
  return write_stdout(text);
}

/// "3,997,696", "34.56".
std::string figure_number(double x) { return x == std::floor(x) ? grouped(static_cast<int64_t>(x)) : fmt::format("{}", x); }

Status print_figures() {
  Json list = Json::array();
  std::string text;
  for (const PublicFigure& figure : public_figures()) {
    Json entry = {{"claim", figure.claim}, {"about", figure.about}, {"readings", Json::array()}};
    text += fmt::format("{}  {}\n", figure.claim, figure.about);
    for (const FigureReading& r : figure.readings) {
      entry["readings"].push_back({{"assumptions", r.assumptions}, {"formula", r.formula}, {"before", r.before}, {"after", r.after},
                                   {"unit", r.unit}, {"ratio", r.ratio()}, {"saving_percent", r.saving_percent()}});
      text += fmt::format("  {} -> {} {} = {:.1f}x = {:.1f} % saved\n    assuming {}\n    {}\n", figure_number(r.before),
                          figure_number(r.after), r.unit, r.ratio(), r.saving_percent(), r.assumptions, r.formula);
    }
    text += "\n";
    list.push_back(std::move(entry));
  }
  return terminal_options().json ? write_json({{"figures", list}}) : write_stdout(text);
}

Status kv(const KvOptions& o) {
  if (o.list) return print_names();
  if (o.figures) return print_figures();
  MLA_ASSIGN(const Subject subject, find_subject(o));
  return print_costs(subject, o);
}

}  // namespace

Command add_kv(CLI::App& root) {
  auto o = std::make_shared<KvOptions>();
  CLI::App* app = add_subcommand(root, "kv", "What a model's cache costs, and would cost under MHA, GQA and MQA",
                                 {"mla kv deepseek-v3 --context 131072", "mla kv -m model.gguf --format int8",
                                  "mla kv deepseek-v2 --format int4", "mla kv deepseek-v2 --format 6    # as a paper counts: 6 bits on average",
                                  "mla kv --figures    # where 56.9x, 71.1x, 93.3 % and 92.8 % come from",
                                  "mla kv --list"});
  o->name_option = app->add_option("name", o->name, "A model known by name (see --list)")->type_name("NAME");
  add_model_option(*app, o->model);
  app->add_option("--context", o->context, "Tokens (default: the model's context)")->transform(whole_number(0, int64_t{1} << 31));
  app->add_option("--format", o->format, "f32, bf16, int8, int6, int4, or average bits per element")->capture_default_str();
  o->groups_option = app->add_option("--groups", o->groups, "KV heads of the GQA line; a number that divides the model's heads")
      ->transform(whole_number(1, int64_t{1} << 24))->capture_default_str();
  app->add_flag("--rope-keys", o->rope_keys, "Count MHA, GQA and MQA keys with MLA's RoPE part");
  app->add_flag("--list", o->list, "List the models known by name");
  app->add_flag("--figures", o->figures, "The public figures about MLA's cache, reproduced with their assumptions");
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [o] { return kv(*o); }};
}

}  // namespace mla::cli
