#include "text/jinja/parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace mla::jinja {
namespace {

/// "line:column message" of what is wrong with a source, or "ok".
std::string failure(std::string_view source) {
  try {
    parse(source, 200);
  } catch (const SyntaxFailure& f) {
    return fmt::format("{}:{} {}", f.at().line, f.at().column, f.what());
  }
  return "ok";
}

TEST(Parser, SaysWhatItFoundAndWhatItExpected) {
  EXPECT_EQ(failure("{{ a"), "1:1 the tag has no end: expected \"}}\"");
  EXPECT_EQ(failure("{{ }}"), "1:4 found \"}}\", expected an expression");
  EXPECT_EQ(failure("{{ a b }}"), "1:6 found \"b\", expected \"}}\"");
  EXPECT_EQ(failure("{{ 'a' 1 }}"), "1:8 found \"1\", expected \"}}\"");
  EXPECT_EQ(failure("{{ [1 2] }}"), "1:7 found \"2\", expected \",\" or \"]\"");
  EXPECT_EQ(failure("{{ {'a' 1} }}"), "1:9 found \"1\", expected \":\"");
  EXPECT_EQ(failure("{{ f(1 2) }}"), "1:8 found \"2\", expected \",\" or \")\"");
  EXPECT_EQ(failure("{{ f(a=1, 2) }}"), "1:5 invalid syntax for function call expression");
  EXPECT_EQ(failure("{{ a. }}"), "1:7 found \"}}\", expected a name behind the dot");
  EXPECT_EQ(failure("{{ a | }}"), "1:8 found \"}}\", expected the name of a filter");
  EXPECT_EQ(failure("{{ a[] }}"), "1:6 found \"]\", expected an index");
  EXPECT_EQ(failure("{{ ] }}"), "1:4 unexpected ']': nothing is open that it could close");
  EXPECT_EQ(failure("{{ (1] }}"), "1:6 unexpected ']', expected ')'");
  EXPECT_EQ(failure("{{ $ }}"), "1:4 unexpected character \"$\"");
  EXPECT_EQ(failure("{{ 'abc }}"), "1:4 a string has no end: expected '");
  EXPECT_EQ(failure("{{ '\\xZZ' }}"), "1:4 the escape \\x in a string needs 2 hexadecimal digits");
  EXPECT_EQ(failure("{{ 99999999999999999999 }}"), "1:4 the integer \"99999999999999999999\" is beyond 64 bits");
  EXPECT_EQ(failure("\n\n  {# a"), "3:3 a comment has no end: expected \"#}\" for the \"{#\" here");
  EXPECT_EQ(failure("\xC3\xA9{% raw %}a"), "1:2 a raw block has no end: expected {% endraw %}");
}

TEST(Parser, SaysWhichBlockIsOpen) {
  EXPECT_EQ(failure("{% if a %}\n\nb"), "3:2 found the end of the template, expected {% endif %} for the {% if %} of line 1");
  EXPECT_EQ(failure("{% for x in y %}{% endif %}"),
            "1:20 found the unknown statement \"endif\", expected \"endfor\" or a statement");
  EXPECT_EQ(failure("{% endfor %}"), "1:4 found the unknown statement \"endfor\"");
  EXPECT_EQ(failure("{% for x y %}{% endfor %}"), "1:10 found \"y\", expected \"in\"");
  EXPECT_EQ(failure("{% set x %}"), "1:12 found the end of the template, expected {% endset %} for the {% set %} of line 1");
  EXPECT_EQ(failure("{% set true = 1 %}"), "1:8 can't assign to \"true\"");
  EXPECT_EQ(failure("{% macro m(a=1, b) %}{% endmacro %}"), "1:17 non-default argument follows default argument");
  EXPECT_EQ(failure("{% break %}"), "1:4 {% break %} outside of a loop");
  EXPECT_EQ(failure("{% include 'x' %}"), "1:4 {% include %} is not supported: a chat template is one file");
  EXPECT_EQ(failure("{% for x in y recursive %}{% endfor %}"),
            "1:15 recursive loops are not supported: use a macro that calls itself");
}

// Other bytes than text stay where they are; every cut of a template is refused or read, and nothing else happens.
TEST(Parser, TakesAnyBytes) {
  EXPECT_EQ(failure("\xFF\xFE {{ '\xFF' }} \xC3"), "ok");
  EXPECT_EQ(failure("{{ \xFF }}"), "1:4 unexpected character \"\xEF\xBF\xBD\" in a name");
  const std::string_view whole =
      "{%- macro m(a, b=1) -%}{{ a ~ 'x\\n' }}{%- endmacro -%}{# c #}{% raw %}{{{% endraw %}{% for i in range(3) if i is odd %}"
      "{{ m(i, b={'k': [1, 2.5e3][::-1]}) | upper }}{% else %}-{% endfor %}{% set ns.x = not 1 %}";
  for (size_t n = 0; n <= whole.size(); ++n) failure(whole.substr(0, n));
  EXPECT_EQ(failure(whole), "ok");
}

}  // namespace
}  // namespace mla::jinja
