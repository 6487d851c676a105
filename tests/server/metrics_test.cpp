#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/paths.h"

namespace mla {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using Labels = std::map<std::string, std::string>;
using Json = nlohmann::json;

/// The text exposition format, version 0.0.4, read as strictly as its description allows. Anything else is an error.
class Exposition {
 public:
  explicit Exposition(const std::string& text) {
    EXPECT_TRUE(text.ends_with('\n')) << "the last line must end in a line feed";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("# HELP ")) help(line.substr(7));
      else if (line.starts_with("# TYPE ")) type(line.substr(7));
      else sample(line);
    }
    for (const auto& [name, kind] : types_) {
      EXPECT_TRUE(helps_.contains(name)) << name << " has no HELP";
      if (kind == "histogram") check_histogram(name);
      EXPECT_EQ(name.ends_with("_total"), kind == "counter") << name;
    }
  }

  /// The value of a sample; fails the test when there is none.
  double operator()(const std::string& name, const Labels& labels = {}) const {
    const auto found = samples_.find({name, labels});
    EXPECT_NE(found, samples_.end()) << "no sample " << name << " " << testing::PrintToString(labels);
    return found == samples_.end() ? std::nan("") : found->second;
  }
  std::set<std::string> label_values(const std::string& name, const std::string& label) const {
    std::set<std::string> values;
    for (const auto& [key, value] : samples_) {
      if (key.first == name) values.insert(key.second.at(label));
    }
    return values;
  }
  const std::map<std::string, std::string>& types() const { return types_; }
  const std::map<std::pair<std::string, Labels>, double>& samples() const { return samples_; }

 private:
  void help(const std::string& rest) {
    const std::string name = rest.substr(0, rest.find(' '));
    EXPECT_TRUE(helps_.emplace(name, rest).second) << "HELP of " << name << " twice";
    EXPECT_GT(rest.size(), name.size() + 5) << "HELP of " << name << " says nothing";
    EXPECT_FALSE(types_.contains(name)) << "HELP of " << name << " after its TYPE";
  }

  void type(const std::string& rest) {
    const std::string name = rest.substr(0, rest.find(' ')), kind = rest.substr(rest.find(' ') + 1);
    EXPECT_THAT((std::set<std::string>{"counter", "gauge", "histogram"}), Contains(kind));
    EXPECT_TRUE(types_.emplace(name, kind).second) << "TYPE of " << name << " twice";
    current_ = name;
  }

  void sample(const std::string& line) {
    static const std::regex form(R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+))");
    std::smatch m;
    ASSERT_TRUE(std::regex_match(line, m, form)) << line;
    const std::string name = m[1];
    const bool of_histogram = types_[current_] == "histogram" && (name == current_ + "_sum" || name == current_ + "_count" || name == current_ + "_bucket");
    EXPECT_TRUE(name == current_ || of_histogram) << line << " stands below the TYPE of " << current_;
    const std::optional<double> value = number(m[4]);
    ASSERT_TRUE(value) << line;
    EXPECT_TRUE(samples_.emplace(std::pair{name, labels(m[3], line)}, *value).second) << "twice: " << line;
  }

  static Labels labels(const std::string& text, const std::string& line) {
    Labels all;
    static const std::regex form(R"re(^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,|$))re");
    std::string rest = text;
    std::smatch m;
    while (!rest.empty() && std::regex_search(rest, m, form)) {
      EXPECT_TRUE(all.emplace(m[1], m[2]).second) << line;
      rest = m.suffix();
    }
    EXPECT_EQ(rest, "") << line;
    return all;
  }

  static std::optional<double> number(const std::string& text) {
    if (text == "+Inf") return INFINITY;
    double value = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  void check_histogram(const std::string& name) const {
    std::map<double, double> buckets;
    for (const auto& [key, value] : samples_) {
      if (key.first == name + "_bucket") buckets[*number(key.second.at("le"))] = value;
    }
    ASSERT_FALSE(buckets.empty()) << name;
    EXPECT_EQ(buckets.rbegin()->first, INFINITY) << name;
    EXPECT_EQ(buckets.rbegin()->second, (*this)(name + "_count")) << name;
    double below = 0.0;
    for (const auto& [bound, count] : buckets) {
      EXPECT_GE(count, below) << name << " le=" << bound;
      below = count;
    }
    (*this)(name + "_sum");
  }

  std::string current_;
  std::map<std::string, std::string> helps_, types_;
  std::map<std::pair<std::string, Labels>, double> samples_;
};

Metrics make() { return Metrics({.isa = "avx512", .commit = "abc123", .version = "0.1.0"}); }

RequestTimes request(Ending ending, int64_t n_prompt = 100, int64_t n_cached = 64) {
  return {.queue = 0.015, .prefill = 0.2, .decode = 1.5, .ttft = 0.215, .e2e = 1.715, .n_prompt = n_prompt, .n_cached = n_cached, .n_generated = 10, .ending = ending};
}

TEST(Metrics, EveryPromisedNameIsThereFromTheStart) {
  const auto metrics = make();
  const Exposition e(metrics.text());
  const std::map<std::string, std::string> promised = {
      {"mla_requests_running", "gauge"}, {"mla_requests_waiting", "gauge"}, {"mla_requests_total", "counter"}, {"mla_request_rejected_total", "counter"},
      {"mla_prompt_tokens_total", "counter"}, {"mla_generation_tokens_total", "counter"}, {"mla_time_to_first_token_seconds", "histogram"},
      {"mla_inter_token_latency_seconds", "histogram"}, {"mla_request_queue_time_seconds", "histogram"}, {"mla_request_prefill_time_seconds", "histogram"},
      {"mla_request_decode_time_seconds", "histogram"}, {"mla_e2e_request_latency_seconds", "histogram"}, {"mla_kv_cache_usage_ratio", "gauge"},
      {"mla_kv_cache_bytes", "gauge"}, {"mla_kv_bytes_per_token", "gauge"}, {"mla_prefix_cache_queries_total", "counter"},
      {"mla_prefix_cache_hits_total", "counter"}, {"mla_disk_cache_corrupt_total", "counter"}, {"mla_preemptions_total", "counter"},
      {"mla_iteration_tokens", "histogram"}, {"mla_build_info", "gauge"}};
  for (const auto& [name, kind] : promised) EXPECT_THAT(e.types(), Contains(testing::Pair(name, kind)));
  EXPECT_EQ(e("mla_build_info", {{"isa", "avx512"}, {"commit", "abc123"}, {"version", "0.1.0"}}), 1.0);
  EXPECT_EQ(e.label_values("mla_requests_total", "finish_reason"), (std::set<std::string>{"stop", "length", "tool_calls", "cancelled", "error"}));
  EXPECT_EQ(e.label_values("mla_request_rejected_total", "reason"),
            (std::set<std::string>{"invalid", "unauthorized", "forbidden", "too_large", "timeout", "queue_full", "unavailable"}));
  EXPECT_EQ(e.label_values("mla_kv_cache_bytes", "tier"), (std::set<std::string>{"ram", "disk"}));
}

TEST(Metrics, EventsAddUp) {
  auto metrics = make();
  for (int i = 0; i < 5; ++i) metrics.request_arrived();
  metrics.request_rejected(Rejection::kQueueFull);
  metrics.request_rejected(Rejection::kQueueFull);
  metrics.request_rejected(Rejection::kTooLarge);
  metrics.request_finished(request(Ending::kStop));
  metrics.request_finished(request(Ending::kLength, 50, 0));
  metrics.inter_token(0.04);
  metrics.inter_token(0.06);
  metrics.step({.n_prompt_tokens = 90, .n_new_tokens = 10, .n_preemptions = 2}, 0.25);
  metrics.step({.n_new_tokens = 3}, 0.05);
  metrics.step({}, 0.001);
  const Exposition e(metrics.text());
  EXPECT_EQ(e("mla_requests_arrived_total"), 5);
  EXPECT_EQ(e("mla_request_rejected_total", {{"reason", "queue_full"}}), 2);
  EXPECT_EQ(e("mla_request_rejected_total", {{"reason", "too_large"}}), 1);
  EXPECT_EQ(e("mla_request_rejected_total", {{"reason", "invalid"}}), 0);
  EXPECT_EQ(e("mla_requests_total", {{"finish_reason", "stop"}}), 1);
  EXPECT_EQ(e("mla_requests_total", {{"finish_reason", "length"}}), 1);
  EXPECT_EQ(e("mla_prefix_cache_queries_total"), 150);
  EXPECT_EQ(e("mla_prefix_cache_hits_total"), 64);
  EXPECT_EQ(e("mla_prompt_tokens_total"), 90);
  EXPECT_EQ(e("mla_generation_tokens_total"), 13);
  EXPECT_EQ(e("mla_preemptions_total"), 2);
  EXPECT_EQ(e("mla_iteration_tokens_count"), 2) << "a step without tokens is no step";
  EXPECT_EQ(e("mla_iteration_tokens_sum"), 103);
  EXPECT_EQ(e("mla_iteration_tokens_bucket", {{"le", "4"}}), 1);
  EXPECT_EQ(e("mla_iteration_tokens_bucket", {{"le", "128"}}), 2);
  EXPECT_NEAR(e("mla_iteration_seconds_sum"), 0.3, 1e-12);
  EXPECT_NEAR(e("mla_inter_token_latency_seconds_sum"), 0.1, 1e-12);
  EXPECT_EQ(e("mla_inter_token_latency_seconds_bucket", {{"le", "0.05"}}), 1);
  EXPECT_NEAR(e("mla_time_to_first_token_seconds_sum"), 0.43, 1e-12);
  EXPECT_EQ(e("mla_request_prompt_tokens_sum"), 150);
  EXPECT_EQ(e("mla_request_prompt_tokens_bucket", {{"le", "64"}}), 1);
  EXPECT_EQ(e("mla_request_generation_tokens_sum"), 20);
  EXPECT_NEAR(e("mla_request_queue_time_seconds_sum"), 0.03, 1e-12);
  EXPECT_NEAR(e("mla_request_prefill_time_seconds_sum"), 0.4, 1e-12);
  EXPECT_NEAR(e("mla_request_decode_time_seconds_sum"), 3.0, 1e-12);
  EXPECT_NEAR(e("mla_e2e_request_latency_seconds_sum"), 3.43, 1e-12);
}

TEST(Metrics, StagesThatWereNotReachedHaveNoTime) {
  auto metrics = make();
  metrics.request_finished({.e2e = 0.3, .n_prompt = 7, .ending = Ending::kCancelled});
  metrics.request_finished({.queue = -0.001, .ttft = std::nan(""), .e2e = INFINITY, .n_prompt = -5, .ending = Ending::kError});
  const Exposition e(metrics.text());
  EXPECT_EQ(e("mla_time_to_first_token_seconds_count"), 0);
  EXPECT_EQ(e("mla_request_decode_time_seconds_count"), 0);
  EXPECT_EQ(e("mla_request_queue_time_seconds_count"), 1);
  EXPECT_EQ(e("mla_request_queue_time_seconds_sum"), 0) << "a clock that went backwards is no negative time";
  EXPECT_EQ(e("mla_e2e_request_latency_seconds_count"), 1);
  EXPECT_EQ(e("mla_prefix_cache_queries_total"), 7);
}

TEST(Metrics, EndingsOfSequencesAreEndingsOfRequests) {
  EXPECT_EQ(ending_of(FinishReason::kStop), Ending::kStop);
  EXPECT_EQ(ending_of(FinishReason::kLength), Ending::kLength);
  EXPECT_EQ(ending_of(FinishReason::kCancelled), Ending::kCancelled);
  EXPECT_EQ(ending_of(FinishReason::kNone), Ending::kError);
}

TEST(Metrics, GaugesAreReadWhenSomebodyAsks) {
  auto metrics = make();
  MetricsSample sample{.loop = {.n_running = 3, .n_waiting = 4, .n_pages = 200, .n_used_pages = 150, .n_reusable_pages = 50},
                       .page_bytes = 1000, .bytes_per_token = 15, .disk = {.bytes = 777, .n_query_tokens = 10, .n_hit_tokens = 6, .n_corrupt = 1, .n_errors = 2}};
  metrics.set_sampler([&] { return sample; });
  const Exposition e(metrics.text());
  EXPECT_EQ(e("mla_requests_running"), 3);
  EXPECT_EQ(e("mla_requests_waiting"), 4);
  EXPECT_EQ(e("mla_kv_cache_usage_ratio"), 0.5) << "pages kept for their prefix alone are given up when needed";
  EXPECT_EQ(e("mla_kv_cache_bytes", {{"tier", "ram"}}), 150000);
  EXPECT_EQ(e("mla_kv_cache_bytes", {{"tier", "disk"}}), 777);
  EXPECT_EQ(e("mla_kv_cache_capacity_bytes"), 200000);
  EXPECT_EQ(e("mla_kv_bytes_per_token"), 15);
  EXPECT_EQ(e("mla_disk_cache_queries_total"), 10);
  EXPECT_EQ(e("mla_disk_cache_hits_total"), 6);
  EXPECT_EQ(e("mla_disk_cache_corrupt_total"), 1);
  EXPECT_EQ(e("mla_disk_cache_errors_total"), 2);
  sample.loop = {};
  sample.disk.n_corrupt = 0;  // the disk cache was opened anew
  const Exposition later(metrics.text());
  EXPECT_EQ(later("mla_requests_running"), 0);
  EXPECT_EQ(later("mla_kv_cache_usage_ratio"), 0);
  EXPECT_EQ(later("mla_disk_cache_corrupt_total"), 1) << "a counter never falls";
}

TEST(Metrics, LabelsAreEscaped) {
  const Metrics metrics({.isa = "a\"b", .commit = "c\\d", .version = "e\nf"});
  EXPECT_EQ(Exposition(metrics.text())("mla_build_info", {{"isa", "a\\\"b"}, {"commit", "c\\\\d"}, {"version", "e\\nf"}}), 1.0);
}

TEST(Metrics, ConcurrentEventsAreAllCountedAndCountersOnlyRise) {
  auto metrics = make();
  metrics.set_sampler([] { return MetricsSample{.loop = {.n_running = 1}}; });
  constexpr int kThreads = 4, kEvents = 5000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&metrics] {
      for (int i = 0; i < kEvents; ++i) {
        metrics.request_arrived();
        metrics.request_rejected(Rejection::kInvalid);
        metrics.inter_token(0.001 * (i % 7));
        metrics.step({.n_prompt_tokens = 1, .n_new_tokens = 1}, 0.01);
        metrics.request_finished(request(Ending::kStop));
      }
    });
  }
  std::map<std::pair<std::string, Labels>, double> before;
  for (int i = 0; i < 20; ++i) {
    const Exposition e(metrics.text());
    for (const auto& [key, value] : e.samples()) EXPECT_GE(value, before[key]) << key.first;
    before = e.samples();
  }
  for (std::thread& thread : threads) thread.join();
  const Exposition e(metrics.text());
  EXPECT_EQ(e("mla_requests_arrived_total"), kThreads * kEvents);
  EXPECT_EQ(e("mla_request_rejected_total", {{"reason", "invalid"}}), kThreads * kEvents);
  EXPECT_EQ(e("mla_inter_token_latency_seconds_count"), kThreads * kEvents);
  EXPECT_EQ(e("mla_iteration_tokens_sum"), 2 * kThreads * kEvents);
  EXPECT_EQ(e("mla_requests_total", {{"finish_reason", "stop"}}), kThreads * kEvents);
}

/// Every name that looks like one of ours in a text.
std::set<std::string> names_in(const std::string& text) {
  std::set<std::string> names;
  static const std::regex form(R"(\bmla_[a-z0-9_]+)");
  for (std::sregex_iterator it(text.begin(), text.end(), form), end; it != end; ++it) names.insert(it->str());
  return names;
}

/// The names of samples, those of histograms' parts included.
std::set<std::string> exposed_names() {
  std::set<std::string> names;
  const auto metrics = make();
  const Exposition e(metrics.text());
  for (const auto& [key, value] : e.samples()) names.insert(key.first);
  return names;
}

TEST(Dashboard, IsJsonAndAsksOnlyForMetricsThatExist) {
  const Json dashboard = Json::parse(test::read_file(test::source_dir() / "deploy/grafana/mla.json"), nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(dashboard.is_object());
  const std::set<std::string> exposed = exposed_names();
  std::set<std::string> asked;
  std::set<int> ids;
  for (const Json& panel : dashboard["panels"]) {
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second);
    EXPECT_FALSE(panel["title"].get<std::string>().empty());
    if (panel["type"] == "row") continue;
    ASSERT_FALSE(panel["targets"].empty()) << panel["title"];
    for (const Json& target : panel["targets"]) {
      const std::set<std::string> names = names_in(target["expr"].get<std::string>());
      EXPECT_FALSE(names.empty()) << target["expr"];
      for (const std::string& name : names) EXPECT_THAT(exposed, Contains(name)) << target["expr"];
      asked.insert(names.begin(), names.end());
    }
  }
  for (const char* name : {"mla_requests_total", "mla_requests_running", "mla_requests_waiting", "mla_generation_tokens_total", "mla_time_to_first_token_seconds_bucket",
                           "mla_inter_token_latency_seconds_bucket", "mla_kv_cache_usage_ratio", "mla_prefix_cache_hits_total", "mla_kv_cache_bytes",
                           "mla_preemptions_total", "mla_request_rejected_total"}) {
    EXPECT_THAT(asked, Contains(name));
  }
}

TEST(Operations, DocumentsEveryMetricAndNoOther) {
  const std::string page = test::read_file(test::source_dir() / "docs/operations.md");
  const auto metrics = make();
  const Exposition e(metrics.text());
  for (const auto& [name, kind] : e.types()) EXPECT_THAT(page, HasSubstr("`" + name)) << kind;
  const std::set<std::string> exposed = exposed_names();
  const std::string rules = test::read_file(test::source_dir() / "deploy/prometheus/alerts.yml");
  for (const std::string& text : {page, rules}) {
    for (const std::string& name : names_in(text)) {
      if (exposed.contains(name + "_count") || name == "mla_server") continue;
      EXPECT_THAT(exposed, Contains(name));
    }
  }
}

}  // namespace
}  // namespace mla
