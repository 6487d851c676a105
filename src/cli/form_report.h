#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/generation.h"
#include "cli/terminal.h"
#include "model/config.h"

namespace mla::cli {

/// Where a model's attention changes from the absorbed to the expanded form (docs/mla.md, section 5), for some numbers of
/// cached tokens up to its context: the new tokens of one sequence that it takes, and what both forms cost one layer
/// there. Null for a model without latent attention.
Json break_even_json(const Config& config);
/// The same as lines for people.
std::string break_even_text(const Config& config);

/// Which forms the attention of one generation took, and how often: counts of calls, one for each layer and step.
Json forms_json(const Generation& generation);
/// The same as lines for people. `forced`: by --mla, so that no cost was compared.
std::string forms_text(const Config& config, const Generation& generation, bool forced);

}  // namespace mla::cli
