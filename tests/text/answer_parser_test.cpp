#include "text/answer_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>

#include "support/vocabularies.h"
#include "text/tool_call_reader.h"

namespace mla {
namespace {

using Kind = AnswerPart::Kind;
using Format = ToolCallFormat;

/// Parts with those side by side that are one text put together, as a client does.
void join(std::vector<AnswerPart>& all, std::vector<AnswerPart> more) {
  for (AnswerPart& part : more) {
    const bool continues = !all.empty() && part.kind != Kind::kCallBegins && all.back().kind == part.kind &&
                           all.back().call == part.call;
    if (continues) {
      all.back().text += part.text;
    } else {
      all.push_back(std::move(part));
    }
  }
}

/// "content", "reasoning: text", "call 0 name (id): arguments": what a test can be read by.
using Lines = std::vector<std::string>;
Lines lines(const std::vector<AnswerPart>& parts) {
  Lines out;
  for (const AnswerPart& part : parts) {
    switch (part.kind) {
      case Kind::kContent:
        out.push_back(part.text);
        break;
      case Kind::kReasoning:
        out.push_back("reasoning: " + part.text);
        break;
      case Kind::kCallBegins:
        out.push_back("call " + std::to_string(part.call) + " " + part.name + " (" + part.id + ")");
        break;
      case Kind::kCallArguments:
        out.back() += ": " + part.text;
        break;
    }
  }
  return out;
}

/// `cuts`: where the answer is cut, ascending.
Lines parse(const AnswerOptions& options, const std::string& answer, const std::vector<size_t>& cuts = {}) {
  AnswerParser parser(options);
  std::vector<AnswerPart> parts;
  size_t at = 0;
  for (const size_t cut : cuts) {
    join(parts, parser.push(std::string_view(answer).substr(at, cut - at)));
    at = cut;
  }
  join(parts, parser.push(std::string_view(answer).substr(at)));
  join(parts, parser.finish());
  const auto calls = std::count_if(parts.begin(), parts.end(),
                                   [](const AnswerPart& part) { return part.kind == Kind::kCallBegins; });
  EXPECT_EQ(parser.n_calls(), calls);
  return lines(parts);
}

const std::string kSectionBegin = "<｜tool▁calls▁begin｜>", kSectionEnd = "<｜tool▁calls▁end｜>";
const std::string kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>",
                  kSep = "<｜tool▁sep｜>";

/// One call as each format writes it, markers of the section left out.
std::string call_text(Format format, const std::string& name, const std::string& arguments, int index) {
  switch (format) {
    case Format::kDeepSeekV3:
      return kCallBegin + "function" + kSep + name + "\n```json\n" + arguments + "\n```" + kCallEnd;
    case Format::kDeepSeekV31:
      return kCallBegin + name + kSep + arguments + kCallEnd;
    case Format::kHermes:
      return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}\n</tool_call>";
    case Format::kKimi:
      return "<|tool_call_begin|>functions." + name + ":" + std::to_string(index) +
             "<|tool_call_argument_begin|>" + arguments + "<|tool_call_end|>";
    case Format::kNone:
      break;
  }
  return {};
}

std::string section(Format format, const std::string& calls) {
  if (format == Format::kHermes) return calls;
  if (format == Format::kKimi) return "<|tool_calls_section_begin|>" + calls + "<|tool_calls_section_end|>";
  return kSectionBegin + calls + kSectionEnd;
}

std::string call_line(Format format, const std::string& name, const std::string& arguments, int index) {
  const std::string i = std::to_string(index);
  const std::string id = format == Format::kKimi ? "functions." + name + ":" + i : "";
  return "call " + i + " " + name + " (" + id + "): " + arguments;
}

constexpr Format kFormats[] = {Format::kDeepSeekV3, Format::kDeepSeekV31, Format::kHermes, Format::kKimi};

TEST(AnswerParser, GivesTextAsItIsWhereNothingIsLookedFor) {
  EXPECT_EQ(parse({}, "a <think>b</think> <tool_call>{}</tool_call> \n"),
            Lines{"a <think>b</think> <tool_call>{}</tool_call> \n"});
  EXPECT_EQ(parse({}, ""), Lines{});
}

TEST(AnswerParser, SplitsThoughts) {
  const AnswerOptions split{.split_reasoning = true};
  EXPECT_EQ(parse(split, "<think>\nHm.\n</think>\n\nYes. \n"), (Lines{"reasoning: Hm.", "Yes. \n"}));
  EXPECT_EQ(parse(split, "\n <think>a <think> b</think>c</think> d"),
            (Lines{"reasoning: a <think> b", "c</think> d"}));
  EXPECT_EQ(parse(split, " Yes <think>no</think>"), Lines{" Yes <think>no</think>"});
  EXPECT_EQ(parse(split, "<think>\n\n</think>\n\nYes"), Lines{"Yes"});
  EXPECT_EQ(parse(split, "<think>cut off \n"), Lines{"reasoning: cut off"});
  EXPECT_EQ(parse(split, "<think>a</thin"), Lines{"reasoning: a</thin"});
  EXPECT_EQ(parse(split, "<thin"), Lines{"<thin"});
  EXPECT_EQ(parse(split, "<think></think>"), Lines{});
  EXPECT_EQ(parse(split, " \n"), Lines{" \n"});
}

TEST(AnswerParser, StartsInsideAThoughtThatThePromptOpened) {
  const AnswerOptions opened{.split_reasoning = true, .starts_reasoning = true};
  EXPECT_EQ(parse(opened, "\nHm.</think>Yes"), (Lines{"reasoning: Hm.", "Yes"}));
  EXPECT_EQ(parse(opened, "<think>\nHm.</think>Yes"), (Lines{"reasoning: Hm.", "Yes"}));
  EXPECT_EQ(parse(opened, "<think><think>Hm.</think>Yes"), (Lines{"reasoning: <think>Hm.", "Yes"}));
  EXPECT_EQ(parse(opened, "</think>\nYes</think>"), Lines{"Yes</think>"});
  EXPECT_EQ(parse(opened, "Hm."), Lines{"reasoning: Hm."});
}

TEST(AnswerParser, ReadsTheCallsOfEveryFormat) {
  for (const Format format : kFormats) {
    const AnswerOptions options{.tools = format};
    const std::string a = R"({"city": "Köln", "days": [1, -2.5e1, null], "x": {"y": true}})";
    const std::string both =
        call_text(format, "weather", a, 0) + "\n" + call_text(format, "add.two-3", "{}", 1);
    const Lines calls = {call_line(format, "weather", a, 0), call_line(format, "add.two-3", "{}", 1)};
    EXPECT_EQ(parse(options, section(format, both)), calls);
    EXPECT_EQ(parse(options, "Let me see. \n" + section(format, both) + "\n"),
              (Lines{"Let me see.", calls[0], calls[1]}));
    EXPECT_EQ(parse(options, section(format, both) + "\nDone \n"), (Lines{calls[0], calls[1], "\nDone \n"}));
    EXPECT_EQ(parse(options, "  \n"), Lines{"  \n"});
    // Without the markers of the section, as small models write.
    EXPECT_EQ(parse(options, both), calls);
    // A second section.
    EXPECT_EQ(parse(options, section(format, call_text(format, "f", "{}", 0)) + " and " +
                                 section(format, call_text(format, "g", "{}", 1))),
              (Lines{call_line(format, "f", "{}", 0), " and", call_line(format, "g", "{}", 1)}));
  }
}

TEST(AnswerParser, LeavesCallsInsideThoughtsAlone) {
  for (const Format format : kFormats) {
    const AnswerOptions options{.split_reasoning = true, .tools = format};
    const std::string call = section(format, call_text(format, "f", "{}", 0));
    EXPECT_EQ(parse(options, "<think>I could " + call + "</think>\n\n" + call),
              (Lines{"reasoning: I could " + call, call_line(format, "f", "{}", 0)}));
    const std::string tagged = R"({"a": "</think><think>"})";
    EXPECT_EQ(parse(options, section(format, call_text(format, "f", tagged, 0))),
              Lines{call_line(format, "f", tagged, 0)});
  }
}

TEST(AnswerParser, MarkersAndBracketsInsideStringsAreText) {
  for (const Format format : kFormats) {
    const std::string inside =
        R"({"a": "</tool_call><tool_call>{\"x\\\": }}]} ```)" + kCallEnd + kSectionEnd + kSep + kCallBegin +
        R"(<|tool_call_end|><|tool_call_argument_begin|>\\", "</tool_call>": ["\\\"}"]})";
    ASSERT_TRUE(nlohmann::json::accept(inside));
    EXPECT_EQ(parse({.tools = format}, "x" + section(format, call_text(format, "f", inside, 0))),
              (Lines{"x", call_line(format, "f", inside, 0)}));
  }
}

TEST(AnswerParser, StreamsArgumentsAsTheyAreWritten) {
  const std::string arguments = R"({"path": "a.txt", "text": "\"é\\\n{]", "n": [1, {"x": null}], "y": true})";
  for (const Format format : kFormats) {
    const std::string call = call_text(format, "write", arguments, 0);
    const size_t begin = call.find(arguments);
    for (const std::string& answer : {call, "So: " + section(format, call)}) {
      AnswerParser parser({.tools = format});
      std::vector<AnswerPart> parts;
      std::string told;
      const size_t first = answer.find(arguments);
      for (size_t at = 0; at < answer.size(); ++at) {
        for (AnswerPart& part : parser.push(std::string_view(answer).substr(at, 1))) {
          if (part.kind == Kind::kCallArguments) told += part.text;
          if (part.kind != Kind::kCallArguments || part.call != 0) parts.push_back(std::move(part));
        }
        const size_t written = at < first ? 0 : std::min(at + 1 - first, arguments.size());
        ASSERT_EQ(told, arguments.substr(0, written)) << "behind byte " << at << " of " << answer;
        ASSERT_EQ(parser.n_calls(), at < first ? 0 : 1);
        ASSERT_EQ(parser.in_call(), at >= first && at + 1 < first - begin + call.size());
      }
      ASSERT_FALSE(parts.empty());
      EXPECT_EQ(parts.back().kind, Kind::kCallBegins);
      EXPECT_EQ(parts.back().name, "write");
      EXPECT_EQ(parts.back().id, format == Format::kKimi ? "functions.write:0" : "");
      EXPECT_EQ(parser.finish().size(), 0U);
    }
  }
}

TEST(AnswerParser, WhatBecomesNoCallIsContent) {
  for (const Format format : kFormats) {
    const AnswerOptions options{.tools = format};
    const std::string whole = call_text(format, "f", R"({"a": 1})", 0);
    for (const std::string arguments : {"[1]", "", "[{}]", "x", "1 {}", "'{}'"}) {
      const std::string broken = "So: " + section(format, call_text(format, "f", arguments, 0)) + " \n";
      EXPECT_EQ(parse(options, broken), Lines{broken});
      // Where it went wrong, what follows is read afresh.
      EXPECT_EQ(parse(options, broken + whole),
                (Lines{broken.substr(0, broken.size() - 2), call_line(format, "f", R"({"a": 1})", 0)}));
    }
  }
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV31}, kSectionBegin + kSectionEnd),
            Lines{kSectionBegin + kSectionEnd});
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV31}, kSectionBegin + " x " + kSectionEnd),
            Lines{kSectionBegin + " x " + kSectionEnd});
  EXPECT_EQ(parse({.tools = Format::kHermes}, "</tool_call> <tool_call>"), Lines{"</tool_call> <tool_call>"});
}

TEST(AnswerParser, PassesArgumentsAsWrittenThatAreNoJson) {
  for (const Format format : kFormats) {
    const AnswerOptions options{.tools = format};
    const Lines next = {call_line(format, "g", "{}", 1)};
    for (const std::string arguments :
         {R"({"a": })", R"({a: 1})", R"({"a": 'b'})", "{\"a\": \"b\nc\"}", R"({"a": 1]})", R"({"a": 01})",
          R"({"a": nul})", "{\"a\": \"\xFF\"}", R"({"a": 1e999})", R"({'a': {'b': "</x>"}})", R"({{"a": ``b`}})"}) {
      const std::string calls = call_text(format, "f", arguments, 0) + call_text(format, "g", "{}", 1);
      EXPECT_EQ(parse(options, "So: " + section(format, calls) + " \n"),
                (Lines{"So:", call_line(format, "f", arguments, 0), next[0]}));
    }
  }
  const auto hermes = [](const std::string& object) { return parse({.tools = Format::kHermes}, "<tool_call>" + object); };
  const std::string head = R"({"name": "f", "arguments": )";
  EXPECT_EQ(hermes(head + "{'a'} \n}\n</tool_call>\n"), Lines{"call 0 f (): {'a'}"});
  EXPECT_EQ(hermes(head + "{'a'\n</tool_call> x"), (Lines{"call 0 f (): {'a'", " x"}));
  EXPECT_EQ(hermes(head + "{\"a\": 1\n</tool_call>"), Lines{"call 0 f (): {\"a\": 1\n"});
  EXPECT_EQ(hermes(head + "{'a'<think></think><tool_call>" + head + "{}}"), (Lines{"call 0 f (): {'a'<think></think>", "call 1 f (): {}"}));
  // A string that nothing ends goes on until it can no longer be one.
  EXPECT_EQ(hermes(head + "{\"a\": \"b}}</tool_call> c\n</tool_call> d"), (Lines{"call 0 f (): {\"a\": \"b}}</tool_call> c", " d"}));
  const std::string v3 = kCallBegin + "function" + kSep + "f\n```json\n";
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV3}, v3 + "{'a'``x\n``` \n" + kCallEnd), Lines{"call 0 f (): {'a'``x"});
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV3}, v3 + "{'a'" + kSep + "\n" + kSectionEnd), (Lines{"call 0 f (): {'a'" + kSep, kSectionEnd}));
}

TEST(AnswerParser, ACallThatIsCutOffHasTheArgumentsWrittenSoFar) {
  const std::string arguments = R"({"a": "b", "c": 1})";
  for (const Format format : kFormats) {
    const std::string whole = call_text(format, "f", arguments, 0);
    const size_t begin = whole.find(arguments);
    for (size_t cut = 1; cut < whole.size(); ++cut) {
      const std::string unfinished = whole.substr(0, cut);
      const size_t written = cut - std::min(cut, begin);
      EXPECT_EQ(parse({.tools = format}, unfinished),
                cut > begin ? Lines{call_line(format, "f", arguments.substr(0, written), 0)} : Lines{unfinished});
    }
  }
}

TEST(AnswerParser, WhatStandsBehindCompleteArgumentsIsContent) {
  const auto behind = [](Format format, const std::string& text) {
    Lines got = parse({.tools = format}, section(format, call_text(format, "f", "{\"a\": 1}" + text, 0)));
    EXPECT_EQ(got.at(0), call_line(format, "f", R"({"a": 1})", 0));
    got.erase(got.begin());
    return got;
  };
  // The marker at the call's end is dropped all the same.
  for (const Format format : {Format::kDeepSeekV31, Format::kKimi}) {
    EXPECT_EQ(behind(format, "}"), Lines{"}"});
    EXPECT_EQ(behind(format, " x"), Lines{" x"});
    EXPECT_EQ(behind(format, " \n"), Lines{});
  }
  EXPECT_EQ(behind(Format::kDeepSeekV3, "}"), Lines{"}\n```"});
  EXPECT_EQ(behind(Format::kDeepSeekV3, " `x"), Lines{" `x\n```"});
  EXPECT_EQ(behind(Format::kDeepSeekV3, "```\ny"), Lines{"\ny\n```"});
  EXPECT_EQ(behind(Format::kHermes, "}"), Lines{"}\n"});
  EXPECT_EQ(behind(Format::kHermes, ", x"), Lines{", x}\n"});
  EXPECT_EQ(behind(Format::kHermes, R"(, "id": "</tool_call>", "arguments": {"b": []})"), Lines{});
  const std::string no_end = kCallBegin + "f" + kSep + "{}\nDone. " + kCallBegin + "g" + kSep + "{}" + kCallEnd + kCallEnd;
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV31}, no_end), (Lines{"call 0 f (): {}", "\nDone.", "call 1 g (): {}", kCallEnd}));
}

TEST(AnswerParser, ReadsOnAfterAMalformedCallOfASection) {
  for (const Format format : kFormats) {
    const std::string broken = call_text(format, "f", "[1]", 1);
    const std::string calls = call_text(format, "f", "{}", 0) + broken + call_text(format, "g", "{}", 2);
    const Lines got = parse({.tools = format}, section(format, calls));
    ASSERT_EQ(got.size(), 3U);
    EXPECT_EQ(got[0], call_line(format, "f", "{}", 0));
    EXPECT_EQ(got[1], broken);
    EXPECT_TRUE(got[2].starts_with("call 1 g (")) << got[2];
  }
}

TEST(AnswerParser, KeepsTheTextBehindACallThatFollowsAThought) {
  EXPECT_EQ(parse({.split_reasoning = true, .tools = Format::kHermes}, "<think>a</think>\n<tool_call>{\"name\": \"f\"}</tool_call>\nDone"),
            (Lines{"reasoning: a", "call 0 f (): {}", "\nDone"}));
}

TEST(AnswerParser, ACompleteCallNeedsNoEndWhereAnotherMarkerFollows) {
  const std::string two = "<tool_call>{\"name\": \"f\"}\n<tool_call>{\"name\": \"g\"}\n</tool_ca";
  EXPECT_EQ(parse({.tools = Format::kHermes}, two), (Lines{"call 0 f (): {}", "call 1 g (): {}"}));
  const std::string no_end =
      kSectionBegin + kCallBegin + "function" + kSep + "f\n```json\n{}\n```" + kSectionEnd;
  EXPECT_EQ(parse({.tools = Format::kDeepSeekV3}, no_end), Lines{"call 0 f (): {}"});
  EXPECT_EQ(parse({.tools = Format::kHermes}, "<tool_call>{\"name\": \"f\"}<tool"),
            (Lines{"call 0 f (): {}", "<tool"}));
}

TEST(AnswerParser, ReadsHermesMembersInAnyOrderAndSpelling) {
  const auto hermes = [](const std::string& object) {
    return parse({.tools = Format::kHermes}, "<tool_call>" + object + "</tool_call>");
  };
  EXPECT_EQ(hermes(R"({"arguments": {"a": [1, {"b": "}"}]}, "name": "f"})"),
            Lines{R"(call 0 f (): {"a": [1, {"b": "}"}]})"});
  EXPECT_EQ(hermes(R"({"id":7,"x":[{"name":"no"}],"n\u0061me":"f\u002dg","y":-1.5e3 ,"z":true})"),
            Lines{"call 0 f-g (): {}"});
  EXPECT_EQ(hermes(R"({"name": "f", "arguments": " {\"a\": \"\\\"\u00e9\"}\n"})"),
            Lines{"call 0 f (): {\"a\": \"\\\"é\"}"});
  EXPECT_EQ(hermes(R"({"name": "f", "arguments": null})"), Lines{"call 0 f (): {}"});
  EXPECT_EQ(hermes(R"({"name": "f", "\u0061rguments" : { } })"), Lines{"call 0 f (): { }"});
  EXPECT_EQ(hermes(R"({"name": "f", "x\"arguments": {"y": 1}, "arguments": {}})"), Lines{"call 0 f (): {}"});
  for (const std::string object :
       {R"({"name": "f", "arguments": "x"})", R"({"name": "f", "arguments": "{} {}"})",
        R"({"name": "f", "arguments": 1})", R"({"name": "f", "arguments": [{}]})",
        R"({"name": 1, "arguments": {}})", R"({"arguments": {}})", R"({"name": ""})",
        R"({"name": "f", "name": "g"})", R"({"name": "f", "name": "g", "arguments": {}})",
        R"({"name": "f", "arguments": null, "arguments": {}})", R"({"arguments": {}, "arguments": {}, "name": "f"})",
        R"({"name": "f", "x": [{}, "arguments": {}})", R"({"name": "f", "x\"arguments": {}, "arguments": 1})",
        R"({"name": "a\nb"})", R"({"name": " f", "arguments": {}})", "{}"}) {
    EXPECT_EQ(hermes(object), Lines{"<tool_call>" + object + "</tool_call>"});
  }
}

TEST(AnswerParser, ReadsHeadsWithTheirNames) {
  const auto kimi = [](const std::string& head) {
    return parse({.tools = Format::kKimi},
                 "<|tool_call_begin|>" + head + "<|tool_call_argument_begin|> {} <|tool_call_end|>");
  };
  EXPECT_EQ(kimi(" functions.a.b:c:12\n"), Lines{"call 0 a.b:c (functions.a.b:c:12): {}"});
  EXPECT_EQ(kimi("search:0"), Lines{"call 0 search (search:0): {}"});
  for (const char* head : {"call_1", "functions.f:", "functions.:0", "functions.f:x", ""}) {
    EXPECT_EQ(kimi(head), Lines{std::string("<|tool_call_begin|>") + head +
                                "<|tool_call_argument_begin|> {} <|tool_call_end|>"});
  }
  const auto v3 = [](const std::string& intro) {
    return parse({.tools = Format::kDeepSeekV3},
                 kCallBegin + "function" + kSep + intro + "{}\n```" + kCallEnd);
  };
  EXPECT_EQ(v3(" get weather \n```json\n"), Lines{"call 0 get weather (): {}"});
  for (const std::string intro : {"f", "f\n", "f\n```", "f ```json\n", "\n```json\n", "a\nb\n```json\n"}) {
    EXPECT_EQ(v3(intro), Lines{kCallBegin + "function" + kSep + intro + "{}\n```" + kCallEnd});
  }
}

TEST(AnswerParser, BoundsDepthAndHeads) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(static_cast<size_t>(depth - 1), '[') +
           std::string(static_cast<size_t>(depth - 1), ']') + "}";
  };
  for (const Format format : {Format::kDeepSeekV31, Format::kKimi}) {
    EXPECT_EQ(parse({.tools = format}, call_text(format, "f", nested(64), 0)),
              Lines{call_line(format, "f", nested(64), 0)});
    for (const int depth : {65, 100'000}) {
      // No longer looked into: they go on to the next marker.
      const std::string deep = nested(depth);
      EXPECT_EQ(parse({.tools = format}, call_text(format, "f", deep, 0)), Lines{call_line(format, "f", deep, 0)});
    }
    const std::string endless = call_text(format, std::string(100'000, 'f'), "{}", 0);
    EXPECT_EQ(parse({.tools = format}, endless), Lines{endless});
  }
}

/// Answers that every cut is tried on.
std::vector<std::pair<AnswerOptions, std::string>> answers() {
  std::vector<std::pair<AnswerOptions, std::string>> all;
  for (const Format format :
       {Format::kNone, Format::kDeepSeekV3, Format::kDeepSeekV31, Format::kHermes, Format::kKimi}) {
    const std::string a = call_text(format, "f", R"({"a": "</tool_call>\"é\\", "b": [{}]})", 0);
    const std::string b = call_text(format, "g", "{}", 1);
    for (const std::string& answer :
         {"<think> a < b \n</think>\n\nSo é: \n" + section(format, a + "\n" + b) + "\n fine. \n",
          " \n<think>" + a + "</thin</think>" + section(format, b), "x</think><think>y </think> \n" + a,
          "two " + section(format, a.substr(0, a.size() / 2) + b) + " \n" + a,
          section(format, a).substr(0, a.size()), a + b.substr(0, b.size() - 3),
          section(format, call_text(format, "f", "{'é': `b`` \n}", 0) + call_text(format, "g", "{\"a\": \"<\n</", 1) + b),
          section(format, call_text(format, "f", "{} x", 0) + call_text(format, "g", "{}, \"y\": [{}], 'z'", 1)) + " y",
          "<<think>" + section(format, section(format, b)) + kSep + kCallEnd + "</tool_call>",
          std::string(" \xF0\x9F\x98\x80<\xEF\xBD\x9Ctool\xE2\x96 \xFF<|tool_<think")}) {
      for (const bool starts : {false, true}) {
        all.push_back({{.split_reasoning = true, .starts_reasoning = starts, .tools = format}, answer});
      }
      all.push_back({{.tools = format}, answer});
    }
  }
  return all;
}

TEST(AnswerParser, PartsAreTheSameWhereverTheAnswerIsCut) {
  std::mt19937 random(3);
  for (const auto& [options, answer] : answers()) {
    const Lines whole = parse(options, answer);
    std::vector<size_t> every;
    for (size_t cut = 0; cut <= answer.size(); ++cut) {
      ASSERT_EQ(parse(options, answer, {cut}), whole) << answer << "\ncut at " << cut;
      every.push_back(cut);
    }
    ASSERT_EQ(parse(options, answer, every), whole) << answer << "\nbyte by byte";
    for (int round = 0; round < 100; ++round) {
      std::vector<size_t> cuts(1 + random() % 8);
      for (size_t& cut : cuts) cut = random() % (answer.size() + 1);
      std::sort(cuts.begin(), cuts.end());
      ASSERT_EQ(parse(options, answer, cuts), whole) << answer << "\ncut at " << testing::PrintToString(cuts);
    }
  }
}

// Answers put together from known pieces, so that what must come out is known without a parser.
TEST(AnswerParser, GivesWhatAnAnswerWasMadeOf) {
  std::mt19937 random(5);
  const auto pick = [&](const auto& list) { return list[random() % std::size(list)]; };
  const std::string spaces[] = {"", "", " ", "\n", " \n\n\t"};
  const std::string texts[] = {"Hello", "a<b",   "{\"x\": 1}",   "```json\n{}\n```", "é",
                               "<",     "<tool", "</tool_call>", "functions.f:0"};
  const std::string arguments[] = {"{}", R"({"a": "<tool_call>"})", R"({ "b" : [ 1 , {"c": "\"}"} ] })"};
  const std::string odd_arguments[] = {"{,}", R"({"a"})", "{'a': `x`}", R"({"b": ]})", "{\"a\": \"<\n\"}"};
  const std::string no_arguments[] = {"", "[]", "[{}]", "1"};
  for (int round = 0; round < 3000; ++round) {
    const Format format = pick(kFormats);
    std::string answer, space;
    Lines expected;
    bool after_call = false, last_is_text = false;
    int n_calls = 0;
    const auto add_text = [&](const std::string& text) {
      if (!last_is_text) expected.emplace_back();
      expected.back() += space + text;
      after_call = false;
      last_is_text = true;
      space.clear();
    };
    for (size_t left = 1 + random() % 6; left > 0; --left) {
      const std::string more = pick(spaces);
      space += more;
      answer += more;
      const size_t kind = random() % 4;
      if (kind < 2) {
        const std::string text = pick(texts) + ".";
        answer += text;
        add_text(text);
      } else if (kind == 2) {
        const std::string text = section(format, call_text(format, "bad", pick(no_arguments), 0)) + "\n.";
        answer += text;
        add_text(text);
      } else {
        std::string calls;
        for (size_t n = 1 + random() % 3; n > 0; --n) {
          const std::string value = random() % 4 == 0 ? pick(odd_arguments) : pick(arguments);
          calls += pick(spaces) + call_text(format, "good", value, n_calls);
          if (format != Format::kHermes) calls += pick(spaces);  // in front of the end of the section
          expected.push_back(call_line(format, "good", value, n_calls++));
        }
        answer += section(format, calls);
        after_call = true;
        last_is_text = false;
        space.clear();
      }
    }
    const std::string end = pick(spaces);
    answer += end;
    if (!after_call && !end.empty()) add_text(end);
    ASSERT_EQ(parse({.tools = format}, answer), expected) << answer;
    const size_t cut = random() % (answer.size() + 1);
    ASSERT_EQ(parse({.tools = format}, answer, {cut}), expected) << answer << "\ncut at " << cut;
  }
}

// Fragments in any order: whatever comes, cuts change nothing, and nothing is lost where there is no call.
TEST(AnswerParser, LosesNothingOfAnyJumble) {
  std::mt19937 random(9);
  const std::string fragments[] = {kSectionBegin,
                                   kSectionEnd,
                                   kCallBegin,
                                   kCallEnd,
                                   kSep,
                                   "<tool_call>",
                                   "</tool_call>",
                                   "<think>",
                                   "</think>",
                                   "<|tool_calls_section_begin|>",
                                   "<|tool_calls_section_end|>",
                                   "<|tool_call_begin|>",
                                   "<|tool_call_end|>",
                                   "<|tool_call_argument_begin|>",
                                   "function",
                                   "f\n```json\n",
                                   "\n```",
                                   "functions.f:0",
                                   "{\"name\": \"f\"",
                                   ", \"arguments\": ",
                                   "{\"a\": \"",
                                   "\"",
                                   "}",
                                   "}",
                                   "{}",
                                   "[",
                                   "]",
                                   call_text(Format::kDeepSeekV3, "f", "{}", 0),
      call_text(Format::kDeepSeekV31, "f", "{}", 0),
      call_text(Format::kHermes, "f", "{}", 0),
      call_text(Format::kKimi, "f", "{}", 0),
      "\\",
                                   " ",
                                   "\n",
                                   "x",
                                   "<",
                                   "<｜",
                                   "é"};
  const AnswerOptions all[] = {{.tools = Format::kDeepSeekV3},
                               {.tools = Format::kDeepSeekV31},
                               {.tools = Format::kHermes},
                               {.tools = Format::kKimi},
                               {.split_reasoning = true}};
  int with_calls = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string answer;
    for (size_t n = random() % 24; n > 0; --n) answer += fragments[random() % std::size(fragments)];
    const AnswerOptions& options = all[random() % std::size(all)];
    const Lines whole = parse(options, answer);
    const size_t cut = random() % (answer.size() + 1);
    ASSERT_EQ(parse(options, answer, {cut}), whole) << answer << "\ncut at " << cut;
    const bool has_call =
        std::any_of(whole.begin(), whole.end(), [](const std::string& l) { return l.starts_with("call "); });
    with_calls += has_call ? 1 : 0;
    if (!has_call && !options.split_reasoning) {
      ASSERT_EQ(whole, answer.empty() ? Lines{} : Lines{answer});
    }
  }
  EXPECT_GT(with_calls, 1000);
}

TEST(AnswerParser, TakesLinearTime) {
  const auto repeated = [](const std::string& piece) {
    std::string text;
    while (text.size() < 4U << 20) text += piece;
    return text;
  };
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string piece :
       {"<tool_call>{\"", "<tool_call>{\"name\": \"f\", \"arguments\": {\"", "<tool_call", " ", "<", "{"}) {
    const std::string text = repeated(piece);
    for (const std::string& head :
         {std::string(), std::string("<think>"), std::string("<tool_call>{\"a\": \"")}) {
      EXPECT_GE(parse({.split_reasoning = true, .tools = Format::kHermes}, head + text).size(),
                head == "<think>" && piece == " " ? 0U : 1U);
    }
  }
  std::vector<size_t> every(1'000'000);
  for (size_t i = 0; i < every.size(); ++i) every[i] = i;
  parse({.tools = Format::kHermes}, repeated("<tool_call>{\"a\": \" </tool_call>"), every);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 60) << "76 MiB; a quadratic parser takes hours";
}

TEST(DetectToolCallFormat, ReadsTheMarkersOfTemplates) {
  EXPECT_EQ(detect_tool_call_format("{{ messages }}"), Format::kNone);
  EXPECT_EQ(detect_tool_call_format("{{'" + kCallBegin + "' + tool['type'] + '" + kSep +
                                    "' + name + '\\n' + '```json'}}"),
            Format::kDeepSeekV3);
  EXPECT_EQ(detect_tool_call_format("{{'" + kCallBegin + "' + name + '" + kSep + "' + arguments}}"),
            Format::kDeepSeekV31);
  EXPECT_EQ(detect_tool_call_format("{{'<tool_call>\\n{\"name\": \"' + name }}"), Format::kHermes);
  EXPECT_EQ(detect_tool_call_format("<tool_call>\n<function=' + name + '>"), Format::kNone);
  EXPECT_EQ(detect_tool_call_format("<tool_call>{{ name }}\n<arg_key>"), Format::kNone);
  EXPECT_EQ(detect_tool_call_format("<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}"),
            Format::kKimi);
}

TEST(AnswerMarkerTokens, AreTheSpecialTokensThatAreMarkers) {
  Vocabulary v{.model = "llama"};
  const auto add = [&](const std::string& text, TokenKind kind) {
    v.tokens.push_back(text);
    v.scores.push_back(0);
    v.kinds.push_back(kind);
  };
  add("<unk>", TokenKind::kUnknown);
  add("<s>", TokenKind::kControl);
  add("<tool_call>", TokenKind::kControl);
  add("</tool_call>", TokenKind::kUserDefined);  // its text appears anyway
  add("<think>", TokenKind::kControl);
  add("x", TokenKind::kNormal);
  const auto tokenizer = make_tokenizer(std::move(v));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(answer_marker_tokens(**tokenizer, {}), Ids{});
  EXPECT_EQ(answer_marker_tokens(**tokenizer, {.split_reasoning = true}), Ids{4});
  EXPECT_EQ(answer_marker_tokens(**tokenizer, {.tools = Format::kHermes}), Ids{2});
  EXPECT_EQ(answer_marker_tokens(**tokenizer, {.split_reasoning = true, .tools = Format::kHermes}),
            (Ids{2, 4}));
}

TEST(AnswerMarkerTokens, OfDeepSeekV3AreItsToolTokens) {
  for (const auto& [name, tokenizer] : test::every_tokenizer()) {
    if (name != "deepseek-v3") continue;
    EXPECT_EQ(answer_marker_tokens(*tokenizer, {.split_reasoning = true, .tools = Format::kDeepSeekV3}),
              (std::vector<int32_t>{128806, 128807, 128808, 128809, 128814}));
    EXPECT_EQ(detect_tool_call_format(tokenizer->chat_template()), Format::kDeepSeekV3);
    return;
  }
  GTEST_SKIP() << "needs the reading room's DeepSeek-V3 tokenizer beside the repository";
}

TEST(ToolCallFrame, MakesArgumentsACompleteCall) {
  for (const Format format : {Format::kDeepSeekV3, Format::kDeepSeekV31, Format::kHermes, Format::kKimi}) {
    const ToolCallFrame frame = tool_call_frame(format, "get-it.v2");
    for (const std::string arguments : {"{}", " \n{\"a\": [1, \"}\"]}"}) {
      AnswerParser parser({.tools = format});
      std::vector<AnswerPart> parts = parser.push(frame.before + arguments + frame.after);
      join(parts, parser.finish());
      ASSERT_EQ(parts.size(), 2U) << static_cast<int>(format);
      EXPECT_EQ(parts[0].name, "get-it.v2");
      EXPECT_EQ(parts[1].text, arguments.substr(arguments.find('{')));
    }
  }
  EXPECT_TRUE(tool_call_frame(Format::kNone, "f").before.empty());
}

}  // namespace
}  // namespace mla
