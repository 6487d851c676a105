#include "grammar/json_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/schema_keywords.h"
#include "grammar/schema_place.h"

namespace mla {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonGrammar::Kind;
constexpr uint32_t kNone = JsonGrammar::kNone;

std::string compact(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class Compiler {
 public:
  explicit Compiler(const Json& root) : root_(root) {}

  Result<std::shared_ptr<const JsonGrammar>> run();

 private:
  using Place = SchemaPlace;
  /// What a choice is before references are resolved.
  struct Draft {
    std::vector<uint32_t> forms, choices;
  };
  struct Job {
    uint32_t choice = 0;
    const Json* schema = nullptr;
    Place place;
  };
  struct Range {
    int64_t least = 0, most = JsonGrammar::kUnbounded;
  };

  Status spend(const Place& place, size_t n);
  uint32_t choice_of(const Json& schema, Place place);
  uint32_t any_value();
  uint32_t add_form(uint32_t choice, JsonGrammar::Form form);
  void add_choice(uint32_t choice, uint32_t other) { drafts_[choice].choices.push_back(other); }
  Status add_literal(uint32_t choice, std::vector<std::string> texts, const Place& place);

  Status compile(const Job& job);
  Status compile_union(const Job& job, std::string_view keyword);
  Status compile_values(const Job& job, std::string_view keyword, unsigned allowed);
  Status compile_reference(const Job& job);
  Status compile_types(const Job& job, unsigned types);
  Status compile_object(const Job& job);
  Status compile_array(const Job& job);
  Status compile_string(const Job& job);
  Status compile_integer(const Job& job);
  Result<Range> range(const Json& schema, const Place& place, const char* least, const char* most) const;
  Result<std::optional<int64_t>> bound(const Json& schema, const Place& place, const char* keyword,
                                       bool upper) const;
  Status resolve();

  const Json& root_;
  JsonGrammar grammar_;
  std::vector<Draft> drafts_;                        ///< of each choice
  std::unordered_map<const Json*, uint32_t> known_;  ///< choices of subschemas
  std::deque<Job> jobs_;  ///< those that are done too: places point to their parents
  uint32_t any_ = kNone;
  size_t n_states_ = 0;
};

// -- places and limits
// -------------------------------------------------------------------------------------------------------------

Status Compiler::spend(const Place& place, size_t n) {
  n_states_ += n;
  if (n_states_ <= kMaxSchemaStates) return {};
  return schema_error(
      place, "",
      fmt::format(
          "the schema comes to more than {} states: unions in unions, or too many properties and values",
          kMaxSchemaStates));
}

/// The choice for a subschema, which is compiled later: nothing recurses, and a reference may lead anywhere.
uint32_t Compiler::choice_of(const Json& schema, Place place) {
  const auto [found, fresh] = known_.try_emplace(&schema, static_cast<uint32_t>(drafts_.size()));
  if (!fresh) return found->second;
  drafts_.emplace_back();
  jobs_.push_back({found->second, &schema, place});
  return found->second;
}

uint32_t Compiler::add_form(uint32_t choice, JsonGrammar::Form form) {
  const auto id = static_cast<uint32_t>(grammar_.forms.size());
  grammar_.forms.push_back(form);
  drafts_[choice].forms.push_back(id);
  return id;
}

uint32_t Compiler::any_value() {
  if (any_ != kNone) return any_;
  any_ = static_cast<uint32_t>(drafts_.size());
  drafts_.emplace_back();
  add_form(any_, {.kind = Kind::kObject, .rest = any_});
  add_form(any_, {.kind = Kind::kArray, .rest = any_});
  add_form(any_, {.kind = Kind::kString});
  add_form(any_, {.kind = Kind::kNumber});
  const auto begin = static_cast<uint32_t>(grammar_.texts.size());
  grammar_.texts.insert(grammar_.texts.end(), {"false", "null", "true"});
  add_form(any_, {.kind = Kind::kLiteral, .begin = begin, .end = begin + 3});
  return any_;
}

Status Compiler::add_literal(uint32_t choice, std::vector<std::string> texts, const Place& place) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  MLA_TRY(spend(place, texts.size()));
  const auto begin = static_cast<uint32_t>(grammar_.texts.size()), n = static_cast<uint32_t>(texts.size());
  grammar_.texts.insert(grammar_.texts.end(), std::make_move_iterator(texts.begin()),
                        std::make_move_iterator(texts.end()));
  add_form(choice, {.kind = Kind::kLiteral, .begin = begin, .end = begin + n});
  return {};
}

// -- a schema
// -------------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<const JsonGrammar>> Compiler::run() {
  grammar_.root = choice_of(root_, {});
  for (size_t i = 0; i < jobs_.size(); ++i) MLA_TRY(compile(jobs_[i]));
  MLA_TRY(resolve());
  if (!finish_grammar(grammar_)) {
    return schema_error(
        {}, "", fmt::format("no JSON of at most {} levels satisfies the schema", JsonGrammar::kMaxLevels));
  }
  return std::make_shared<const JsonGrammar>(std::move(grammar_));
}

Status Compiler::compile(const Job& job) {
  const Json& schema = *job.schema;
  MLA_TRY(spend(job.place, 1));
  if (job.place.depth > kMaxSchemaDepth)
    return schema_error(job.place, "", fmt::format("subschemas are nested deeper than {}", kMaxSchemaDepth));
  if (schema.is_boolean()) {
    if (schema.get<bool>()) add_choice(job.choice, any_value());
    return {};  // false: no value is valid
  }
  if (!schema.is_object()) return schema_error(job.place, "", "expected a schema: an object, true or false");
  MLA_ASSIGN(const SchemaKeywords keywords, read_schema_keywords(schema, job.place));
  if (keywords.says_nothing) {
    add_choice(job.choice, any_value());
    return {};
  }
  if (keywords.alone.empty()) return compile_types(job, keywords.types);
  if (keywords.alone == "enum" || keywords.alone == "const")
    return compile_values(job, keywords.alone, keywords.types);
  return keywords.alone == "$ref" ? compile_reference(job) : compile_union(job, keywords.alone);
}

Status Compiler::compile_union(const Job& job, std::string_view keyword) {
  const Json& list = *job.schema->find(keyword);
  if (!list.is_array() || list.empty())
    return schema_error(job.place, keyword, "expected an array of schemas");
  if (keyword == "allOf" && list.size() > 1)
    return schema_error(job.place, keyword,
                        fmt::format("{} schemas at once are not served: expected one", list.size()));
  for (size_t i = 0; i < list.size(); ++i) {
    const uint32_t choice = choice_of(
        list[i], {.parent = &job.place, .keyword = keyword, .index = i, .depth = job.place.depth + 1});
    add_choice(job.choice, choice);
  }
  return {};
}

Status Compiler::compile_values(const Job& job, std::string_view keyword, unsigned allowed) {
  const Json& value = *job.schema->find(keyword);
  if (keyword == "enum" && (!value.is_array() || value.empty()))
    return schema_error(job.place, keyword, "expected an array of values");
  if ((allowed & schema_type::kNumber) != 0) allowed |= schema_type::kInteger;
  std::vector<std::string> texts;
  const auto add = [&](const Json& one) {
    if ((schema_type_of(one) & allowed) != 0) texts.push_back(compact(one));
  };
  if (keyword == "const") {
    add(value);
  } else {
    for (const Json& one : value) add(one);
  }
  if (texts.empty()) return schema_error(job.place, keyword, "no value has the type that 'type' asks for");
  return add_literal(job.choice, std::move(texts), job.place);
}

// -- references
// -------------------------------------------------------------------------------------------------------------

Status Compiler::compile_reference(const Job& job) {
  const Json& reference = *job.schema->find("$ref");
  if (!reference.is_string()) return schema_error(job.place, "$ref", "expected a string");
  const auto target = follow_pointer(root_, reference.get_ref<const std::string&>());
  if (!target.ok()) return schema_error(job.place, "$ref", target.error().message);
  // What the reference names is not nested in what names it: its place begins anew.
  const uint32_t choice = choice_of(**target, {.begin = reference.get_ref<const std::string&>()});
  add_choice(job.choice, choice);
  return {};
}

/// Every choice as a flat list of forms: what references and unions lead to, however they turn in circles.
Status Compiler::resolve() {
  std::vector<uint32_t> seen_by(drafts_.size(), kNone), open;
  for (uint32_t choice = 0; choice < drafts_.size(); ++choice) {
    const auto begin = static_cast<uint32_t>(grammar_.alternatives.size());
    open.assign(1, choice);
    seen_by[choice] = choice;
    while (!open.empty()) {
      const Draft& draft = drafts_[open.back()];
      open.pop_back();
      MLA_TRY(spend({}, draft.forms.size() + draft.choices.size()));
      grammar_.alternatives.insert(grammar_.alternatives.end(), draft.forms.begin(), draft.forms.end());
      for (const uint32_t other : draft.choices) {
        if (std::exchange(seen_by[other], choice) != choice) open.push_back(other);
      }
    }
    grammar_.choices.push_back({begin, static_cast<uint32_t>(grammar_.alternatives.size())});
  }
  return {};
}

// -- types
// -------------------------------------------------------------------------------------------------------------

Status Compiler::compile_types(const Job& job, unsigned types) {
  if ((types & schema_type::kObject) != 0) MLA_TRY(compile_object(job));
  if ((types & schema_type::kArray) != 0) MLA_TRY(compile_array(job));
  if ((types & schema_type::kString) != 0) MLA_TRY(compile_string(job));
  if ((types & schema_type::kInteger) != 0 && (types & schema_type::kNumber) == 0)
    MLA_TRY(compile_integer(job));
  if ((types & schema_type::kNumber) != 0) {
    for (const char* keyword : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
      if (job.schema->contains(keyword))
        return schema_error(job.place, keyword, "is served for integers only (\"type\": \"integer\")");
    }
    add_form(job.choice, {.kind = Kind::kNumber});
  }
  std::vector<std::string> texts;
  if ((types & schema_type::kBoolean) != 0) texts = {"false", "true"};
  if ((types & schema_type::kNull) != 0) texts.emplace_back("null");
  return texts.empty() ? Status() : add_literal(job.choice, std::move(texts), job.place);
}

Status Compiler::compile_object(const Job& job) {
  const Json& schema = *job.schema;
  const Place& place = job.place;
  const auto properties = schema.find("properties"), required = schema.find("required"),
             further = schema.find("additionalProperties");
  if (properties != schema.end() && !properties->is_object())
    return schema_error(place, "properties", "expected an object of schemas");
  if (required != schema.end() && !required->is_array())
    return schema_error(place, "required", "expected an array of names");
  JsonGrammar::Form form{.kind = Kind::kObject};
  if (further != schema.end()) {
    form.rest =
        choice_of(*further, {.parent = &place, .keyword = "additionalProperties", .depth = place.depth + 1});
  } else if (properties == schema.end()) {
    form.rest = any_value();
  }

  std::vector<JsonGrammar::Property> members;
  std::map<std::string_view, uint32_t> named;
  const auto add = [&](std::string_view name, uint32_t choice) {
    named.emplace(name, static_cast<uint32_t>(members.size()));
    members.push_back({.choice = choice});
  };
  if (properties != schema.end()) {
    for (const auto& [name, subschema] : properties->items())
      add(name,
          choice_of(subschema,
                    {.parent = &place, .keyword = "properties", .name = name, .depth = place.depth + 1}));
  }
  static const Json kNoNames = Json::array();
  const Json& names = required != schema.end() ? *required : kNoNames;
  for (const Json& name : names) {
    if (!name.is_string()) return schema_error(place, "required", "expected an array of names");
    const std::string_view text = name.get_ref<const std::string&>();
    if (!named.contains(text)) add(text, form.rest != kNone ? form.rest : any_value());
    members[named[text]].required = true;
  }
  MLA_TRY(spend(place, 1 + members.size()));

  form.begin = static_cast<uint32_t>(grammar_.properties.size());
  form.end = form.begin + static_cast<uint32_t>(members.size());
  grammar_.properties.insert(grammar_.properties.end(), members.begin(), members.end());
  for (const auto& [name, property] : named)
    grammar_.keys.push_back({compact(Json(std::string(name))).substr(1), property});
  std::sort(grammar_.keys.begin() + form.begin, grammar_.keys.end(),
            [](const auto& a, const auto& b) { return a.text < b.text; });
  add_form(job.choice, form);
  return {};
}

Status Compiler::compile_array(const Job& job) {
  const Json& schema = *job.schema;
  MLA_ASSIGN(const Range items, range(schema, job.place, "minItems", "maxItems"));
  JsonGrammar::Form form{.kind = Kind::kArray, .least = items.least, .most = items.most};
  form.begin = form.end = static_cast<uint32_t>(grammar_.items.size());
  if (const auto front = schema.find("prefixItems"); front != schema.end()) {
    if (!front->is_array()) return schema_error(job.place, "prefixItems", "expected an array of schemas");
    for (size_t i = 0; i < front->size(); ++i) {
      grammar_.items.push_back(choice_of(
          (*front)[i],
          {.parent = &job.place, .keyword = "prefixItems", .index = i, .depth = job.place.depth + 1}));
    }
    form.end = static_cast<uint32_t>(grammar_.items.size());
  }
  const auto rest = schema.find("items");
  if (rest != schema.end() && rest->is_array())
    return schema_error(job.place, "items", "expected a schema; a list of them is 'prefixItems'");
  form.rest =
      rest == schema.end()
          ? any_value()
          : choice_of(*rest, {.parent = &job.place, .keyword = "items", .depth = job.place.depth + 1});
  MLA_TRY(spend(job.place, 1 + form.end - form.begin));
  add_form(job.choice, form);
  return {};
}

Status Compiler::compile_string(const Job& job) {
  MLA_ASSIGN(const Range characters, range(*job.schema, job.place, "minLength", "maxLength"));
  add_form(job.choice, {.kind = Kind::kString, .least = characters.least, .most = characters.most});
  return {};
}

Status Compiler::compile_integer(const Job& job) {
  constexpr int64_t kMost = 999'999'999'999'999'999;  // NumberText::kMaxDigits
  JsonGrammar::Form form{.kind = Kind::kInteger, .least = -kMost, .most = kMost};
  for (const char* keyword : {"minimum", "exclusiveMinimum"}) {
    MLA_ASSIGN(const auto least, bound(*job.schema, job.place, keyword, false));
    if (least) form.least = std::max(form.least, *least);
  }
  for (const char* keyword : {"maximum", "exclusiveMaximum"}) {
    MLA_ASSIGN(const auto most, bound(*job.schema, job.place, keyword, true));
    if (most) form.most = std::min(form.most, *most);
  }
  add_form(job.choice, form);
  return {};
}

/// The integer that a bound comes to: the first or last one that it allows.
Result<std::optional<int64_t>> Compiler::bound(const Json& schema, const Place& place, const char* keyword,
                                               bool upper) const {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return std::optional<int64_t>();
  if (!found->is_number()) return schema_error(place, keyword, "expected a number");
  constexpr double kFar = 4e18;  // beyond all integers that are written, and within 64 bits
  const double value = std::clamp(found->get<double>(), -kFar, kFar);
  const bool exclusive = std::string_view(keyword).starts_with("exclusive");
  const bool exact = found->is_number_integer() && std::abs(value) < kFar;
  int64_t result =
      exact ? found->get<int64_t>() : static_cast<int64_t>(upper ? std::floor(value) : std::ceil(value));
  if (exclusive && (exact || value == std::floor(value))) result += upper ? -1 : 1;
  return std::optional(result);
}

Result<Compiler::Range> Compiler::range(const Json& schema, const Place& place, const char* least,
                                        const char* most) const {
  Range range;
  for (const char* keyword : {least, most}) {
    const auto found = schema.find(keyword);
    if (found == schema.end()) continue;
    const double value = found->is_number() ? found->get<double>() : -1.0;
    constexpr double kFar = 1e15;
    if (value < 0.0 || value != std::floor(value) || value > kFar)
      return schema_error(place, keyword, "expected a whole number, 0 or more");
    (keyword == least ? range.least : range.most) = static_cast<int64_t>(value);
  }
  return range;
}

}  // namespace

Result<std::shared_ptr<const JsonGrammar>> compile_json_schema(const Json& schema) {
  return Compiler(schema).run();
}

std::shared_ptr<const JsonGrammar> any_json_object() {
  static const std::shared_ptr<const JsonGrammar> grammar = [] {
    const Json schema = {{"type", "object"}};
    return compile_json_schema(schema).value();
  }();
  return grammar;
}

}  // namespace mla
