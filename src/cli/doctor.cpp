#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/form_report.h"
#include "cli/load.h"
#include "cli/machine.h"
#include "cli/terminal.h"
#include "engine/capacity.h"

namespace mla::cli {
namespace {

struct DoctorOptions {
  ModelOptions model;  ///< only looked at when it is named
  int threads = 0;
  bool no_measure = false;
};

Json features_json(const CpuFeatures& f) {
  return {{"avx2", f.avx2}, {"avx512", f.avx512}, {"avx512_vnni", f.avx512_vnni}, {"avx512_bf16", f.avx512_bf16},
          {"amx_tile", f.amx_tile}, {"amx_bf16", f.amx_bf16}, {"amx_int8", f.amx_int8}};
}

Status doctor(const DoctorOptions& o) {
  const CpuFeatures& features = cpu_features();
  MLA_ASSIGN(const Isa isa, choose_isa());
  const int threads = o.threads > 0 ? o.threads : default_thread_count();
  const std::vector<std::string> refused = refused_isas(isa);
  std::optional<Config> config;
  if (!o.model.model.empty()) {
    MLA_ASSIGN(const OpenedModel opened, open_model(o.model, /*vocabulary_only=*/true));
    config = opened.config;
  }
  const int64_t memory = available_memory().value_or(0);
  MachineLimits limits;
  if (!o.no_measure) {
    limits = measure_limits(isa, threads);
    if (o.threads == 0) remember_bandwidth(limits.read_bytes_per_second);  // else it is not the machine's
  }

  if (terminal_options().json) {
    Json document = {{"processor", features.model}, {"vendor", features.vendor}, {"features", features_json(features)},
                               {"isa", isa_name(isa)}, {"refused", refused}, {"threads", threads},
                               {"available_memory_bytes", memory}};
    if (!o.no_measure) {
      document["read_gb_per_s"] = limits.read_bytes_per_second / 1e9;
      document["f32_gflop_per_s"] = limits.f32_flop_per_second / 1e9;
      document["bf16_gflop_per_s"] = limits.bf16_flop_per_second / 1e9;
    }
    if (config) document["mla"] = break_even_json(*config);
    return write_json(document);
  }
  std::string text = fmt::format("processor   {}\n", features.model);
  std::string have;
  const Json list = features_json(features);
  for (const auto& [name, present] : list.items()) {
    if (present) have += name + " ";
  }
  text += fmt::format("features    {}\n", have.empty() ? "none of those that matter here" : have);
  text += fmt::format("kernels     {}\n", isa_name(isa));
  for (const std::string& line : refused) text += fmt::format("  not used  {}\n", line);
  text += fmt::format("threads     {}\n", threads);
  text += fmt::format("memory      {} available\n", human_bytes(static_cast<double>(memory)));
  if (!o.no_measure) {
    text += fmt::format("read        {} GB/s streaming from memory\n", short_number(limits.read_bytes_per_second / 1e9));
    text += fmt::format("arithmetic  {} GFLOP/s in f32 ({})\n", short_number(limits.f32_flop_per_second / 1e9), isa_name(isa));
    if (limits.bf16_flop_per_second > 0.0) text += fmt::format("            {} GFLOP/s in bf16\n", short_number(limits.bf16_flop_per_second / 1e9));
    text += fmt::format("            measured in {} s with {} thread{}\n", short_number(limits.seconds), threads, threads == 1 ? "" : "s");
  }
  if (config) text += break_even_text(*config);
  return write_stdout(text);
}

}  // namespace

Command add_doctor(CLI::App& root) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* app = add_subcommand(root, "doctor", "What this machine can do, which kernels are used and why, and its limits",
                                 {"mla doctor", "MLA_ISA=avx2 mla doctor --json", "mla doctor -m model.gguf    # and when its attention takes which form"});
  app->add_option("-m,--model", options->model.model, "Also show where this model's attention changes its form")
      ->check(not_empty())->type_name("FILE|FOLDER");
  app->add_option("--threads", options->threads, "Threads (default: every processor)")->transform(whole_number(0, 1024));
  app->add_flag("--no-measure", options->no_measure, "Leave out the measurements");
  app->add_flag("--json", terminal_options().json, "Print JSON");
  return {app, [options] { return doctor(*options); }};
}

}  // namespace mla::cli
