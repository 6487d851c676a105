#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/checkpoint.h"
#include "model/common/weights.h"
#include "model/model.h"
#include "model/tensor_convert.h"
#include "model/tensor_names.h"

namespace mla {

/// How often a weight is read: what one token's bytes count.
enum class WeightUse {
  kEveryToken,
  kLookup,   ///< one row for each token: embedding tables that are not the head too
  kExperts,  ///< the chosen experts' share
};

/// What the packed weights leave behind.
struct BoundWeights {
  std::vector<std::shared_ptr<std::byte[]>>
      storage;  ///< bytes of converted tensors; must outlive the weights
  int64_t everytoken_bytes = 0, expert_bytes = 0, lookup_bytes = 0;
  int64_t n_parameters = 0;
};

/// Connects a decoder's weights to a checkpoint's tensors, in two steps. First the decoder declares all it
/// needs: every tensor is looked up under the format's name and its type and shape are checked. Then
/// pack_all() reports all faults in one error, or brings everything into the backend. A tensor inside the
/// layers that nobody has asked for is a fault too: it would change what the model computes. The Weight
/// variables given must stay where they are in between.
class Binder {
 public:
  Binder(const Checkpoint& checkpoint, NameTable names);

  // -- declaring (`layer` is ignored by names without one) -------------------------------------------------
  void vector(Weight& out, Role role, int64_t layer, int64_t n);
  void matrix(Weight& out, Role role, int64_t layer, int64_t n_out, int64_t n_in,
              WeightUse use = WeightUse::kEveryToken);
  void linear(Linear& out, Role role, int64_t layer, int64_t n_out, int64_t n_in, bool bias = false);
  void layer_norm(LayerNorm& out, Role role, int64_t layer, int64_t n);
  void bias(Weight& out, Role role, int64_t layer, int64_t n);
  /// The embedding table [n_vocab, d_model] and the head of the same shape; one weight for both when tied.
  void embedding_and_head(Weight& embedding, Weight& head, int64_t n_vocab, int64_t d_model, bool tied);

  // -- for tensors that formats lay out differently --------------------------------------------------------
  CheckpointFormat format() const { return checkpoint_.format; }
  /// The name the file uses; empty when the format has none for the role.
  std::string name(Role role, int64_t layer, int64_t expert = 0) const;
  /// Null when the file has no such tensor.
  const TensorView* find(Role role, int64_t layer, int64_t expert = 0);
  /// Whether it has this shape and a weight's type; else records the fault.
  bool fits(const TensorView& view, const std::vector<int64_t>& shape);
  /// The tensor if it is there and fits; else records the fault and gives null.
  const TensorView* require(Role role, int64_t layer, const std::vector<int64_t>& shape);
  /// A tensor that may be there though nobody needs it.
  void allow(Role role, int64_t layer) { find(role, layer); }
  void fault(std::string what) { faults_.push_back(std::move(what)); }

  void pack(Weight& out, const TensorView& view, WeightUse use = WeightUse::kEveryToken);
  void pack_stack(Weight& out, std::vector<TensorView> matrices, WeightUse use = WeightUse::kEveryToken);
  /// Packs a tensor that `convert` makes when its turn comes; `source_bytes` counts for the progress.
  void pack_converted(Weight& out, std::function<OwnedTensor()> convert, int64_t source_bytes);

  // -- packing ----------------------------------------------------------------------------------------------
  /// `progress` is called on the calling thread.
  Result<BoundWeights> pack_all(Backend& backend, const std::function<void(const LoadProgress&)>& progress);

 private:
  struct Job {
    Weight* out;
    std::vector<TensorView> views;
    bool stack = false;
    std::function<OwnedTensor()> convert = {};
    WeightUse use = WeightUse::kEveryToken;
    int64_t bytes = 0;
  };
  using Progress = std::function<void(const LoadProgress&)>;

  std::string resolve(std::string name) const;
  const TensorView* find_named(const std::string& name);
  const TensorView* require_named(const std::string& name, const std::vector<int64_t>& shape);
  void report_strays();
  void convert_all(int n_threads, LoadProgress& state, const Progress& progress, BoundWeights& bound);

  const Checkpoint& checkpoint_;
  NameTable names_;
  std::string add_prefix_, strip_prefix_;
  std::vector<Job> jobs_;
  std::vector<std::pair<Weight*, Weight*>> shared_;  ///< (copy, original)
  std::vector<std::string> faults_;
  std::unordered_set<const TensorView*> known_;  ///< all that were looked up
  int64_t n_layers_ = 0;                         ///< one more than the last layer asked for
};

}  // namespace mla
