#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "model/model.h"
#include "ops/backend.h"
#include "ops/profiling_backend.h"

namespace mla::cli {

/// Which model to run and how: the flags that every subcommand with a model shares.
struct ModelOptions {
  std::string model;              ///< file or folder; empty = the model that ships
  int threads = 0;                ///< 0 = every processor this process may use
  std::string backend = "cpu";    ///< cpu | reference
  std::string isa;                ///< empty = MLA_ISA, or the best
  int activations = 16;           ///< bits of activations in products with block-quantised weights: 16 | 8
  std::string mla = "auto";       ///< auto | expanded | absorbed
  std::string cache = "bf16";     ///< f32 | bf16 | int8 | int6 | int4
  int64_t context = 0;            ///< cache capacity in tokens; 0 = the model's context, or what fits
  /// Cache capacity of all sequences together, which may exceed the model's context; replaces `context`. 0: as that says
  int64_t cache_tokens = 0;
  bool many_sequences = false;    ///< without cache_tokens: room for many conversations, or what fits
  bool profile = false;           ///< measure every operation
};

/// -m/--model alone (subcommands that read no weights).
void add_model_option(CLI::App& app, ModelOptions& options);
/// --threads, --backend, --activations, --mla, --cache. Defaults shown are the values in `options`.
void add_machine_options(CLI::App& app, ModelOptions& options);
/// --activations alone.
CLI::Option* add_activations_option(CLI::App& app, ModelOptions& options);

/// The file or folder that -m names, or the model that ships. Errors: kInvalidFile when it is not there.
Result<std::filesystem::path> model_path(const ModelOptions& options);

/// A checkpoint whose files are mapped and whose configuration is read; no weight has been touched.
struct OpenedModel {
  std::filesystem::path path;
  std::shared_ptr<Checkpoint> checkpoint;
  Config config;
};

/// Opens what model_path() gives. `vocabulary_only` accepts files without tensors. Errors: kInvalidFile, kResource.
Result<OpenedModel> open_model(const ModelOptions& options, bool vocabulary_only = false);

/// Backend, model and what it took to load them. Members are destroyed in reverse order: the model before its backend.
struct LoadedModel {
  std::unique_ptr<Backend> backend;
  ProfilingBackend* profiler = nullptr;  ///< the backend, when operations are measured
  std::shared_ptr<const Model> model;
  std::string backend_name;   ///< "cpu (avx512, 2 threads)"
  int64_t cache_tokens = 0;   ///< cache capacity that was found to fit beside the weights
};

/// The backend that the options ask for, and its name for people: "cpu (avx512, 2 threads)". Errors: kUsage.
Result<std::unique_ptr<Backend>> make_backend(const ModelOptions& options, std::string& name);

/// Plans the memory, prints the plan on standard error, loads with progress. Errors: kUsage for a context beyond the model's;
/// kResource, before anything is loaded, when weights and cache do not fit (with the numbers and what to change); kInvalidFile.
/// `observe` hears of the progress too, on the calling thread.
Result<LoadedModel> load_model(const OpenedModel& opened, const ModelOptions& options,
                               const std::function<void(const LoadProgress&)>& observe = {});

/// An engine for one sequence at a time with the planned cache; `chunk` = 0 keeps the engine's default.
Result<std::unique_ptr<Engine>> make_engine(const LoadedModel& loaded, const ModelOptions& options, int64_t chunk = 0);

}  // namespace mla::cli
