#include "cli/profile.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace mla::cli {
namespace {

/// "12.9 (61%)", or nothing where there is nothing to count.
std::string rate_and_share(double amount, double seconds, double limit) {
  if (amount <= 0.0 || seconds <= 0.0) return "";
  const double rate = amount / seconds;
  return limit > 0.0 ? fmt::format("{} ({:.0f}%)", short_number(rate / 1e9), 100.0 * rate / limit) : short_number(rate / 1e9);
}

}  // namespace

std::string profile_table(std::string_view phase, double seconds, const std::vector<OperationCost>& costs,
                          const MachineLimits& limits) {
  constexpr const char* kLine = "  {:<24} {:<32} {:>7} {:>9} {:>6}  {:>12} {:>12}\n";
  std::string table = fmt::format("{}: {} s\n", phase, short_number(seconds));
  table += fmt::format(kLine, "operation", "shape", "calls", "ms", "share", "GB/s", "GFLOP/s");
  const auto share = [&](double part) { return seconds > 0.0 ? fmt::format("{:.1f}%", 100.0 * part / seconds) : std::string(); };
  double rest = seconds;
  for (const OperationCost& c : costs) {
    table += fmt::format(kLine, c.operation, c.shape, c.calls, short_number(c.seconds * 1e3), share(c.seconds),
                         rate_and_share(c.bytes, c.seconds, limits.read_bytes_per_second),
                         rate_and_share(c.flop, c.seconds, limits.flop_per_second()));
    rest -= c.seconds;
  }
  return table + fmt::format(kLine, "everything else", "", "", short_number(rest * 1e3), share(rest), "", "");
}

Json profile_json(const std::vector<OperationCost>& costs) {
  Json list = Json::array();
  for (const OperationCost& c : costs) {
    list.push_back({{"operation", c.operation}, {"shape", c.shape}, {"calls", c.calls}, {"seconds", c.seconds},
                    {"bytes", c.bytes}, {"flop", c.flop}});
  }
  return list;
}

}  // namespace mla::cli
