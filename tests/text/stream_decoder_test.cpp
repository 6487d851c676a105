#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "support/vocabularies.h"
#include "text/answer_parser.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace mla {
namespace {

/// One token per byte, so that a test chooses the borders.
std::shared_ptr<const Tokenizer> byte_tokenizer() {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2"};
  for (int b = 0; b < 256; ++b) v.tokens.emplace_back(byte_level_spelling(static_cast<uint8_t>(b)));
  auto tokenizer = make_tokenizer(std::move(v));
  EXPECT_TRUE(tokenizer.ok());
  return std::move(tokenizer).value();
}

std::vector<std::string> stream(StreamDecoder& decoder, const std::string& bytes) {
  std::vector<std::string> shown;
  for (const char c : bytes) {
    auto text = decoder.push(static_cast<uint8_t>(c));
    EXPECT_TRUE(text.ok());
    shown.push_back(std::move(text).value());
  }
  shown.push_back(decoder.finish());
  return shown;
}

using Shown = std::vector<std::string>;

TEST(StreamDecoder, ShowsWholeCharactersOnly) {
  const auto tokenizer = byte_tokenizer();
  StreamDecoder decoder(tokenizer, {});
  EXPECT_EQ(stream(decoder, "a\xC3\xA9\xE2\x82"), (Shown{"a", "", "\xC3\xA9", "", "", "\xEF\xBF\xBD"}));
}

TEST(StreamDecoder, ReplacesWhatCannotBecomeACharacter) {
  const auto tokenizer = byte_tokenizer();
  StreamDecoder decoder(tokenizer, {});
  EXPECT_EQ(stream(decoder, "\xFF\xE2x"), (Shown{"\xEF\xBF\xBD", "", "\xEF\xBF\xBDx", ""}));
}

TEST(StreamDecoder, HoldsBackWhatMayBecomeAStopString) {
  const auto tokenizer = byte_tokenizer();
  StreamDecoder decoder(tokenizer, {"STOP", ""});
  EXPECT_EQ(stream(decoder, "xSTSTOPy"), (Shown{"x", "", "", "ST", "", "", "", "", ""}));
  EXPECT_TRUE(decoder.stopped());
  EXPECT_EQ(decoder.stop_string(), "STOP");
}

TEST(StreamDecoder, GivesBackAStopStringThatEndsUnfinished) {
  const auto tokenizer = byte_tokenizer();
  StreamDecoder decoder(tokenizer, {"STOP"});
  EXPECT_EQ(stream(decoder, "aSTO"), (Shown{"a", "", "", "", "STO"}));
  EXPECT_FALSE(decoder.stopped());
  EXPECT_EQ(decoder.stop_string(), "");
}

TEST(StreamDecoder, StopsInsideATokenAndInsideACharacter) {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2"};
  v.tokens = {"hello\u010aUser:more"};  // a newline spelled as one character
  const auto tokenizer = make_tokenizer(std::move(v));
  ASSERT_TRUE(tokenizer.ok());
  StreamDecoder decoder(*tokenizer, {"\nUser:"});
  EXPECT_EQ(decoder.push(0).value(), "hello");
  EXPECT_TRUE(decoder.stopped());
  EXPECT_EQ(decoder.push(0).value(), "");

  const auto bytes = byte_tokenizer();
  StreamDecoder cut(bytes, {"\xA9"});
  EXPECT_EQ(stream(cut, "\xC3\xA9z"), (Shown{"", "\xEF\xBF\xBD", "", ""}));
}

TEST(StreamDecoder, CountsTheBytesThatAreGivenOut) {
  const auto tokenizer = byte_tokenizer();
  StreamDecoder decoder(tokenizer, {"STOP"});
  std::vector<size_t> released;
  for (const char c : std::string("a\xE2\x82\xACSTSTOP!")) {
    ASSERT_TRUE(decoder.push(static_cast<uint8_t>(c)).ok());
    released.push_back(decoder.released_bytes());
  }
  EXPECT_EQ(released, (std::vector<size_t>{1, 1, 1, 4, 4, 4, 6, 6, 6, 6, 6}));
  EXPECT_EQ(decoder.received_bytes(), 10U);  // nothing counts behind the stop string
  StreamDecoder cut(tokenizer, {});
  ASSERT_TRUE(cut.push(0xE2).ok());
  EXPECT_EQ(cut.released_bytes(), 0U);
  cut.finish();
  EXPECT_EQ(cut.released_bytes(), 1U);
}

TEST(StreamDecoder, RefusesIdsOutsideTheVocabulary) {
  StreamDecoder decoder(byte_tokenizer(), {});
  for (const int32_t id : {-1, 256, 1 << 30}) {
    const auto text = decoder.push(id);
    ASSERT_FALSE(text.ok());
    EXPECT_EQ(text.error().kind, ErrorKind::kUsage);
  }
}

// A text over three letters and stops over the same find each other often; the naive search is the reference.
TEST(StreamDecoder, StopsWhereANaiveSearchStops) {
  const auto tokenizer = byte_tokenizer();
  std::mt19937 random(7);
  const auto word = [&](size_t most) {
    std::string s(1 + random() % most, 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 3);
    return s;
  };
  int stopped = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::string text = word(40);
    const std::vector<std::string> stops = {word(6), word(6), word(3)};
    std::string expected = text, stop;
    for (size_t end = 1; end <= text.size() && stop.empty(); ++end) {
      for (const std::string& s : stops) {
        if (std::string_view(text).substr(0, end).ends_with(s) && s.size() > stop.size()) stop = s;
      }
      if (!stop.empty()) expected = text.substr(0, end - stop.size());
    }
    StreamDecoder decoder(tokenizer, stops);
    std::string shown;
    for (const std::string& piece : stream(decoder, text)) {
      shown += piece;
      ASSERT_TRUE(expected.starts_with(shown)) << text << ": showed " << shown << " of " << expected;
    }
    ASSERT_EQ(shown, expected);
    ASSERT_EQ(decoder.stop_string(), stop);
    stopped += decoder.stopped() ? 1 : 0;
  }
  EXPECT_GT(stopped, 200);
  EXPECT_LT(stopped, 2000);
}

TEST(StreamDecoder, JoinedPiecesAreTheDecodedText) {
  std::mt19937 random(11);
  for (const auto& [name, tokenizer] : test::every_tokenizer()) {
    std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(tokenizer->n_vocab()) - 1);
    for (int round = 0; round < 30; ++round) {
      std::vector<int32_t> ids(random() % 60);
      for (int32_t& id : ids) id = any(random);
      StreamDecoder decoder(tokenizer, {});
      std::string shown;
      for (const int32_t id : ids) {
        const std::string piece = decoder.push(id).value();
        ASSERT_EQ(valid_utf8_prefix(piece), piece.size()) << name << ": broken UTF-8 in the stream";
        shown += piece;
      }
      shown += decoder.finish();
      ASSERT_EQ(shown, replace_invalid_utf8(tokenizer->decode(ids).value())) << name;
    }
  }
}

TEST(StreamDecoder, KeepsTheSpaceOfATextThatContinues) {
  const auto folder = test::every_tokenizer();
  for (const auto& [name, tokenizer] : folder) {
    if (name != "spm_bpe/tokenizer.json") continue;
    const auto ids = tokenizer->encode("the sea");
    StreamDecoder from_start(tokenizer, {}), continued(tokenizer, {}, /*at_start=*/false);
    std::string first, second;
    for (const int32_t id : ids) {
      first += from_start.push(id).value();
      second += continued.push(id).value();
    }
    EXPECT_EQ(first, "the sea");
    EXPECT_EQ(second, " the sea");
  }
}

TEST(StreamDecoder, ShowsTheSpecialTokensItIsToldTo) {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2"};
  v.tokens = {"a", "<|b|>", "<|c|>"};
  v.kinds = {TokenKind::kNormal, TokenKind::kControl, TokenKind::kControl};
  const auto tokenizer = make_tokenizer(std::move(v));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto shown_text = [&](std::vector<int32_t> shown) {
    StreamDecoder decoder(*tokenizer, {}, true, std::move(shown));
    std::string text;
    for (const int32_t id : {2, 0, 1, 0}) text += decoder.push(id).value();
    return text + decoder.finish();
  };
  EXPECT_EQ(shown_text({}), "aa");
  EXPECT_EQ(shown_text({1}), "a<|b|>a");
  EXPECT_EQ(shown_text({1, 2}), "<|c|>a<|b|>a");
}

/// All that a client sees of an answer: texts, names and arguments in order, with their kinds.
void append(std::string& seen, const std::vector<AnswerPart>& parts) {
  for (const AnswerPart& part : parts) {
    const std::string head = "[" + std::to_string(static_cast<int>(part.kind)) + "]";
    const size_t last = seen.rfind('[');
    const bool continues = part.kind != AnswerPart::Kind::kCallBegins && last != std::string::npos &&
                           std::string_view(seen).substr(last).starts_with(head);
    seen += (continues ? "" : head) + part.text + part.name;
  }
}

// What the server does with an answer, at every length that max_tokens may cut it to (inside characters,
// markers and stop strings), streamed token by token and as a whole.
TEST(StreamDecoder, StreamedAnswersAreTheWholeOnesWithStopStringsAndCutCharacters) {
  const auto tokenizer = byte_tokenizer();
  const std::string answer =
      "<think>\xC3\xA9 or \xF0\x9F\x98\x80?\n</think> A\xE2\x82 \xF0\x9F\x98\x80: <tool_call>\n"
      "{\"name\": \"f\", \"arguments\": {\"a\": \"\xC3\xA9\"}}\n</tool_call>\nEND \xC3\xA9\n";
  const AnswerOptions options{.split_reasoning = true, .tools = ToolCallFormat::kHermes};
  const std::vector<std::vector<std::string>> all_stops = {
      {},       {""},     {"END"},  {"\xA9"}, {"\x98"}, {"</tool_call>"}, {"</think>", "nk> A"},
      {"\"}}"}, {"?\n<"}, {answer}, {"<"}};
  for (const std::vector<std::string>& stops : all_stops) {
    for (size_t length = 0; length <= answer.size(); ++length) {
      std::string whole = answer.substr(0, length);
      size_t end = whole.size() + 1;
      for (const std::string& stop : stops) {
        const size_t at = stop.empty() ? std::string::npos : whole.find(stop);
        if (at == std::string::npos || at + stop.size() >= end) continue;
        end = at + stop.size();
        whole.resize(at);
      }
      AnswerParser at_once(options);
      std::string expected;
      append(expected, at_once.push(replace_invalid_utf8(whole)));
      append(expected, at_once.finish());

      StreamDecoder decoder(tokenizer, stops);
      AnswerParser parser(options);
      std::string streamed;
      const auto show = [&](const std::vector<AnswerPart>& parts) {
        for (const AnswerPart& part : parts) {
          ASSERT_EQ(valid_utf8_prefix(part.text), part.text.size()) << "a cut character";
        }
        append(streamed, parts);
      };
      for (size_t i = 0; i < length; ++i) {
        show(parser.push(decoder.push(static_cast<uint8_t>(answer[i])).value()));
      }
      show(parser.push(decoder.finish()));
      show(parser.finish());
      ASSERT_EQ(streamed, expected) << "stop " << testing::PrintToString(stops) << ", " << length
                                    << " tokens";
    }
  }
}

}  // namespace
}  // namespace mla
