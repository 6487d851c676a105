#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

// What the control groups of this process (Linux cgroups, version 2 or 1: containers, systemd slices) allow it. A limit
// holds for everything below its group, so the least of a group and those around it counts. `root` is where the system's
// files are found: tests bring their own.

namespace mla {

/// Bytes of memory that are left; file pages that can be dropped count as free, as in MemAvailable: reading a model's file
/// fills the groups with them. Nothing when no group has a limit.
std::optional<int64_t> control_group_memory(const std::filesystem::path& root = "/");

/// Processors' worth of time that the groups' quotas give (2.5 is half of five processors); nothing without a quota.
std::optional<double> control_group_processors(const std::filesystem::path& root = "/");

/// The number behind `key` where a line of `text` begins with it, not negative.
std::optional<int64_t> number_after(std::string_view text, std::string_view key);

}  // namespace mla
