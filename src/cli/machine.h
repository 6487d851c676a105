#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/cpu_features.h"

namespace mla::cli {

/// The limits of a machine that every figure is a share of, measured on the spot.
struct MachineLimits {
  double read_bytes_per_second = 0.0;  ///< streaming read of memory far larger than the caches, all threads
  double f32_flop_per_second = 0.0;    ///< fused multiply-adds in registers with the chosen ISA, all threads
  double bf16_flop_per_second = 0.0;   ///< products of bf16 matrices in the first cache, all threads; 0 where the ISA has none
  double seconds = 0.0;                ///< what the measurement took

  double flop_per_second() const { return std::max(f32_flop_per_second, bf16_flop_per_second); }
};

/// "reads 30.1 GB/s, f32 235 GFLOP/s, bf16 470 GFLOP/s"
std::string limits_text(const MachineLimits& limits);

/// Measures all in about a second.
MachineLimits measure_limits(Isa isa, int n_threads);

/// The read bandwidth that was last measured on this machine (`mla doctor` keeps it in the user's cache folder), in
/// bytes per second; 0 when it never was.
double remembered_bandwidth();
/// Keeps it; silently does without where the folder cannot be written.
void remember_bandwidth(double bytes_per_second);

}  // namespace mla::cli
