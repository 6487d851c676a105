#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "text/jinja/failure.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"
#include "text/jinja/strings.h"

namespace mla::jinja {
namespace {

/// What the arguments `attribute` and `case_sensitive` make of an element.
class Key {
 public:
  Key(Heap& heap, const std::optional<Value>& attribute, bool ignores_case)
      : heap_(heap), ignores_case_(ignores_case) {
    if (!attribute || attribute->is(Kind::kNone)) return;
    if (!attribute->is_string()) {
      path_.push_back(*attribute);
      return;
    }
    const Value dot = heap.string(".");
    for (const Value& part : split(heap, *attribute->text, *dot.text, -1)) {
      const std::string_view name = part.bytes();
      const bool number =
          !name.empty() && name.size() < 18 && name.find_first_not_of("0123456789") == std::string_view::npos;
      path_.push_back(number ? Value::of(static_cast<int64_t>(std::stoll(std::string(name)))) : part);
    }
  }

  void set_default(const Value& value) { default_ = value; }

  Value operator()(const Value& element) const {
    Value value = element;
    for (const Value& part : path_) {
      value = item(heap_, value, part);
      if (value.is_undefined() && default_) value = *default_;
    }
    return ignores_case_ && value.is_string() ? change_case(heap_, *value.text, Case::kLower) : value;
  }

 private:
  Heap& heap_;
  bool ignores_case_;
  std::vector<Value> path_;
  std::optional<Value> default_;
};

bool is_true(const std::optional<Value>& value) {
  return value && truthy(*value);
}

Value iterator(Heap& heap, std::vector<Value> items) {
  return heap.sequence(Kind::kIterator, std::move(items));
}

Value filter_list(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("list", arguments, {});
  return heap.list(elements(heap, input));
}

Value filter_first(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("first", arguments, {});
  if (input.is(Kind::kIterator)) {
    Sequence& s = *input.sequence;
    return s.next < s.items.size() ? s.items[s.next++] : heap.undefined("No first item, sequence was empty.");
  }
  const std::vector<Value> items = elements(heap, input);
  return items.empty() ? heap.undefined("No first item, sequence was empty.") : items.front();
}

Value filter_last(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("last", arguments, {});
  if (input.is(Kind::kIterator)) throw Failure("'generator' object is not reversible");
  const std::vector<Value> items = elements(heap, input);
  return items.empty() ? heap.undefined("No last item, sequence was empty.") : items.back();
}

Value filter_join(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [separator, attribute] = bind<2>("join", arguments, {"d", "attribute"});
  const Key key(heap, attribute, false);
  TextBuilder out(heap), between(heap);
  if (separator) append_str(between, *separator);
  const Text gap = between.take();
  bool first = true;
  for (const Value& element : elements(heap, input)) {
    if (!first) out.append(gap);
    first = false;
    append_str(out, key(element));
  }
  return out.take_value();
}

Value filter_items(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("items", arguments, {});
  if (input.is_undefined()) return iterator(heap, {});
  if (!input.is(Kind::kDict)) throw Failure("Can only get item pairs from a mapping.");
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.dict->entries) pairs.push_back(heap.tuple({key, value}));
  return iterator(heap, std::move(pairs));
}

/// The elements in the order of their keys; equal ones keep theirs, also when the order is reversed.
std::vector<Value> sorted(Heap& heap, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> order(items.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? less(heap, keys[b], keys[a]) : less(heap, keys[a], keys[b]);
  });
  std::vector<Value> result;
  for (const size_t i : order) result.push_back(items[i]);
  return result;
}

Value filter_sort(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [reverse, case_sensitive, attribute] =
      bind<3>("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  std::vector<Key> parts;
  if (attribute && attribute->is_string()) {
    const Value comma = heap.string(",");
    for (const Value& part : split(heap, *attribute->text, *comma.text, -1))
      parts.emplace_back(heap, part, !is_true(case_sensitive));
  } else {
    parts.emplace_back(heap, attribute, !is_true(case_sensitive));
  }
  const std::vector<Value> items = elements(heap, input);
  std::vector<Value> keys;
  for (const Value& element : items) {
    std::vector<Value> key;
    for (const Key& part : parts) key.push_back(part(element));
    keys.push_back(heap.list(std::move(key)));
  }
  return heap.list(sorted(heap, items, keys, is_true(reverse)));
}

Value filter_dictsort(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [case_sensitive, by, reverse] =
      bind<3>("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string_view what = by ? std::string_view(require_string(*by).bytes) : "key";
  if (what != "key" && what != "value") throw Failure("You can only sort by either \"key\" or \"value\"");
  require_defined(input);
  if (!input.is(Kind::kDict))
    throw Failure(fmt::format("'{}' object has no attribute 'items'", type_name(input)));
  const Key key(heap, std::nullopt, !is_true(case_sensitive));
  std::vector<Value> pairs, keys;
  for (const auto& [name, value] : input.dict->entries) {
    pairs.push_back(heap.tuple({name, value}));
    keys.push_back(key(what == "key" ? name : value));
  }
  return heap.list(sorted(heap, pairs, keys, is_true(reverse)));
}

Value filter_unique(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [case_sensitive, attribute] = bind<2>("unique", arguments, {"case_sensitive", "attribute"});
  const Key key(heap, attribute, !is_true(case_sensitive));
  const Value seen = heap.dict();
  std::vector<Value> items;
  for (const Value& element : elements(heap, input)) {
    const size_t before = seen.dict->entries.size();
    heap.insert(*seen.dict, key(element), Value::none());
    if (seen.dict->entries.size() > before) items.push_back(element);
  }
  return iterator(heap, std::move(items));
}

Value filter_reverse(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("reverse", arguments, {});
  std::vector<Value> items = elements(heap, input);
  std::reverse(items.begin(), items.end());
  if (!input.is_string()) return iterator(heap, std::move(items));
  TextBuilder out(heap);
  for (const Value& c : items) out.append(*c.text);
  return out.take_value(input.text->markup);
}

CallArguments behind(const CallArguments& arguments, size_t n) {
  CallArguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(n),
                         arguments.positional.end());
  rest.keyword = arguments.keyword;
  return rest;
}

Value filter_map(Heap& heap, const Value& input, const CallArguments& arguments) {
  std::vector<Value> mapped;
  if (!truthy(input)) return iterator(heap, {});
  if (arguments.positional.empty() && arguments.find("attribute") != nullptr) {
    const auto [attribute, missing] = bind<2>("map", arguments, {"attribute", "default"});
    Key key(heap, attribute, false);
    if (missing && !missing->is(Kind::kNone)) key.set_default(*missing);
    for (const Value& element : elements(heap, input)) mapped.push_back(key(element));
    return iterator(heap, std::move(mapped));
  }
  if (arguments.positional.empty()) throw Failure("map requires a filter argument");
  const std::string& name = require_string(arguments.positional[0]).bytes;
  const CallArguments rest = behind(arguments, 1);
  for (const Value& element : elements(heap, input))
    mapped.push_back(apply_filter(heap, name, element, rest));
  return iterator(heap, std::move(mapped));
}

/// select, reject, selectattr, rejectattr.
template <bool kByAttribute, bool kKeep>
Value filter_select(Heap& heap, const Value& input, const CallArguments& arguments) {
  if (!truthy(input)) return iterator(heap, {});
  constexpr size_t kTest = kByAttribute ? 1 : 0;
  if (arguments.positional.size() < kTest) throw Failure("Missing parameter for attribute name");
  const Key key(heap, kByAttribute ? std::optional(arguments.positional[0]) : std::nullopt, false);
  const bool has_test = arguments.positional.size() > kTest;
  const CallArguments rest = has_test ? behind(arguments, kTest + 1) : CallArguments();
  std::vector<Value> kept;
  for (const Value& element : elements(heap, input)) {
    const Value value = key(element);
    const bool passes = has_test
                            ? apply_test(heap, require_string(arguments.positional[kTest]).bytes, value, rest)
                            : truthy(value);
    if (passes == kKeep) kept.push_back(element);
  }
  return iterator(heap, std::move(kept));
}

template <bool kGreatest>
Value filter_extreme(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [case_sensitive, attribute] = bind<2>("min", arguments, {"case_sensitive", "attribute"});
  const Key key(heap, attribute, !is_true(case_sensitive));
  std::optional<std::pair<Value, Value>> best;  // key, element
  for (const Value& element : elements(heap, input)) {
    const Value k = key(element);
    if (!best || (kGreatest ? less(heap, best->first, k) : less(heap, k, best->first))) best = {k, element};
  }
  return best ? best->second : heap.undefined("No aggregated item, sequence was empty.");
}

Value filter_sum(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [attribute, start] = bind<2>("sum", arguments, {"attribute", "start"});
  const Key key(heap, attribute, false);
  Value total = start.value_or(Value::of(int64_t{0}));
  if (total.is_string()) throw Failure("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& element : elements(heap, input))
    total = binary(heap, BinaryOperator::kAdd, total, key(element));
  return total;
}

Value filter_batch(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [linecount, fill] = bind<2>("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t n = require_integer(*linecount);
  if (n < 1) throw Failure("batch: a line must have at least one element");
  const auto size = static_cast<size_t>(n);
  std::vector<Value> lines, line;
  for (const Value& element : elements(heap, input)) {
    if (line.size() == size) lines.push_back(heap.list(std::exchange(line, {})));
    line.push_back(element);
  }
  if (!line.empty()) {
    const bool fills = fill && !fill->is(Kind::kNone) && line.size() < size;
    if (fills) heap.charge_bytes(std::min(size, heap.limits().max_output) * sizeof(Value));
    if (fills) line.resize(size, *fill);
    lines.push_back(heap.list(std::move(line)));
  }
  return iterator(heap, std::move(lines));
}

Value filter_slice(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [slices, fill] = bind<2>("slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t n = require_integer(*slices);
  if (n == 0) throw Failure("integer division or modulo by zero");
  const std::vector<Value> items = elements(heap, input);
  const auto count = static_cast<size_t>(std::max<int64_t>(n, 0));
  std::vector<Value> columns;
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t size = items.size() / count + (i < items.size() % count ? 1 : 0);
    std::vector<Value> column(items.begin() + static_cast<std::ptrdiff_t>(at),
                              items.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (fill && !fill->is(Kind::kNone) && i >= items.size() % count) column.push_back(*fill);
    columns.push_back(heap.list(std::move(column)));
  }
  return iterator(heap, std::move(columns));
}

Value filter_groupby(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [attribute, missing, case_sensitive] =
      bind<3>("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  Key key(heap, attribute, !is_true(case_sensitive)), shown(heap, attribute, false);
  if (missing && !missing->is(Kind::kNone)) {
    key.set_default(*missing);
    shown.set_default(*missing);
  }
  const std::vector<Value> items = elements(heap, input);
  std::vector<Value> keys;
  for (const Value& element : items) keys.push_back(key(element));
  const std::vector<Value> ordered = sorted(heap, items, keys, false);
  std::vector<Value> groups, group;
  for (size_t i = 0; i < ordered.size(); ++i) {
    group.push_back(ordered[i]);
    const bool ends = i + 1 == ordered.size() || !equal(heap, key(ordered[i]), key(ordered[i + 1]));
    if (!ends) continue;
    const Value grouper = shown(group.front());
    groups.push_back(heap.tuple({grouper, heap.list(std::exchange(group, {}))}));
  }
  return heap.list(std::move(groups));
}

}  // namespace

Filter find_sequence_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"batch", filter_batch},
      {"dictsort", filter_dictsort},
      {"first", filter_first},
      {"groupby", filter_groupby},
      {"items", filter_items},
      {"join", filter_join},
      {"last", filter_last},
      {"list", filter_list},
      {"map", filter_map},
      {"max", filter_extreme<true>},
      {"min", filter_extreme<false>},
      {"reject", filter_select<false, false>},
      {"rejectattr", filter_select<true, false>},
      {"reverse", filter_reverse},
      {"select", filter_select<false, true>},
      {"selectattr", filter_select<true, true>},
      {"slice", filter_slice},
      {"sort", filter_sort},
      {"sum", filter_sum},
      {"unique", filter_unique},
  };
  const auto hit = kFilters.find(name);
  return hit == kFilters.end() ? nullptr : hit->second;
}

}  // namespace mla::jinja
