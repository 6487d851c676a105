#include "model/binder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <new>

#include "base/thread_pool.h"
#include "model/field_reader.h"

namespace mla {
namespace {

int64_t sum_bytes(const std::vector<TensorView>& views) {
  int64_t bytes = 0;
  for (const TensorView& v : views) bytes += v.n_bytes();
  return bytes;
}

/// What training frameworks and converters leave beside the weights: rotary frequencies, GPT-2's causal
/// masks, scales that their FP8 tensors carry already.
bool is_by_product(std::string_view name) {
  constexpr std::array<std::string_view, 5> kEndings = {".inv_freq", ".attn_rot_embd.weight", ".attn.bias",
                                                        ".attn.masked_bias", "_scale_inv"};
  return std::any_of(kEndings.begin(), kEndings.end(), [&](auto ending) { return name.ends_with(ending); });
}

/// Checks one tensor's element type: a weight's type, and block scales where it needs them. Empty when right.
std::string weight_fault(const TensorView& view) {
  if (!is_weight_dtype(view.dtype)) {
    return fmt::format("{}: element type {} holds no weights", view.name, dtype_info(view.dtype).name);
  }
  if (view.dtype == DType::kF8E4M3 && view.block_scale == nullptr) {
    return fmt::format("{}: FP8 without its scales ({}_scale_inv)", view.name, view.name);
  }
  return {};
}

}  // namespace

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

const TensorView* Binder::find_named(const std::string& name) {
  const TensorView* view = checkpoint_.find(name);
  if (view != nullptr) known_.insert(view);
  return view;
}

const TensorView* Binder::find(Role role, int64_t layer, int64_t expert) {
  n_layers_ = std::max(n_layers_, layer + 1);
  const std::string full = name(role, layer, expert);
  return full.empty() ? nullptr : find_named(full);
}

bool Binder::fits(const TensorView& view, const std::vector<int64_t>& shape) {
  std::string wrong = view.shape == shape ? weight_fault(view)
                                          : fmt::format("{}: shape {}, expected {}", view.name,
                                                        shape_string(view.shape), shape_string(shape));
  if (wrong.empty()) return true;
  fault(std::move(wrong));
  return false;
}

const TensorView* Binder::require_named(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorView* view = find_named(name);
  if (view != nullptr) return fits(*view, shape) ? view : nullptr;
  const auto unreadable = checkpoint_.unsupported.find(name);
  if (unreadable != checkpoint_.unsupported.end()) {
    fault(fmt::format("{}: element type {} is not supported", name, unreadable->second));
  } else {
    fault(fmt::format("{}: missing, expected {}", name, shape_string(shape)));
  }
  return nullptr;
}

const TensorView* Binder::require(Role role, int64_t layer, const std::vector<int64_t>& shape) {
  n_layers_ = std::max(n_layers_, layer + 1);
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

/// Faults for the tensors of the layers that nobody knows: a bias that the configuration denies, a norm that
/// this architecture has not. Tensors elsewhere (layers for multi-token prediction, a vision tower) cannot
/// change the result.
void Binder::report_strays() {
  const TensorName& row = tensor_name(names_, Role::kAttentionNorm);
  const std::string_view pattern = format() == CheckpointFormat::kGguf ? row.gguf : row.hugging_face;
  const std::string prefix = resolve(std::string(pattern.substr(0, pattern.find('{'))));  // "blk."
  std::vector<std::string_view> strays;
  for (const auto& [name, position] : checkpoint_.index) {
    if (!name.starts_with(prefix) || known_.contains(&checkpoint_.tensors[position])) continue;
    int64_t layer = -1;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
    if (layer >= 0 && layer < n_layers_ && !is_by_product(name)) strays.push_back(name);
  }
  std::sort(strays.begin(), strays.end());
  for (const std::string_view name : strays)
    fault(fmt::format("{}: not expected in this architecture with this configuration", name));
}

/// Makes the tensors that no file holds as they are needed, on as many threads as the backend has.
void Binder::convert_all(int n_threads, LoadProgress& state, const Progress& progress, BoundWeights& bound) {
  std::vector<Job*> jobs;
  for (Job& job : jobs_) {
    if (job.convert) jobs.push_back(&job);
  }
  if (jobs.empty()) return;
  ThreadPool threads(n_threads);
  const auto batch = static_cast<size_t>(4 * threads.size());  // between two reports of progress
  std::vector<OwnedTensor> made(jobs.size());
  std::atomic<bool> out_of_memory = false;
  for (size_t first = 0; first < jobs.size(); first += batch) {
    const size_t n = std::min(batch, jobs.size() - first);
    threads.parallel_for(static_cast<int64_t>(n), 1, [&](int64_t begin, int64_t end, int) {
      for (size_t i = first + static_cast<size_t>(begin); i < first + static_cast<size_t>(end); ++i) {
        try {
          made[i] = jobs[i]->convert();
        } catch (const std::bad_alloc&) {
          out_of_memory = true;
        }
      }
    });
    if (out_of_memory) throw std::bad_alloc();
    for (size_t i = first; i < first + n; ++i) {
      jobs[i]->views = {made[i].view};
      bound.storage.push_back(std::move(made[i].bytes));
      state.bytes_done += static_cast<uint64_t>(jobs[i]->bytes);
    }
    if (progress) progress(state);
  }
}

Result<BoundWeights> Binder::pack_all(Backend& backend, const Progress& progress) {
  report_strays();
  if (!faults_.empty()) {
    return Error::invalid_file(list_faults(
        fmt::format("{}: {} tensors do not fit the configuration", checkpoint_.path.string(), faults_.size()),
        faults_));
  }
  LoadProgress state;
  for (const Job& job : jobs_) state.bytes_total += static_cast<uint64_t>(job.bytes);
  BoundWeights bound;
  convert_all(backend.n_threads(), state, progress, bound);
  for (Job& job : jobs_) {
    MLA_ASSIGN(*job.out, job.stack ? backend.pack_stack(job.views) : backend.pack(job.views.front()));
    for (const TensorView& v : job.views) bound.n_parameters += v.n_elements();
    int64_t& sum = job.use == WeightUse::kExperts  ? bound.expert_bytes
                   : job.use == WeightUse::kLookup ? bound.lookup_bytes
                                                   : bound.everytoken_bytes;
    sum += (*job.out)->file_bytes;
    if (job.convert) continue;  // counted already
    if ((*job.out)->owned_bytes >= (*job.out)->file_bytes) {
      for (const TensorView& v : job.views) checkpoint_.release(v);
    }
    state.bytes_done += static_cast<uint64_t>(job.bytes);
    if (progress) progress(state);
  }
  for (const auto& [copy, original] : shared_) *copy = *original;
  return bound;
}

}  // namespace mla
