// Speed of the CPU backend's kernels on one thread: GB/s of weights for few tokens, FLOP/s for many,
// attention per form.
//
//     cmake --preset release && ninja -C build/release bench_kernels && build/release/bin/bench_kernels
//
// Figures use the thread's own processor time, so a busy machine disturbs them little; memory bandwidth is
// shared all the same. MLA_ISA chooses the instruction set.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/float16.h"
#include "cpu/cpu_backend.h"
#include "grammar/json_schema.h"
#include "grammar/token_constraint.h"
#include "ops/backend.h"

namespace mla {
namespace {

std::unique_ptr<Backend> make_backend() {
  Result<Isa> isa = choose_isa();
  if (!isa.ok()) throw std::runtime_error(isa.error().message);
  Result<std::unique_ptr<Backend>> backend = make_cpu_backend({.n_threads = 1, .isa = *isa});
  if (!backend.ok()) throw std::runtime_error(backend.error().message);
  return std::move(backend).value();
}

std::vector<float> random_floats(int64_t n) {
  std::mt19937 engine(1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = static_cast<float>(engine() % 2001) / 1000.0F - 1.0F;
  return values;
}

/// Matrices of random blocks: enough of them that they come from memory, or one that stays in the cache.
class Weights {
 public:
  Weights(Backend& backend, DType dtype, std::vector<int64_t> shape, int64_t total_bytes) {
    TensorView view{.name = "weight", .dtype = dtype, .shape = std::move(shape)};
    const int64_t n = std::max<int64_t>(1, total_bytes / view.n_bytes());
    bytes_.resize(static_cast<size_t>(n * view.n_bytes()));
    std::mt19937 engine(2);
    for (std::byte& b : bytes_)
      b = static_cast<std::byte>(engine() % 0x3c);  // small and finite whatever the type
    for (int64_t i = 0; i < n; ++i) {
      view.data = bytes_.data() + i * view.n_bytes();
      packed_.push_back(backend.pack(view).value());
    }
  }
  const Weight& next() { return packed_[at_++ % packed_.size()]; }

 private:
  std::vector<std::byte> bytes_;
  std::vector<Weight> packed_;
  size_t at_ = 0;
};

void linear(benchmark::State& state, DType dtype, int64_t n_tokens, int64_t total_bytes) {
  constexpr int64_t kIn = 2048, kOut = 2048;
  const auto backend = make_backend();
  Weights weights(*backend, dtype, {kOut, kIn}, total_bytes);
  std::vector<float> x = random_floats(n_tokens * kIn), y(static_cast<size_t>(n_tokens * kOut));
  for (auto _ : state) {
    backend->linear({x.data(), n_tokens, kIn, kIn}, *weights.next(), nullptr,
                    {y.data(), n_tokens, kOut, kOut});
    benchmark::DoNotOptimize(y.data());
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["weight_B/s"] =
      benchmark::Counter(runs * static_cast<double>(weights.next()->file_bytes), benchmark::Counter::kIsRate);
  state.counters["FLOP/s"] = benchmark::Counter(runs * 2.0 * kIn * kOut * static_cast<double>(n_tokens),
                                                benchmark::Counter::kIsRate);
}

/// DeepSeek-V2-Lite's attention: n_new tokens of one sequence over n_past rows.
void mla(benchmark::State& state, MlaForm form, RowFormat format, int64_t n_past, int64_t n_new) {
  const MlaSpec spec{.n_heads = 16, .kv_rank = 512, .d_nope = 128, .d_rope = 64, .d_v = 128, .scale = 0.1F};
  const auto backend = make_backend();
  const RowLayout layout = RowLayout::mla(format, spec.kv_rank, spec.d_rope);
  const int64_t n_rows = n_past + n_new, n_pages = (n_rows + kPageRows - 1) / kPageRows;
  const auto memory = backend->allocate_pages(n_pages * kPageRows * layout.row_bytes()).value();
  const LayerRows cache{&layout, memory.get(), kPageRows * layout.row_bytes()};
  std::vector<PageId> pages(static_cast<size_t>(n_pages));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<PageId>(i);
  std::vector<float> rows = random_floats(n_rows * layout.width());
  const std::vector<int32_t> all(static_cast<size_t>(n_rows)), some(static_cast<size_t>(n_new));
  const SequenceSlice whole{0, n_rows, 0, pages}, slice{0, n_new, n_past, pages};
  backend->store_rows({all, all, {&whole, 1}, {}}, {rows.data(), n_rows, layout.width(), layout.width()},
                      cache);
  Weights k_up(*backend, DType::kQ8_0, {spec.n_heads, spec.kv_rank, spec.d_nope}, 0);
  Weights v_up(*backend, DType::kQ8_0, {spec.n_heads, spec.d_v, spec.kv_rank}, 0);
  const MlaProjections projections{k_up.next(), v_up.next()};
  const int64_t q_cols = spec.n_heads * (spec.d_nope + spec.d_rope), out_cols = spec.n_heads * spec.d_v;
  std::vector<float> q = random_floats(n_new * q_cols), out(static_cast<size_t>(n_new * out_cols));
  for (auto _ : state) {
    backend->mla_attention({some, some, {&slice, 1}, {}}, {q.data(), n_new, q_cols, q_cols}, cache, spec,
                           projections, form, {out.data(), n_new, out_cols, out_cols});
  }
  const int64_t pairs = n_new * n_past + n_new * (n_new + 1) / 2;
  const MlaCost cost = mla_cost(spec, n_new, n_rows, pairs);
  const double flops = form == MlaForm::kExpanded ? cost.expanded : cost.absorbed;
  state.counters["FLOP/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * flops, benchmark::Counter::kIsRate);
}

void experts(benchmark::State& state, int64_t n_tokens) {
  constexpr int64_t kExperts = 64, kUsed = 6, kModel = 2048, kExpert = 1408;
  const auto backend = make_backend();
  Weights up(*backend, DType::kQ4_0, {kExperts, kExpert, kModel}, 0),
      down(*backend, DType::kQ4_0, {kExperts, kModel, kExpert}, 0);
  const ExpertWeights weights{up.next(), up.next(), down.next()};
  std::vector<float> x = random_floats(n_tokens * kModel), y(static_cast<size_t>(n_tokens * kModel));
  Routing routing = backend->scratch_routing(n_tokens, kUsed);
  std::mt19937 engine(3);
  int64_t runs = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < n_tokens * kUsed; ++i) {
      routing.experts[i] =
          static_cast<int32_t>((engine() % 10 + static_cast<uint32_t>(i % kUsed) * 10) % kExperts);
      routing.weights[i] = 0.1F;
    }
    backend->experts({x.data(), n_tokens, kModel, kModel}, routing, weights,
                     {y.data(), n_tokens, kModel, kModel});
    ++runs;
  }
  const double pairs = static_cast<double>(runs * n_tokens * kUsed);
  state.counters["FLOP/s"] = benchmark::Counter(pairs * 6.0 * kModel * kExpert, benchmark::Counter::kIsRate);
  state.counters["pair_B/s"] =
      benchmark::Counter(pairs * 3.0 * kModel * kExpert * 18 / 32, benchmark::Counter::kIsRate);
}

void register_all() {
  constexpr int64_t kMemory = 200 << 20;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!is_weight_dtype(dtype)) continue;
    const std::string name = "linear/" + std::string(dtype_info(dtype).name);
    benchmark::RegisterBenchmark((name + "/tokens:1/cached").c_str(), linear, dtype, 1, 0);
    for (int64_t n_tokens : {1, 2, 3, 4, 8, 16, 32})
      benchmark::RegisterBenchmark((name + "/tokens:" + std::to_string(n_tokens)).c_str(), linear, dtype, n_tokens, kMemory);
    benchmark::RegisterBenchmark((name + "/tokens:256").c_str(), linear, dtype, 256, 0);
  }
  for (int64_t n_tokens : {1, 8, 512})
    benchmark::RegisterBenchmark(("experts/Q4_0/tokens:" + std::to_string(n_tokens)).c_str(), experts,
                                 n_tokens);
  for (RowFormat format : {RowFormat::kBF16, RowFormat::kInt8}) {
    const std::string name = "mla/" + std::string(row_format_name(format));
    benchmark::RegisterBenchmark((name + "/absorbed/past:4096/new:1").c_str(), mla, MlaForm::kAbsorbed,
                                 format, 4096, 1);
    benchmark::RegisterBenchmark((name + "/absorbed/past:4096/new:8").c_str(), mla, MlaForm::kAbsorbed,
                                 format, 4096, 8);
    benchmark::RegisterBenchmark((name + "/expanded/past:0/new:512").c_str(), mla, MlaForm::kExpanded, format,
                                 0, 512);
    benchmark::RegisterBenchmark((name + "/expanded/past:4096/new:512").c_str(), mla, MlaForm::kExpanded,
                                 format, 4096, 512);
  }
}

/// 128,000 made-up words, with and without a space in front, some with what JSON puts behind a string.
std::shared_ptr<const TokenIndex> vocabulary() {
  std::vector<TokenText> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({std::string(1, static_cast<char>(byte)), false});
  std::mt19937 random(1);
  const std::string letters = "etaoinshrdlcumwfgypbvk";
  while (tokens.size() < 128'000) {
    std::string word = random() % 2 == 0 ? " " : "";
    for (size_t n = 1 + random() % 9; n > 0; --n) word += letters[random() % letters.size()];
    if (random() % 40 == 0) word += random() % 2 == 0 ? "\":" : "\",";
    tokens.push_back({word, false});
  }
  return std::make_shared<const TokenIndex>(std::move(tokens));
}

/// The tokens that may follow a text of the schema, over a large vocabulary.
void token_mask(benchmark::State& state, const std::string& schema, const std::string& text) {
  static const std::shared_ptr<const TokenIndex> tokens = vocabulary();
  const auto grammar = compile_json_schema(nlohmann::ordered_json::parse(schema));
  if (!grammar.ok()) return state.SkipWithError(grammar.error().message.c_str());
  TokenConstraint constraint({.documents = {{.grammar = *grammar}}, .tokens = tokens});
  for (const char c : text) constraint.accept(static_cast<unsigned char>(c));
  TokenSet allowed;
  for (auto _ : state) constraint.allow(allowed);
}

void register_token_masks() {
  const std::string person = R"({"properties": {"name": {"type": "string"}, "short": {"type": "string", "maxLength": 12}, "n": {"type": "number"}}})";
  for (const char* text : {"", "{\"na", "{\"name\":\"A b", "{\"name\":\"A \\", "{\"short\":\"A b", "{\"n\":1"})
    benchmark::RegisterBenchmark((std::string("token_mask/person/") + text).c_str(), token_mask, person, text);
  // As many objects as are followed side by side, told apart by their last property only.
  nlohmann::ordered_json alike;
  for (size_t i = 0; i < JsonMatcher::kMaxReadings; ++i)
    alike["anyOf"].push_back({{"properties", {{"a", {{"type", "string"}}}, {"b" + std::to_string(i), {{"type", "string"}}}}}, {"required", {"a"}}});
  for (const char* text : {"{\"a\":", "{\"a\":\"A b", "{\"a\":\"A \\"})
    benchmark::RegisterBenchmark((std::string("token_mask/alike/") + text).c_str(), token_mask, alike.dump(), text);
}

}  // namespace
}  // namespace mla

int main(int argc, char** argv) {
  mla::register_all();
  mla::register_token_masks();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
