#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "cache/page_pool.h"
#include "io/checkpoint.h"
#include "model/config.h"
#include "ops/backend.h"
#include "text/tokenizer.h"

namespace mla {

/// What one forward needs besides the weights.
struct ForwardContext {
  Backend& backend;
  const Batch& batch;
  const PagePool& cache;
  MlaForm mla_form = MlaForm::kAuto;
};

/// What a forward was asked for, in the backend's scratch memory.
struct Outputs {
  Activation logits;  ///< [batch.logit_rows.size(), n_vocab]
  Activation hidden;  ///< [batch.hidden_rows.size(), d_model]: after the final norm (transformers' last_hidden_state)
};

/// An architecture's layers with their weights bound: the one page that is the model. One subclass per folder
/// of src/model.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Runs all tokens of the batch through all layers, storing their rows in the cache.
  virtual Outputs forward(const ForwardContext& context) const = 0;
};

struct LoadProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

/// A checkpoint ready to run on a backend.
class Model {
 public:
  /// Reads the configuration, checks it and every tensor's shape against it (all faults in one error), packs
  /// the weights. `progress` is called on the calling thread. The backend must outlive the model. Errors:
  /// kInvalidFile, kResource.
  static Result<std::shared_ptr<const Model>> load(
      const std::filesystem::path& path, Backend& backend,
      const std::function<void(const LoadProgress&)>& progress = {});
  /// The same of a checkpoint that is open already, or that was made in memory (make_synth_checkpoint()).
  static Result<std::shared_ptr<const Model>> load(
      std::shared_ptr<Checkpoint> checkpoint, Backend& backend,
      const std::function<void(const LoadProgress&)>& progress = {});
  /// A model of parts made elsewhere: a decoder with synthetic weights, or a test double. It has no checkpoint.
  static std::shared_ptr<const Model> from_parts(Config config, std::unique_ptr<Decoder> decoder, Backend& backend,
                                                 std::shared_ptr<const Tokenizer> tokenizer = nullptr);
  ~Model();

  const Config& config() const { return config_; }
  bool has_checkpoint() const { return checkpoint_ != nullptr; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  /// Null when the checkpoint has no tokenizer.
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  Backend& backend() const { return *backend_; }
  const Decoder& decoder() const { return *decoder_; }

  /// Bytes of weights read for one token (active experts only): the numerator of bandwidth figures.
  int64_t active_weight_bytes() const { return active_weight_bytes_; }
  int64_t total_weight_bytes() const { return total_weight_bytes_; }
  int64_t n_parameters() const { return n_parameters_; }

 private:
  Model() = default;
  Config config_;
  std::shared_ptr<Checkpoint> checkpoint_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Backend* backend_ = nullptr;
  std::vector<std::shared_ptr<std::byte[]>>
      converted_;  ///< bytes of weights that no file holds as they are needed
  std::unique_ptr<Decoder> decoder_;
  int64_t active_weight_bytes_ = 0;
  int64_t total_weight_bytes_ = 0;
  int64_t n_parameters_ = 0;
};

/// The configuration of an opened checkpoint, from config.json or GGUF metadata. Errors: kInvalidFile.
Result<Config> read_config(const Checkpoint& checkpoint);

/// The tokenizer of an opened checkpoint; null when it has none. Errors: kInvalidFile.
Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const Checkpoint& checkpoint);

}  // namespace mla
