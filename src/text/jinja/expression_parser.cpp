#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace mla::jinja {
namespace {

struct Operator {
  std::string_view spelling;
  BinaryOperator op;
};
constexpr std::array<Operator, 2> kSums = {{{"+", BinaryOperator::kAdd}, {"-", BinaryOperator::kSubtract}}};
constexpr std::array<Operator, 4> kProducts = {{{"*", BinaryOperator::kMultiply},
                                                {"/", BinaryOperator::kDivide},
                                                {"//", BinaryOperator::kFloorDivide},
                                                {"%", BinaryOperator::kModulo}}};
constexpr std::array<std::pair<std::string_view, Comparison>, 6> kComparisons = {
    {{"==", Comparison::kEqual},
     {"!=", Comparison::kNotEqual},
     {"<", Comparison::kLess},
     {"<=", Comparison::kLessEqual},
     {">", Comparison::kGreater},
     {">=", Comparison::kGreaterEqual}}};

template <size_t N>
std::optional<BinaryOperator> one_of(const TokenStream& stream, const std::array<Operator, N>& all) {
  for (const auto& [spelling, op] : all) {
    if (stream.at_operator(spelling)) return op;
  }
  return std::nullopt;
}

size_t height_of(const Expression* e) {
  return e == nullptr ? 0 : e->height;
}

[[noreturn]] void fail_nesting(Position at, size_t most) {
  throw SyntaxFailure(at, fmt::format("nested more than {} levels deep", most));
}

}  // namespace

NameId NameTable::id(const std::string& name) {
  const auto [at, added] = ids_.emplace(name, static_cast<NameId>(names_.size()));
  if (added) {
    names_.push_back(name);
    is_read_.push_back(false);
  }
  return at->second;
}

Nesting::Nesting(size_t& depth, size_t most, Position at) : depth_(depth) {
  if (depth >= most) fail_nesting(at, most);
  ++depth_;
}

template <typename Node>
ExpressionPtr ExpressionParser::make(Position at, Node node, size_t height_below) {
  if (height_below >= max_depth_) fail_nesting(at, max_depth_);
  return std::make_unique<const Expression>(Expression{at, height_below + 1, std::move(node)});
}

template <typename Node>
ExpressionPtr ExpressionParser::make(Position at, Node node, std::initializer_list<const Expression*> below) {
  size_t most = 0;
  for (const Expression* e : below) most = std::max(most, height_of(e));
  return make(at, std::move(node), most);
}

size_t ExpressionParser::height(const std::vector<ExpressionPtr>& all) {
  size_t most = 0;
  for (const ExpressionPtr& e : all) most = std::max(most, height_of(e.get()));
  return most;
}

size_t ExpressionParser::height(const ArgumentList& a) {
  size_t most =
      std::max({height(a.positional), height_of(a.unpacked.get()), height_of(a.unpacked_named.get())});
  for (const Argument& named : a.keyword) most = std::max(most, height_of(named.value.get()));
  return most;
}

ExpressionPtr ExpressionParser::expression() {
  const Nesting nesting(depth_, max_depth_, stream_.position());
  const Position at = stream_.position();
  ExpressionPtr value = disjunction();
  while (stream_.skip_name("if")) {
    ExpressionPtr test = disjunction(), otherwise;
    if (stream_.skip_name("else")) otherwise = expression();
    const std::initializer_list<const Expression*> below = {value.get(), test.get(), otherwise.get()};
    value = make(at, Conditional{std::move(test), std::move(value), std::move(otherwise)}, below);
  }
  return value;
}

ExpressionPtr ExpressionParser::unconditional() {
  const Nesting nesting(depth_, max_depth_, stream_.position());
  return disjunction();
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  while (stream_.at_name("or")) {
    const Position at = stream_.take().at;
    ExpressionPtr right = conjunction();
    const size_t below = std::max(left->height, right->height);
    left = make(at, Logical{false, std::move(left), std::move(right)}, below);
  }
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  while (stream_.at_name("and")) {
    const Position at = stream_.take().at;
    ExpressionPtr right = negation();
    const size_t below = std::max(left->height, right->height);
    left = make(at, Logical{true, std::move(left), std::move(right)}, below);
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!stream_.at_name("not")) return comparison();
  const Position at = stream_.take().at;
  const Nesting nesting(depth_, max_depth_, at);
  ExpressionPtr operand = negation();
  const size_t below = operand->height;
  return make(at, Not{std::move(operand)}, below);
}

ExpressionPtr ExpressionParser::comparison() {
  const Position at = stream_.position();
  ExpressionPtr first = sum();
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
  size_t below = first->height;
  for (;;) {
    std::optional<Comparison> op;
    for (const auto& [spelling, comparison] : kComparisons) {
      if (stream_.at_operator(spelling)) op = comparison;
    }
    if (stream_.at_name("in")) op = Comparison::kIn;
    if (stream_.at_name("not") && stream_.peek(1).is_name("in")) {
      stream_.take();
      op = Comparison::kNotIn;
    }
    if (!op) break;
    stream_.take();
    rest.emplace_back(*op, sum());
    below = std::max(below, rest.back().second->height);
  }
  if (rest.empty()) return first;
  return make(at, ComparisonChain{std::move(first), std::move(rest)}, below);
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (const auto op = one_of(stream_, kSums)) {
    const Position at = stream_.take().at;
    ExpressionPtr right = concatenation();
    const size_t below = std::max(left->height, right->height);
    left = make(at, Binary{*op, std::move(left), std::move(right)}, below);
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  const Position at = stream_.position();
  ExpressionPtr first = product();
  if (!stream_.at_operator("~")) return first;
  std::vector<ExpressionPtr> parts;
  parts.push_back(std::move(first));
  while (stream_.skip_operator("~")) parts.push_back(product());
  const size_t below = height(parts);
  return make(at, Concatenation{std::move(parts)}, below);
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (const auto op = one_of(stream_, kProducts)) {
    const Position at = stream_.take().at;
    ExpressionPtr right = power();
    const size_t below = std::max(left->height, right->height);
    left = make(at, Binary{*op, std::move(left), std::move(right)}, below);
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary();
  while (stream_.at_operator("**")) {
    const Position at = stream_.take().at;
    ExpressionPtr right = unary();
    const size_t below = std::max(left->height, right->height);
    left = make(at, Binary{BinaryOperator::kPower, std::move(left), std::move(right)}, below);
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filter) {
  const Position at = stream_.position();
  ExpressionPtr operand;
  if (stream_.at_operator("-") || stream_.at_operator("+")) {
    const Nesting nesting(depth_, max_depth_, at);
    const bool negative = stream_.take().text == "-";
    ExpressionPtr inner = unary(/*with_filter=*/false);
    const size_t below = inner->height;
    operand = make(at, Sign{negative, std::move(inner)}, below);
  } else {
    operand = primary();
  }
  operand = postfix(std::move(operand));
  return with_filter ? filters_and_tests(std::move(operand)) : std::move(operand);
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = stream_.peek();
  switch (token.type) {
    case TokenType::kName:
      return name_or_constant();
    case TokenType::kString:
      return string();
    case TokenType::kInteger:
    case TokenType::kFloat:
      return number();
    default:
      break;
  }
  if (stream_.skip_operator("(")) {
    ExpressionPtr inner = expression_or_tuple(/*loop=*/false, /*in_parentheses=*/true);
    stream_.expect_operator(")");
    return inner;
  }
  if (token.is_operator("[")) return list();
  if (token.is_operator("{")) return dict();
  stream_.fail_expected("an expression");
}

ExpressionPtr ExpressionParser::name_or_constant() {
  const Token token = stream_.take();
  const std::string& name = token.text;
  const auto constant = [&](Value value) { return make(token.at, Literal{value, nullptr}, 0); };
  if (name == "true" || name == "True") return constant(Value::of(true));
  if (name == "false" || name == "False") return constant(Value::of(false));
  if (name == "none" || name == "None") return constant(Value::none());
  special_names_.caller = special_names_.caller || name == "caller";
  special_names_.varargs = special_names_.varargs || name == "varargs";
  special_names_.kwargs = special_names_.kwargs || name == "kwargs";
  const NameId id = names_.id(name);
  names_.mark_read(id);
  return make(token.at, Name{id}, 0);
}

ExpressionPtr ExpressionParser::string() {
  const Position at = stream_.position();
  Text text;
  while (stream_.peek().type == TokenType::kString) text.bytes += stream_.take().text;
  auto owned = std::make_unique<const Text>(std::move(text));
  const Value value = Value::of(owned.get());
  return make(at, Literal{value, std::move(owned)}, 0);
}

ExpressionPtr ExpressionParser::number() {
  const Token token = stream_.take();
  const char* end = token.text.data() + token.text.size();
  if (token.type == TokenType::kFloat) {
    double value = 0;
    const auto read = std::from_chars(token.text.data(), end, value);
    if (read.ec == std::errc::result_out_of_range)
      value = token.text.find("e-") != std::string::npos ? 0.0 : HUGE_VAL;
    return make(token.at, Literal{Value::of(value), nullptr}, 0);
  }
  const char kind = token.text.size() > 2 ? static_cast<char>(token.text[1] | 0x20) : '\0';
  const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  int64_t value = 0;
  const auto read = std::from_chars(token.text.data() + (base == 10 ? 0 : 2), end, value, base);
  if (read.ec != std::errc() || read.ptr != end)
    throw SyntaxFailure(token.at, fmt::format("the integer {} is beyond 64 bits", describe(token)));
  return make(token.at, Literal{Value::of(value), nullptr}, 0);
}

bool ExpressionParser::at_tuple_end(bool loop) const {
  const Token& token = stream_.peek();
  if (token.type == TokenType::kVariableEnd || token.type == TokenType::kBlockEnd || token.is_operator(")"))
    return true;
  return loop && token.is_name("recursive");
}

ExpressionPtr ExpressionParser::expression_or_tuple(bool loop, bool in_parentheses) {
  const Nesting nesting(depth_, max_depth_, stream_.position());
  const Position at = stream_.position();
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end(loop)) {
    items.push_back(loop ? unconditional() : expression());
    if (!stream_.skip_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (items.empty() && !in_parentheses) stream_.fail_expected("an expression");
  const size_t below = height(items);
  return make(at, ListDisplay{std::move(items), /*is_tuple=*/true}, below);
}

ExpressionPtr ExpressionParser::list() {
  const Position at = stream_.take().at;
  std::vector<ExpressionPtr> items;
  while (!stream_.at_operator("]")) {
    items.push_back(expression());
    if (!stream_.at_operator("]") && !stream_.skip_operator(",")) stream_.fail_expected("\",\" or \"]\"");
  }
  stream_.take();
  const size_t below = height(items);
  return make(at, ListDisplay{std::move(items), /*is_tuple=*/false}, below);
}

ExpressionPtr ExpressionParser::dict() {
  const Position at = stream_.take().at;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
  size_t below = 0;
  while (!stream_.at_operator("}")) {
    ExpressionPtr key = expression();
    stream_.expect_operator(":");
    ExpressionPtr value = expression();
    below = std::max({below, key->height, value->height});
    items.emplace_back(std::move(key), std::move(value));
    if (!stream_.at_operator("}") && !stream_.skip_operator(",")) stream_.fail_expected("\",\" or \"}\"");
  }
  stream_.take();
  return make(at, DictDisplay{std::move(items)}, below);
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr operand) {
  for (;;) {
    if (stream_.at_operator(".")) {
      operand = dotted(std::move(operand));
    } else if (stream_.at_operator("[")) {
      operand = subscript(std::move(operand));
    } else if (stream_.at_operator("(")) {
      operand = call(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExpressionPtr ExpressionParser::dotted(ExpressionPtr object) {
  const Position at = stream_.take().at;
  const size_t below = object->height;
  if (stream_.peek().type == TokenType::kInteger) {
    ExpressionPtr index = number();
    return make(at, Item{std::move(object), std::move(index)}, below);
  }
  const Token name = stream_.expect(TokenType::kName, "a name behind the dot");
  return make(at, Attribute{std::move(object), name.text}, below);
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  const Position at = stream_.take().at;
  ExpressionPtr start, stop, step;
  bool is_slice = false;
  const auto at_end = [&] { return stream_.at_operator("]") || stream_.at_operator(":"); };
  if (stream_.at_operator("]")) stream_.fail_expected("an index");
  if (!at_end()) start = expression();
  if (stream_.skip_operator(":")) {
    is_slice = true;
    if (!at_end()) stop = expression();
    if (stream_.skip_operator(":") && !at_end()) step = expression();
  }
  stream_.expect_operator("]");
  const std::initializer_list<const Expression*> below = {object.get(), start.get(), stop.get(), step.get()};
  if (is_slice)
    return make(at, Slice{std::move(object), std::move(start), std::move(stop), std::move(step)}, below);
  return make(at, Item{std::move(object), std::move(start)}, below);
}

ExpressionPtr ExpressionParser::call(ExpressionPtr callee) {
  const Position at = stream_.position();
  ArgumentList list = arguments();
  const size_t below = std::max(callee->height, height(list));
  return make(at, Call{std::move(callee), std::move(list)}, below);
}

ArgumentList ExpressionParser::arguments() {
  const Position call = stream_.take().at;
  ArgumentList list;
  while (!stream_.at_operator(")")) {
    argument(list, call);
    if (!stream_.at_operator(")") && !stream_.skip_operator(",")) stream_.fail_expected("\",\" or \")\"");
  }
  stream_.take();
  return list;
}

void ExpressionParser::argument(ArgumentList& list, Position call) {
  const auto require = [&](bool right_place) {
    if (!right_place) throw SyntaxFailure(call, "invalid syntax for function call expression");
  };
  if (stream_.skip_operator("*")) {
    require(list.unpacked == nullptr && list.unpacked_named == nullptr);
    list.unpacked = expression();
  } else if (stream_.skip_operator("**")) {
    require(list.unpacked_named == nullptr);
    list.unpacked_named = expression();
  } else if (stream_.peek().type == TokenType::kName && stream_.peek(1).is_operator("=")) {
    require(list.unpacked_named == nullptr);
    std::string name = stream_.take().text;
    stream_.take();
    list.keyword.push_back({std::move(name), expression()});
  } else {
    require(list.unpacked == nullptr && list.unpacked_named == nullptr && list.keyword.empty());
    list.positional.push_back(expression());
  }
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr operand) {
  for (;;) {
    if (stream_.skip_operator("|")) {
      operand = filter(std::move(operand));
    } else if (stream_.at_name("is")) {
      operand = test(std::move(operand));
    } else if (stream_.at_operator("(")) {
      operand = call(std::move(operand));
    } else {
      return operand;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr input) {
  const Token name = stream_.expect(TokenType::kName, "the name of a filter");
  ArgumentList list;
  if (stream_.at_operator("(")) list = arguments();
  const size_t below = std::max(height_of(input.get()), height(list));
  return make(name.at, FilterCall{std::move(input), name.text, find_filter(name.text), std::move(list)},
              below);
}

ExpressionPtr ExpressionParser::block_filter() {
  ExpressionPtr chain = filter(nullptr);
  while (stream_.skip_operator("|")) chain = filter(std::move(chain));
  return chain;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  const Position at = stream_.take().at;
  const bool negated = stream_.skip_name("not");
  const Token name = stream_.expect(TokenType::kName, "the name of a test");
  ArgumentList list;
  const Token& next = stream_.peek();
  const bool operand = next.type == TokenType::kName || next.type == TokenType::kString ||
                       next.type == TokenType::kInteger || next.type == TokenType::kFloat ||
                       next.is_operator("[") || next.is_operator("{");
  if (next.is_operator("(")) {
    list = arguments();
  } else if (operand && !next.is_name("else") && !next.is_name("or") && !next.is_name("and")) {
    if (next.is_name("is")) throw SyntaxFailure(next.at, "You cannot chain multiple tests with is");
    list.positional.push_back(postfix(primary()));
  }
  const size_t below = std::max(input->height, height(list));
  ExpressionPtr result =
      make(at, TestCall{std::move(input), name.text, find_test(name.text), std::move(list)}, below);
  return negated ? make(at, Not{std::move(result)}, below + 1) : std::move(result);
}

Target ExpressionParser::target(bool attributes) {
  const Nesting nesting(depth_, max_depth_, stream_.position());
  Target first = single_target(attributes);
  if (!stream_.at_operator(",")) return first;
  Target all{.at = first.at, .is_tuple = true};
  all.parts.push_back(std::move(first));
  while (stream_.skip_operator(",")) {
    if (stream_.peek().type != TokenType::kName && !stream_.at_operator("(")) break;
    if (stream_.at_name("in")) break;
    all.parts.push_back(single_target(attributes));
  }
  return all;
}

Target ExpressionParser::single_target(bool attributes) {
  if (stream_.skip_operator("(")) {
    Target inner = target(attributes);
    stream_.expect_operator(")");
    return inner;
  }
  const Token name = stream_.expect(TokenType::kName, "a variable to assign to");
  for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (name.text == constant)
      throw SyntaxFailure(name.at, fmt::format("can't assign to {}", describe(name)));
  }
  Target target{.at = name.at, .id = names_.id(name.text)};
  if (attributes && stream_.skip_operator("."))
    target.attribute = stream_.expect(TokenType::kName, "the name of a namespace's attribute").text;
  return target;
}

std::vector<Parameter> ExpressionParser::parameters() {
  std::vector<Parameter> all;
  stream_.expect_operator("(");
  while (!stream_.at_operator(")")) {
    if (!all.empty()) stream_.expect_operator(",");
    const Token name = stream_.expect(TokenType::kName, "the name of a parameter");
    ExpressionPtr missing;
    if (stream_.skip_operator("=")) {
      missing = expression();
    } else if (!all.empty() && all.back().missing != nullptr) {
      throw SyntaxFailure(name.at, "non-default argument follows default argument");
    }
    all.push_back({names_.id(name.text), name.text, std::move(missing)});
  }
  stream_.take();
  return all;
}

}  // namespace mla::jinja
