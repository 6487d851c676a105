#include "cli/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <system_error>

#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "cache/page_pool.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "cpu/cpu_backend.h"
#include "engine/capacity.h"

namespace mla::cli {
namespace {

namespace fs = std::filesystem;
constexpr const char* kDefaultModel = "mla-default.gguf";

/// The model that ships: beside the installed command, in the source tree it was built from, or (when that was moved) in
/// the one it lies in as build/PRESET/bin/mla.
fs::path default_model() {
  std::error_code ignored;
  const fs::path folder = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  const fs::path source = fs::path(MLA_SOURCE_MODELS) / kDefaultModel;
  for (const fs::path& path : {folder / "../share/mla" / kDefaultModel, source, folder / "../../../models" / kDefaultModel}) {
    if (fs::exists(path, ignored)) return path.lexically_normal();
  }
  return source;
}

/// What a server keeps room for unless told otherwise: so many conversations of at most so many tokens.
constexpr int64_t kConversations = 32, kConversationTokens = 8192;

/// Pages of cache that fit beside the weights, or why they do not.
Result<int64_t> plan_cache(const OpenedModel& opened, const Backend& backend, RowFormat format, const ModelOptions& options) {
  const Config& c = opened.config;
  if (options.context > c.n_context) {
    return Error::usage(fmt::format("a context of {} tokens was asked for; this model's is {}", options.context, c.n_context));
  }
  const auto left = memory_beside_weights(weight_memory(opened.checkpoint->tensors, opened.checkpoint->memory == nullptr, backend), memory_budget());
  if (!left.ok()) return left.error().in(opened.path.string());
  int64_t wanted = c.n_context;
  if (options.many_sequences) wanted = std::max(wanted, kConversations * std::min(c.n_context, kConversationTokens));
  return choose_cache_pages(std::max(options.context, options.cache_tokens), wanted,
                            c.n_layers * c.row_layout(format).row_bytes() * kPageRows, *left);
}

}  // namespace

Result<std::unique_ptr<Backend>> make_backend(const ModelOptions& options, std::string& name) {
  if (options.backend == "reference") {
    name = "reference (1 thread)";
    return make_reference_backend();
  }
  CpuOptions cpu;
  cpu.n_threads = options.threads > 0 ? options.threads : default_thread_count();
  MLA_ASSIGN(cpu.isa, choose_isa(options.isa));
  cpu.activations = options.activations == 8 ? Activations::k8Bit : Activations::k16Bit;
  name = fmt::format("cpu ({}, {} thread{}{})", isa_name(cpu.isa), cpu.n_threads, cpu.n_threads == 1 ? "" : "s",
                     options.activations == 8 ? ", 8-bit activations" : "");
  return make_cpu_backend(cpu);
}

void add_model_option(CLI::App& app, ModelOptions& options) {
  app.add_option("-m,--model", options.model, "Model: a GGUF file or a Hugging Face folder (default: the model that ships)")
      ->check(not_empty())->type_name("FILE|FOLDER");
}

CLI::Option* add_activations_option(CLI::App& app, ModelOptions& options) {
  return app
      .add_option("--activations", options.activations,
                  "Bits of activations in products with quantised weights; with 8, prompts are read faster and numbers are less exact")
      ->check(CLI::IsMember({16, 8}))->capture_default_str();
}

void add_machine_options(CLI::App& app, ModelOptions& options) {
  app.add_option("--threads", options.threads, "Threads (default: every processor)")
      ->transform(whole_number(0, 1024))->group("Machine");
  app.add_option("--backend", options.backend, "cpu, or the plain reference")
      ->check(CLI::IsMember({"cpu", "reference"}))->capture_default_str()->group("Machine");
  add_activations_option(app, options)->group("Machine");
  app.add_option("--mla", options.mla, "Form of MLA attention: chosen by cost, or forced")
      ->check(CLI::IsMember({"auto", "expanded", "absorbed"}))->capture_default_str()->group("Machine");
  app.add_option("--cache", options.cache, "Element format of cached rows")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int6", "int4"}))->capture_default_str()->group("Machine");
}

Result<fs::path> model_path(const ModelOptions& options) {
  const fs::path path = options.model.empty() ? default_model() : fs::path(options.model);
  std::error_code error;
  if (fs::exists(path, error)) return path;
  if (options.model.empty()) {
    return Error::invalid_file(fmt::format("the default model is not at {}; name one with --model FILE|FOLDER", path.string()));
  }
  return Error::invalid_file(fmt::format("{}: no such file or folder (--model takes a GGUF file or a Hugging Face folder)",
                                         path.string()));
}

Result<OpenedModel> open_model(const ModelOptions& options, bool vocabulary_only) {
  OpenedModel opened;
  MLA_ASSIGN(opened.path, model_path(options));
  MLA_ASSIGN(opened.checkpoint, open_checkpoint(opened.path, vocabulary_only));
  MLA_ASSIGN(opened.config, read_config(*opened.checkpoint));
  return opened;
}

Result<LoadedModel> load_model(const OpenedModel& opened, const ModelOptions& options,
                               const std::function<void(const LoadProgress&)>& observe) {
  LoadedModel loaded;
  MLA_ASSIGN(loaded.backend, make_backend(options, loaded.backend_name));
  if (options.profile) {
    auto profiler = std::make_unique<ProfilingBackend>(std::move(loaded.backend));
    loaded.profiler = profiler.get();
    loaded.backend = std::move(profiler);
  }
  MLA_ASSIGN(const RowFormat format, row_format_from_name(options.cache));
  MLA_ASSIGN(const int64_t pages, plan_cache(opened, *loaded.backend, format, options));
  loaded.cache_tokens = pages * kPageRows;
  const Config& c = opened.config;
  note(fmt::format("{}: {} weights, cache {}/token ({}), up to {} tokens, {}", c.architecture,
                   human_bytes(static_cast<double>(opened.checkpoint->tensor_bytes())),
                   human_bytes(static_cast<double>(c.n_layers * c.row_layout(format).row_bytes())), options.cache,
                   grouped(std::min(loaded.cache_tokens, c.n_context)), loaded.backend_name));
  Progress progress("loading", "B");
  MLA_ASSIGN(loaded.model, Model::load(opened.checkpoint, *loaded.backend, [&](const LoadProgress& p) {
    progress.update(static_cast<double>(p.bytes_done), static_cast<double>(p.bytes_total));
    if (observe) observe(p);
  }));
  return loaded;
}

Result<std::unique_ptr<Engine>> make_engine(const LoadedModel& loaded, const ModelOptions& options, int64_t chunk) {
  EngineOptions engine;
  MLA_ASSIGN(engine.cache_format, row_format_from_name(options.cache));
  MLA_ASSIGN(engine.mla_form, mla_form_from_name(options.mla));
  engine.max_tokens = loaded.cache_tokens;
  if (chunk > 0) engine.chunk = chunk;
  return Engine::create(loaded.model, engine);
}

}  // namespace mla::cli
