#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/result.h"
#include "cache/disk/catalog.h"
#include "cache/disk/folder.h"

namespace mla::disk {

/// Reads what write_index() left, and takes the index out of use: whatever happens from now on, only another write_index()
/// makes one that is believed. Nothing when there is none, or not exactly the bytes that were left.
std::optional<std::map<uint64_t, RunEntry>> take_index(const Folder& folder);

/// Leaves the catalog's runs for the next start. `durable`: synced, so that it survives a power cut. Errors: kResource;
/// the folder has no index then.
Status write_index(const Folder& folder, const Catalog& catalog, bool durable);

}  // namespace mla::disk
