#include "cli/shape_options.h"

#include <fmt/format.h>

#include <cctype>
#include <limits>
#include <optional>

#include "cli/command.h"

namespace mla::cli {
namespace {

std::optional<int64_t> if_given(int64_t value) { return value == 0 ? std::nullopt : std::optional(value); }

}  // namespace

Result<DType> parse_quant(std::string name) {
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string known;
  for (const DType dtype : synth_dtypes()) {
    if (dtype_info(dtype).name == name) return dtype;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", dtype_info(dtype).name);
  }
  return Error::usage(fmt::format("--quant '{}': expected one of {} (every matrix gets it; mixtures such as Q4_K_M are not made)",
                                  name, known));
}

void add_shape_options(CLI::App& app, ShapeOptions& o) {
  const auto count = whole_number(1, int64_t{1} << 24);
  app.add_option("--shape", o.shape, "The model whose shape it has (mla synth --list)")->check(not_empty())->type_name("NAME");
  app.add_option("--quant", o.quant, "Type of the matrices; norms, routers and biases stay F32")->capture_default_str()->type_name("TYPE");
  app.add_option("--layers", o.layers, "Layers instead of the model's")->transform(count)->type_name("N");
  app.add_option("--experts", o.experts, "Routed experts a layer instead of the model's")->transform(count)->type_name("N");
  app.add_option("--vocab", o.vocab, "Tokens instead of the model's")->transform(count)->type_name("N");
  app.add_option("--seed", o.seed, "The same seed gives the same weights")
      ->transform(whole_number(0, std::numeric_limits<int64_t>::max()))->capture_default_str()->type_name("N");
}

Result<SynthPlan> make_plan(const ShapeOptions& o) {
  if (o.shape.empty()) return Error::usage(fmt::format("--shape is missing; known shapes: {}", fmt::join(shape_names(), ", ")));
  MLA_ASSIGN(ModelShape shape, find_shape(o.shape));
  MLA_ASSIGN(shape, changed(std::move(shape), {if_given(o.layers), if_given(o.experts), if_given(o.vocab)}));
  MLA_ASSIGN(const DType quant, parse_quant(o.quant));
  return plan_synth(shape, quant, o.seed);
}

}  // namespace mla::cli
