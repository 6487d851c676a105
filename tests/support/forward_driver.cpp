#include "support/forward_driver.h"

#include <algorithm>
#include <cctype>
#include <ostream>
#include <set>
#include <stdexcept>

#include "model/registry.h"
#include "support/paths.h"

namespace mla::test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPages = 32;

template <typename T>
T value_or_throw(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

}  // namespace

Result<BoundModel> bind_model(std::shared_ptr<const Checkpoint> checkpoint, Backend& backend) {
  BoundModel model;
  model.checkpoint = std::move(checkpoint);
  model.backend = &backend;
  MLA_ASSIGN(model.config, read_config(*model.checkpoint));
  const Architecture* architecture = find_architecture(model.config.architecture);
  Binder binder(*model.checkpoint, architecture->tensor_names());
  model.decoder = architecture->make(model.config, binder);
  MLA_ASSIGN(model.weights, binder.pack_all(backend, {}));
  return model;
}

BoundModel open_and_bind(const fs::path& path, Backend& backend) {
  return value_or_throw(bind_model(value_or_throw(open_checkpoint(path)), backend));
}

ForwardDriver::ForwardDriver(const Config& config, const Decoder& decoder, Backend& backend,
                             DriverOptions options)
    : config_(config), decoder_(decoder), backend_(backend), options_(options) {
  pool_ =
      value_or_throw(PagePool::create(backend, config.row_layout(options.cache), config.n_layers, kPages));
  for (PageId page = pool_->acquire(); page >= 0; page = pool_->acquire()) spare_.push_back(page);
}

PageId ForwardDriver::take_page() {
  if (spare_.empty()) throw std::runtime_error("the driver's page pool is too small for this test");
  const auto taken = spare_.begin() + static_cast<int64_t>(spare_.size() * 5 / 8);
  const PageId page = *taken;
  spare_.erase(taken);
  return page;
}

std::vector<float> ForwardDriver::step(const std::vector<Part>& parts) {
  std::vector<int32_t> all;
  for (const Part& part : parts) {
    for (size_t i = 0; i < part.ids.size(); ++i) all.push_back(static_cast<int32_t>(all.size()));
  }
  return step(parts, all);
}

std::vector<float> ForwardDriver::step(const std::vector<Part>& parts,
                                       const std::vector<int32_t>& logit_rows) {
  std::vector<int32_t> ids, positions;
  std::vector<SequenceSlice> slices;
  for (const Part& part : parts) {
    if (part.sequence >= static_cast<int64_t>(sequences_.size()))
      sequences_.resize(static_cast<size_t>(part.sequence) + 1);
  }
  for (const Part& part : parts) {
    Sequence& s = sequences_[static_cast<size_t>(part.sequence)];
    const auto n_new = static_cast<int64_t>(part.ids.size());
    while (static_cast<int64_t>(s.pages.size()) < pages_for(s.n_past + n_new)) s.pages.push_back(take_page());
    slices.push_back({.first_token = static_cast<int64_t>(ids.size()),
                      .n_new = n_new,
                      .n_past = s.n_past,
                      .pages = s.pages});
    for (int64_t i = 0; i < n_new; ++i) positions.push_back(static_cast<int32_t>(s.n_past + i));
    ids.insert(ids.end(), part.ids.begin(), part.ids.end());
    s.n_past += n_new;
  }
  const Batch batch{.ids = ids, .positions = positions, .sequences = slices, .logit_rows = logit_rows};
  const Activation logits =
      decoder_.forward({.backend = backend_, .batch = batch, .cache = *pool_, .mla_form = options_.form}).logits;
  if (logits.n_rows != static_cast<int64_t>(logit_rows.size()))
    throw std::runtime_error("a row of logits for each one asked for");
  std::vector<float> out(static_cast<size_t>(logits.n_rows * config_.n_vocab));
  if (!out.empty()) backend_.download(logits, out.data());
  backend_.release_scratch();
  return out;
}

std::vector<float> logits_of(const BoundModel& model, std::span<const int32_t> ids, DriverOptions options,
                             int64_t chunk) {
  ForwardDriver driver(model, options);
  std::vector<float> all;
  const size_t step = chunk > 0 ? static_cast<size_t>(chunk) : ids.size();
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    const auto part = ids.subspan(begin, std::min(step, ids.size() - begin));
    const std::vector<float> logits = driver.step({{0, {part.begin(), part.end()}}});
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

std::vector<GoldenCase> golden_cases(bool with_long) {
  std::vector<GoldenCase> cases;
  std::set<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(golden("models"))) folders.insert(entry.path());
  for (const fs::path& folder : folders) {
    if (!fs::exists(folder / "golden.safetensors")) continue;
    std::set<fs::path> checkpoints;
    if (fs::exists(folder / "config.json")) checkpoints.insert(folder);
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      const bool later_shard =
          name.find("-of-") != std::string::npos && name.find("-00001-of-") == std::string::npos;
      if (entry.path().extension() == ".gguf" && !later_shard) checkpoints.insert(entry.path());
    }
    for (const char* file : {"golden.safetensors", "golden-long.safetensors"}) {
      if (!fs::exists(folder / file) || (!with_long && std::string(file) == "golden-long.safetensors"))
        continue;
      for (const fs::path& checkpoint : checkpoints) {
        const std::string suffix = std::string(file) == "golden.safetensors" ? "" : " long";
        cases.push_back({.name = fs::relative(checkpoint, folder.parent_path()).string() + suffix,
                         .golden = "models/" + folder.filename().string() + "/" + file,
                         .checkpoint = checkpoint});
      }
    }
  }
  return cases;
}

std::vector<GoldenCase> mla_golden_cases() {
  std::vector<GoldenCase> cases = golden_cases();
  std::erase_if(cases, [](const GoldenCase& c) {
    return !c.name.starts_with("deepseek") && !c.name.starts_with("kimi");
  });
  return cases;
}

void PrintTo(const GoldenCase& c, std::ostream* out) {
  *out << c.name;
}

std::string test_name(const GoldenCase& c) {
  std::string name = c.name;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char ch) { return std::isalnum(ch) == 0; }, '_');
  return name;
}

}  // namespace mla::test
