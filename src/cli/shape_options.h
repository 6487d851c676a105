#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/synth/plan.h"

namespace mla::cli {

/// A checkpoint with a known model's shape and random weights, as flags say it.
struct ShapeOptions {
  std::string shape;
  std::string quant = "Q4_0";
  int64_t layers = 0, experts = 0, vocab = 0;  ///< 0: the shape's
  uint64_t seed = 1;
};

/// --shape, --quant, --layers, --experts, --vocab, --seed.
void add_shape_options(CLI::App& app, ShapeOptions& options);

/// The type that --quant names; case does not matter. Errors: kUsage listing the types.
Result<DType> parse_quant(std::string name);

/// Errors: kUsage for an unknown shape or type, or changes that no model can have.
Result<SynthPlan> make_plan(const ShapeOptions& options);

}  // namespace mla::cli
