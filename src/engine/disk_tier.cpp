#include "engine/disk_tier.h"

#include <fmt/format.h>

#include <cstddef>
#include <utility>

#include "model/fingerprint.h"

namespace mla {

Result<CacheIdentity> cache_identity(const Model& model, const EngineOptions& options) {
  MLA_ASSIGN(const disk::Hash fingerprint, model_fingerprint(model));
  std::string model_hash;
  for (const std::byte byte : fingerprint) model_hash += fmt::format("{:02x}", static_cast<unsigned>(byte));
  const Config& config = model.config();
  const int64_t row_bytes = config.row_layout(options.cache_format).row_bytes();
  const std::string_view format = row_format_name(options.cache_format);
  return CacheIdentity{
      .text = fmt::format("rows {}, little-endian, {} to a page\n{} layers, {}, {} bytes a row, attention {}\n{}\nmodel {}\n", kRowAbi,
                          kPageRows, config.n_layers, format, row_bytes, mla_form_name(options.mla_form), model.backend().numerics(),
                          model_hash),
      .label = fmt::format("{}, {} rows, {}", config.name, format, model.backend().numerics()),
      .n_layers = config.n_layers,
      .row_bytes = row_bytes};
}

Result<std::shared_ptr<DiskCache>> open_disk_cache(const Model& model, const EngineOptions& options,
                                                   DiskCacheOptions disk_options) {
  MLA_ASSIGN(const CacheIdentity identity, cache_identity(model, options));
  MLA_ASSIGN(std::unique_ptr<DiskCache> cache, DiskCache::open(std::move(disk_options), identity));
  return std::shared_ptr<DiskCache>(std::move(cache));
}

}  // namespace mla
