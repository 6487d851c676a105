#include "server/api/chat_prompt.h"

#include <gtest/gtest.h>

#include "fakes.h"

namespace mla::server {
namespace {

constexpr const char* kPlain = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
/// A template that writes arguments out with tojson, as Hermes' and Qwen2.5's do.
constexpr const char* kToJson =
    "{% if tools %}{% for t in tools %}{{ t.function.name }} {% endfor %}{% endif %}{% for m in messages %}{% for c in m.tool_calls %}<tool_call>{{ c.function.arguments | tojson }}"
    "{% endfor %}{% endfor %}";
constexpr const char* kJoined = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments }}{% endfor %}{% endfor %}";

std::string rendered(const char* chat_template, const std::string& body) {
  const auto tokenizer = byte_tokenizer(chat_template);
  const ChatPrompter prompter(tokenizer, true);
  const auto request = parse_chat_request(body);
  if (!request.ok()) return "refused: " + request.error().message;
  const auto prompt = prompter.render(*request);
  if (!prompt.ok()) return "error " + prompt.error().param + ": " + prompt.error().message;
  return tokenizer->decode(prompt->ids, true).value();
}

constexpr const char* kCalls =
    R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1}"}}]}]})";

TEST(ChatPrompter, RendersTheConversation) {
  EXPECT_EQ(rendered(kPlain, R"({"messages": [{"role": "user", "content": "hi"}]})"), "user:hi\nassistant:");
  EXPECT_EQ(rendered(kPlain, R"({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": false})"), "user:hi\n");
}

TEST(ChatPrompter, PassesVariablesOn) {
  EXPECT_EQ(rendered("{{ mood }} {{ reasoning_effort }}", R"({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "chat_template_kwargs": {"mood": "glad"}})"), "glad low");
}

TEST(ChatPrompter, GivesArgumentsAsTheTemplateWantsThem) {
  EXPECT_EQ(rendered(kToJson, kCalls), "<tool_call>{\"a\": 1}");
  EXPECT_EQ(rendered(kJoined, kCalls), "{\"a\": 1}");
}

TEST(ChatPrompter, Tk08WhatTheTemplateRefusesIs400) {
  EXPECT_EQ(rendered("{{ raise_exception('roles must alternate') }}", R"({"messages": [{"role": "user", "content": "x"}]})").substr(0, 15), "error messages:");
  const std::string nothing = rendered("", R"({"messages": [{"role": "user", "content": "x"}]})");
  EXPECT_NE(nothing.find("no chat template"), std::string::npos) << nothing;
  const std::string broken = rendered("{% if %}", R"({"messages": [{"role": "user", "content": "x"}]})");
  EXPECT_NE(broken.find("cannot be read"), std::string::npos) << broken;
}

TEST(ChatPrompter, RefusesToolsThatTheTemplateDoesNotShow) {
  const std::string with_tool = R"({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": {"name": "f"}}]})";
  EXPECT_EQ(rendered(kPlain, with_tool).substr(0, 12), "error tools:");
  EXPECT_EQ(rendered(kToJson, with_tool), "f ");
}

TEST(ChatPrompter, KnowsThatTheTemplateHasOpenedTheThought) {
  const auto answer = [](const char* chat_template, const std::string& member) {
    const ChatPrompter prompter(byte_tokenizer(chat_template), true);
    const auto request = parse_chat_request(R"({"messages": [{"role": "user", "content": "x"}])" + member + "}");
    return prompter.render(*request)->answer;
  };
  EXPECT_TRUE(answer("a <think>\n", "").starts_reasoning);
  EXPECT_FALSE(answer("a <think></think>\n", "").starts_reasoning);
  EXPECT_TRUE(answer("a", "").split_reasoning);
  EXPECT_FALSE(answer("a <think>\n", R"(, "reasoning_format": "none")").starts_reasoning);
  EXPECT_FALSE(answer("a <think>\n", R"(, "reasoning_format": "none")").split_reasoning);
}

TEST(ChatPrompter, Tk06MarkersOfClientsAreText) {
  const auto tokenizer = byte_tokenizer(kPlain);
  const ChatPrompter prompter(tokenizer, true);
  const auto prompt = prompter.render(*parse_chat_request(R"({"messages": [{"role": "user", "content": "<eos>"}]})"));
  ASSERT_TRUE(prompt.ok());
  for (const int32_t id : prompt->ids) EXPECT_LT(id, 257);
}

}  // namespace
}  // namespace mla::server
