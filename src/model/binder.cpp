#include "model/binder.h"

#include <fmt/format.h>

#include "model/field_reader.h"

namespace mla {
namespace {

int64_t sum_bytes(const std::vector<TensorView>& views) {
  int64_t bytes = 0;
  for (const TensorView& v : views) bytes += v.n_bytes();
  return bytes;
}

}  // namespace

std::string weight_fault(const TensorView& view) {
  if (!is_weight_dtype(view.dtype)) {
    return fmt::format("{}: element type {} holds no weights", view.name, dtype_info(view.dtype).name);
  }
  if (view.dtype == DType::kF8E4M3 && view.block_scale == nullptr) {
    return fmt::format("{}: FP8 without its scales ({}_scale_inv)", view.name, view.name);
  }
  return {};
}

/// Hugging Face checkpoints of the bare decoder leave its prefix out ("wte.weight" for
/// "transformer.wte.weight"), those of a vision-language model add one; the embedding table shows which it
/// is.
Binder::Binder(const Checkpoint& checkpoint, NameTable names) : checkpoint_(checkpoint), names_(names) {
  if (checkpoint.format != CheckpointFormat::kHuggingFace) return;
  const std::string_view embedding = tensor_name(names, Role::kEmbedding).hugging_face;
  const size_t dot = embedding.find('.') + 1;
  if (checkpoint.find(embedding) != nullptr) return;
  if (checkpoint.find("language_model." + std::string(embedding)) != nullptr) add_prefix_ = "language_model.";
  if (checkpoint.find(embedding.substr(dot)) != nullptr) strip_prefix_ = embedding.substr(0, dot);
}

std::string Binder::resolve(std::string name) const {
  if (!strip_prefix_.empty() && name.starts_with(strip_prefix_)) name.erase(0, strip_prefix_.size());
  return add_prefix_ + name;
}

std::string Binder::name(Role role, int64_t layer, int64_t expert) const {
  const TensorName& row = tensor_name(names_, role);
  const std::string_view pattern = format() == CheckpointFormat::kGguf ? row.gguf : row.hugging_face;
  return pattern.empty() ? std::string() : resolve(numbered(pattern, layer, expert));
}

const TensorView* Binder::find(Role role, int64_t layer, int64_t expert) const {
  const std::string full = name(role, layer, expert);
  return full.empty() ? nullptr : checkpoint_.find(full);
}

const TensorView* Binder::require_named(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorView* view = checkpoint_.find(name);
  if (view == nullptr) {
    fault(fmt::format("{}: missing, expected {}", name, shape_string(shape)));
    return nullptr;
  }
  if (view->shape != shape) {
    fault(fmt::format("{}: shape {}, expected {}", name, shape_string(view->shape), shape_string(shape)));
    return nullptr;
  }
  if (std::string wrong = weight_fault(*view); !wrong.empty()) {
    fault(std::move(wrong));
    return nullptr;
  }
  return view;
}

const TensorView* Binder::require(Role role, int64_t layer, std::vector<int64_t> shape) {
  return require_named(name(role, layer), shape);
}

void Binder::vector(Weight& out, Role role, int64_t layer, int64_t n) {
  if (const TensorView* view = require(role, layer, {n})) pack(out, *view);
}

void Binder::matrix(Weight& out, Role role, int64_t layer, int64_t n_out, int64_t n_in, WeightUse use) {
  if (const TensorView* view = require(role, layer, {n_out, n_in})) pack(out, *view, use);
}

void Binder::bias(Weight& out, Role role, int64_t layer, int64_t n) {
  constexpr std::string_view kWeight = "weight";
  std::string full = name(role, layer);
  full.replace(full.size() - kWeight.size(), kWeight.size(), "bias");
  if (const TensorView* view = require_named(full, {n})) pack(out, *view);
}

void Binder::linear(Linear& out, Role role, int64_t layer, int64_t n_out, int64_t n_in, bool with_bias) {
  matrix(out.weight, role, layer, n_out, n_in);
  if (with_bias) bias(out.bias, role, layer, n_out);
}

void Binder::layer_norm(LayerNorm& out, Role role, int64_t layer, int64_t n) {
  vector(out.weight, role, layer, n);
  bias(out.bias, role, layer, n);
}

void Binder::embedding_and_head(Weight& embedding, Weight& head, int64_t n_vocab, int64_t d_model,
                                bool tied) {
  matrix(embedding, Role::kEmbedding, 0, n_vocab, d_model,
         tied ? WeightUse::kEveryToken : WeightUse::kLookup);
  if (tied) {
    shared_.emplace_back(&head, &embedding);
  } else {
    matrix(head, Role::kHead, 0, n_vocab, d_model);
  }
}

void Binder::pack(Weight& out, const TensorView& view, WeightUse use) {
  jobs_.push_back({.out = &out, .views = {view}, .use = use, .bytes = view.n_bytes()});
}

void Binder::pack_stack(Weight& out, std::vector<TensorView> matrices, WeightUse use) {
  const int64_t bytes = sum_bytes(matrices);
  jobs_.push_back({.out = &out, .views = std::move(matrices), .stack = true, .use = use, .bytes = bytes});
}

void Binder::pack_converted(Weight& out, std::function<OwnedTensor()> convert, int64_t source_bytes) {
  jobs_.push_back({.out = &out, .convert = std::move(convert), .bytes = source_bytes});
}

Result<Weight> Binder::run(Job& job, Backend& backend, BoundWeights& bound) {
  if (job.convert) {
    OwnedTensor owned = job.convert();
    bound.storage.push_back(owned.bytes);
    job.views = {owned.view};
  }
  for (const TensorView& v : job.views) bound.n_parameters += v.n_elements();
  return job.stack ? backend.pack_stack(job.views) : backend.pack(job.views.front());
}

Result<BoundWeights> Binder::pack_all(Backend& backend,
                                      const std::function<void(const LoadProgress&)>& progress) {
  if (!faults_.empty()) {
    return Error::invalid_file(list_faults(
        fmt::format("{}: {} tensors do not fit the configuration", checkpoint_.path.string(), faults_.size()),
        faults_));
  }
  LoadProgress state;
  for (const Job& job : jobs_) state.bytes_total += static_cast<uint64_t>(job.bytes);
  BoundWeights bound;
  for (Job& job : jobs_) {
    MLA_ASSIGN(*job.out, run(job, backend, bound));
    int64_t& sum = job.use == WeightUse::kExperts  ? bound.expert_bytes
                   : job.use == WeightUse::kLookup ? bound.lookup_bytes
                                                   : bound.everytoken_bytes;
    sum += (*job.out)->file_bytes;
    state.bytes_done += static_cast<uint64_t>(job.bytes);
    if (progress) progress(state);
  }
  for (const auto& [copy, original] : shared_) *copy = *original;
  return bound;
}

}  // namespace mla
