#include "cli/kl_base.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

namespace mla::cli {
namespace {

namespace fs = std::filesystem;
constexpr char kMagic[9] = "MLAKLB01";

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

KlBase::KlBase(fs::path path, int64_t n_vocab)
    : path_(std::move(path)), buffer_(static_cast<size_t>(n_vocab)) {}

KlBase::~KlBase() {
  if (reference_ != nullptr) std::fclose(reference_);
}

Result<std::unique_ptr<KlBase>> KlBase::open(const fs::path& path, int64_t n_vocab) {
  std::error_code ignored;
  std::unique_ptr<KlBase> base(new KlBase(path, n_vocab));
  uint64_t size = static_cast<uint64_t>(n_vocab);
  if (!fs::exists(path, ignored)) {
    MLA_ASSIGN(OutputFile output, OutputFile::create(path));
    base->output_.emplace(std::move(output));
    MLA_TRY(base->output_->write(std::as_bytes(std::span(kMagic, 8))));
    MLA_TRY(base->output_->write(bytes_of(size)));
    return base;
  }
  base->reference_ = std::fopen(path.c_str(), "rb");
  if (base->reference_ == nullptr) return Error::resource(fmt::format("{}: cannot read: {}", path.string(), std::strerror(errno)));
  char magic[8] = {};
  if (std::fread(magic, 1, 8, base->reference_) != 8 || std::memcmp(magic, kMagic, 8) != 0 ||
      std::fread(&size, 8, 1, base->reference_) != 1) {
    return Error::invalid_file(fmt::format(
        "{}: is no reference made by --kl-base; name a file that does not exist to write a new one", path.string()));
  }
  if (size != static_cast<uint64_t>(n_vocab)) {
    return Error::invalid_file(fmt::format("{}: made with a vocabulary of {} tokens, this model has {}", path.string(), size, n_vocab));
  }
  return base;
}

Status KlBase::row(int32_t id, std::span<const float> logits, double normalizer) {
  return comparing() ? compare_row(id, logits, normalizer) : write_row(id, logits, normalizer);
}

Status KlBase::write_row(int32_t id, std::span<const float> logits, double normalizer) {
  std::transform(logits.begin(), logits.end(), buffer_.begin(),
                 [&](float x) { return static_cast<float>(static_cast<double>(x) - normalizer); });
  MLA_TRY(output_->write(bytes_of(id)));
  return output_->write(std::as_bytes(std::span(buffer_)));
}

Status KlBase::compare_row(int32_t id, std::span<const float> logits, double normalizer) {
  int32_t reference_id = -1;
  if (std::fread(&reference_id, 4, 1, reference_) != 1 ||
      std::fread(buffer_.data(), 4, buffer_.size(), reference_) != buffer_.size()) {
    return Error::invalid_file(fmt::format("{}: ends after {} tokens, this text has more; remove it to write it anew", path_.string(), divergence_.n));
  }
  if (reference_id != id) {
    return Error::invalid_file(fmt::format("{}: scored token {} is id {} there and {} here: made from another text, window or "
                                           "tokenizer", path_.string(), divergence_.n, reference_id, id));
  }
  double kl = 0.0;
  for (size_t i = 0; i < buffer_.size(); ++i) {
    const double log_p = buffer_[i];
    kl += std::exp(log_p) * (log_p - (static_cast<double>(logits[i]) - normalizer));
  }
  divergence_.add(kl);
  const auto best_here = std::max_element(logits.begin(), logits.end()) - logits.begin();
  n_same_ += std::max_element(buffer_.begin(), buffer_.end()) - buffer_.begin() == best_here ? 1 : 0;
  return {};
}

Status KlBase::close() { return comparing() ? Status() : output_->close(); }

}  // namespace mla::cli
