#include "server/api/json_body.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace mla::server {
namespace {

/// Builds the document from the parser's events and ends it at the first thing that is not allowed.
class BodyBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit BodyBuilder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!std::isfinite(value)) return fail(fmt::format("the number {} is out of range", text));
    return scalar(value);
  }
  bool string(string_t& value) override { return scalar(std::move(value)); }
  bool binary(binary_t&) override { return fail("binary values are not JSON"); }

  bool start_object(size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    // ordered_json looks a key up by walking the object: the names seen so far are kept beside it.
    if (!stack_.back().names.insert(name).second) return fail(fmt::format("the key \"{}\" appears twice in one object", name));
    stack_.back().key = std::move(name);
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // The library's message repeats its own name and an error number in front.
    std::string_view what = e.what();
    if (const size_t bracket = what.find("] "); bracket != std::string_view::npos) what.remove_prefix(bracket + 2);
    return fail(fmt::format("not valid JSON at byte {}: {}", position, what));
  }

  std::optional<std::string> problem;
  Json document;

 private:
  struct Level {
    Json* value = nullptr;
    std::unordered_set<std::string> names;
    std::string key;
  };

  bool fail(std::string message) {
    if (!problem) problem = std::move(message);
    return false;
  }
  /// Puts a value where the document has got to; null when there are too many.
  Json* place(Json value) {
    if (++n_values_ > limits_.max_values) {
      fail(fmt::format("more than {} values", limits_.max_values));
      return nullptr;
    }
    if (stack_.empty()) return &(document = std::move(value));
    Level& level = stack_.back();
    if (level.value->is_array()) return &level.value->emplace_back(std::move(value));
    auto& members = level.value->get_ref<Json::object_t&>();
    static_cast<std::vector<std::pair<const std::string, Json>>&>(members).emplace_back(std::move(level.key), std::move(value));
    return &members.back().second;
  }
  bool scalar(Json value) {
    if (stack_.empty()) return fail("expected an object");
    return place(std::move(value)) != nullptr;
  }
  bool open(Json value) {
    if (stack_.empty() && !value.is_object()) return fail("expected an object");
    if (stack_.size() >= static_cast<size_t>(limits_.max_depth)) return fail(fmt::format("nested deeper than {}", limits_.max_depth));
    Json* const placed = place(std::move(value));
    if (placed == nullptr) return false;
    stack_.push_back({placed, {}, {}});
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  JsonLimits limits_;
  size_t n_values_ = 0;
  std::vector<Level> stack_;
};

}  // namespace

ApiResult<Json> parse_json_body(std::string_view body, const JsonLimits& limits) {
  BodyBuilder builder(limits);
  const bool parsed = Json::sax_parse(body.begin(), body.end(), &builder);
  if (parsed && !builder.problem) return std::move(builder.document);
  return ApiError{.message = "the body of the request: " + builder.problem.value_or("not valid JSON"), .code = "invalid_json"};
}

}  // namespace mla::server
