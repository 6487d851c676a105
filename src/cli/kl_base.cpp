#include "cli/kl_base.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <system_error>
#include <utility>

namespace mla::cli {
namespace {

namespace fs = std::filesystem;
constexpr char kMagic[9] = "MLAKLB01";

fs::path partial(const fs::path& path) { return path.string() + ".partial"; }

Error io_error(const fs::path& path, const char* what) {
  return Error::resource(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

KlBase::KlBase(fs::path path, int64_t n_vocab, bool comparing)
    : path_(std::move(path)), n_vocab_(n_vocab), comparing_(comparing), buffer_(static_cast<size_t>(n_vocab)) {}

KlBase::~KlBase() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  if (!comparing_) fs::remove(partial(path_), ignored);
}

Result<std::unique_ptr<KlBase>> KlBase::open(const fs::path& path, int64_t n_vocab) {
  std::error_code ignored;
  std::unique_ptr<KlBase> base(new KlBase(path, n_vocab, fs::exists(path, ignored)));
  base->file_ = std::fopen(base->comparing_ ? path.c_str() : partial(path).c_str(), base->comparing_ ? "rb" : "wb");
  if (base->file_ == nullptr) return io_error(path, base->comparing_ ? "read" : "create");
  uint64_t size = static_cast<uint64_t>(n_vocab);
  if (!base->comparing_) {
    if (std::fwrite(kMagic, 1, 8, base->file_) != 8 || std::fwrite(&size, 8, 1, base->file_) != 1) return io_error(path, "write");
    return base;
  }
  char magic[8] = {};
  if (std::fread(magic, 1, 8, base->file_) != 8 || std::memcmp(magic, kMagic, 8) != 0 || std::fread(&size, 8, 1, base->file_) != 1) {
    return Error::invalid_file(fmt::format("{}: is no reference made by --kl-base; remove it to write a new one", path.string()));
  }
  if (size != static_cast<uint64_t>(n_vocab)) {
    return Error::invalid_file(fmt::format("{}: made with a vocabulary of {} tokens, this model has {}", path.string(), size, n_vocab));
  }
  return base;
}

Status KlBase::row(int32_t id, std::span<const float> logits, double normalizer) {
  ++n_;
  return comparing_ ? compare_row(id, logits, normalizer) : write_row(id, logits, normalizer);
}

Status KlBase::write_row(int32_t id, std::span<const float> logits, double normalizer) {
  std::transform(logits.begin(), logits.end(), buffer_.begin(),
                 [&](float x) { return static_cast<float>(static_cast<double>(x) - normalizer); });
  if (std::fwrite(&id, 4, 1, file_) != 1 || std::fwrite(buffer_.data(), 4, buffer_.size(), file_) != buffer_.size()) {
    return io_error(path_, "write");
  }
  return {};
}

Status KlBase::compare_row(int32_t id, std::span<const float> logits, double normalizer) {
  int32_t reference_id = -1;
  if (std::fread(&reference_id, 4, 1, file_) != 1 || std::fread(buffer_.data(), 4, buffer_.size(), file_) != buffer_.size()) {
    return Error::invalid_file(fmt::format("{}: ends after {} tokens, this text has more; write it anew", path_.string(), n_ - 1));
  }
  if (reference_id != id) {
    return Error::invalid_file(fmt::format("{}: scored token {} is id {} there and {} here: made from another text, window or "
                                           "tokenizer", path_.string(), n_ - 1, reference_id, id));
  }
  double kl = 0.0;
  for (size_t i = 0; i < buffer_.size(); ++i) {
    const double log_p = buffer_[i];
    kl += std::exp(log_p) * (log_p - (static_cast<double>(logits[i]) - normalizer));
  }
  sum_ += kl;
  sum_squared_ += kl * kl;
  max_ = std::max(max_, kl);
  const auto best_here = std::max_element(logits.begin(), logits.end()) - logits.begin();
  n_same_ += std::max_element(buffer_.begin(), buffer_.end()) - buffer_.begin() == best_here ? 1 : 0;
  return {};
}

Status KlBase::close() {
  std::FILE* file = std::exchange(file_, nullptr);
  const bool flushed = comparing_ || (std::fflush(file) == 0 && fsync(fileno(file)) == 0);
  if (std::fclose(file) != 0 || !flushed) return io_error(path_, "write");
  if (comparing_) return {};
  std::error_code error;
  fs::rename(partial(path_), path_, error);
  if (error) return Error::resource(fmt::format("{}: cannot rename into place: {}", path_.string(), error.message()));
  return {};
}

double KlBase::mean() const { return n_ > 0 ? sum_ / static_cast<double>(n_) : 0.0; }

double KlBase::standard_error() const {
  if (n_ < 2) return 0.0;
  const double n = static_cast<double>(n_);
  return std::sqrt(std::max(0.0, sum_squared_ / n - mean() * mean()) / (n - 1));
}

double KlBase::same_top_1() const { return n_ > 0 ? static_cast<double>(n_same_) / static_cast<double>(n_) : 0.0; }

}  // namespace mla::cli
