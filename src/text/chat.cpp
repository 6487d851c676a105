#include "text/chat.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace mla {
namespace {

constexpr std::string_view kUser = "<\uFF5CUser\uFF5C>";
constexpr std::string_view kAssistant = "<\uFF5CAssistant\uFF5C>";
constexpr std::string_view kEndOfSentence = "<\uFF5Cend\u2581of\u2581sentence\uFF5C>";

/// Joins neighbouring pieces of one kind: text on both sides of a border must be encoded together.
class Prompt {
 public:
  Prompt& text(std::string_view s) { return append(false, s); }
  Prompt& special(std::string_view s) { return append(true, s); }
  std::vector<ChatPiece> take() { return std::move(pieces_); }

 private:
  Prompt& append(bool special, std::string_view s) {
    if (s.empty()) return *this;
    if (pieces_.empty() || pieces_.back().special != special) pieces_.push_back({special, {}});
    pieces_.back().text += s;
    return *this;
  }
  std::vector<ChatPiece> pieces_;
};

using Messages = std::vector<ChatMessage>;

void deepseek_v2(const Messages& messages, Prompt& out) {
  for (const ChatMessage& m : messages) {
    if (m.role == "user") {
      out.text("User: ").text(m.content).text("\n\n");
    } else if (m.role == "assistant") {
      out.text("Assistant: ").text(m.content).special(kEndOfSentence);
    } else {
      out.text(m.content).text("\n\n");
    }
  }
  out.text("Assistant:");
}

/// All system messages come first, joined by blank lines. R1 drops the reasoning of earlier answers and opens
/// a new one.
void deepseek_v3(const Messages& messages, bool reasoning, Prompt& out) {
  bool first = true;
  for (const ChatMessage& m : messages) {
    if (m.role != "system") continue;
    if (!first) out.text("\n\n");
    out.text(m.content);
    first = false;
  }
  for (const ChatMessage& m : messages) {
    if (m.role == "user") {
      out.special(kUser).text(m.content);
    } else if (m.role == "assistant") {
      std::string_view answer = m.content;
      const size_t end = answer.rfind("</think>");
      if (reasoning && end != std::string_view::npos)
        answer.remove_prefix(end + std::string_view("</think>").size());
      out.special(kAssistant).text(answer).special(kEndOfSentence);
    }
  }
  out.special(kAssistant);
  if (reasoning) out.special("<think>\n");
}

void chat_ml(const Messages& messages, std::string_view default_system, Prompt& out) {
  const auto turn = [&](std::string_view role, std::string_view content) {
    out.special("<|im_start|>").text(role).text("\n").text(content).special("<|im_end|>").text("\n");
  };
  if (messages.front().role != "system" && !default_system.empty()) turn("system", default_system);
  for (const ChatMessage& m : messages) turn(m.role, m.content);
  out.special("<|im_start|>").text("assistant\n");
}

void llama3(const Messages& messages, Prompt& out) {
  const auto header = [&](std::string_view role) {
    out.special("<|start_header_id|>").text(role).special("<|end_header_id|>").text("\n\n");
  };
  for (const ChatMessage& m : messages) {
    header(m.role);
    out.text(strip_white_space(m.content)).special("<|eot_id|>");
  }
  header("assistant");
}

Status check_alternation(const Messages& messages) {
  const size_t first = messages.front().role == "system" ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      return Error::usage(
          fmt::format("chat: message {} has the role \"{}\", but this model's format expects \"{}\" there", i,
                      messages[i].role, expected));
    }
  }
  return {};
}

void llama2(const Messages& messages, Prompt& out) {
  const bool system = messages.front().role == "system";
  for (size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const ChatMessage& m = messages[i];
    if (m.role == "assistant") {
      out.text(" ").text(strip_white_space(m.content)).text(" ").special("</s>");
      continue;
    }
    std::string content = m.content;
    if (system && i == 1) content = "<<SYS>>\n" + messages[0].content + "\n<</SYS>>\n\n" + content;
    if (i > 1) out.special("<s>");
    out.text("[INST] ").text(strip_white_space(content)).text(" [/INST]");
  }
}

void mistral(const Messages& messages, Prompt& out) {
  const bool system = messages.front().role == "system";
  for (size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const ChatMessage& m = messages[i];
    if (m.role == "assistant") {
      out.text(m.content).special("</s>");
      continue;
    }
    out.text("[INST] ");
    if (system && i == 1) out.text(messages[0].content).text("\n\n");
    out.text(m.content).text(" [/INST]");
  }
}

}  // namespace

ChatFormat detect_chat_format(std::string_view source) {
  const auto has = [&](std::string_view marker) { return source.find(marker) != std::string_view::npos; };
  if (has(kUser) && has(kAssistant)) {
    if (has("thinking")) return ChatFormat::kNone;
    const std::string reasoning = std::string(kAssistant) + "<think>";
    return has(reasoning) ? ChatFormat::kDeepSeekR1 : ChatFormat::kDeepSeekV3;
  }
  if (has("'User: ' + ") && has("'Assistant: ' + ") && has("'Assistant:'")) return ChatFormat::kDeepSeekV2;
  if (has("<|im_start|>") && !has("<|im_sep|>")) return ChatFormat::kChatMl;
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatFormat::kLlama3;
  if (has("[INST] ") && has("<<SYS>>")) return ChatFormat::kLlama2;
  if (has("'[INST] ' + ") && has("' [/INST]'")) return ChatFormat::kMistral;
  return ChatFormat::kNone;
}

std::string_view chat_format_name(ChatFormat format) {
  switch (format) {
    case ChatFormat::kNone:
      return "none";
    case ChatFormat::kDeepSeekV2:
      return "deepseek-v2";
    case ChatFormat::kDeepSeekV3:
      return "deepseek-v3";
    case ChatFormat::kDeepSeekR1:
      return "deepseek-r1";
    case ChatFormat::kChatMl:
      return "chatml";
    case ChatFormat::kLlama2:
      return "llama-2";
    case ChatFormat::kLlama3:
      return "llama-3";
    case ChatFormat::kMistral:
      return "mistral";
  }
  return "none";
}

std::string default_system_message(std::string_view source) {
  // In a template's source the newline inside a string is the two characters \n, or rarely a line break.
  for (const std::string_view open : {"<|im_start|>system\\n", "<|im_start|>system\n"}) {
    for (size_t at = source.find(open); at != std::string_view::npos; at = source.find(open, at + 1)) {
      const std::string_view rest = source.substr(at + open.size());
      const std::string_view message = rest.substr(0, std::min(rest.find("<|im_end|>"), rest.size()));
      // A quote or a brace before the end: the template puts something else there.
      const bool literal =
          message.size() < rest.size() && message.find_first_of("'\"{}\\") == std::string_view::npos;
      if (literal) return std::string(message);
    }
  }
  return {};
}

Result<std::vector<ChatPiece>> render_chat(ChatFormat format, const Messages& messages,
                                           std::string_view default_system) {
  if (messages.empty()) return Error::usage("chat: the conversation has no messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return Error::usage(
          fmt::format("chat: message {} has the role \"{}\", expected system, user or assistant", i, role));
    }
  }
  if (format == ChatFormat::kLlama2 || format == ChatFormat::kMistral) MLA_TRY(check_alternation(messages));
  Prompt prompt;
  switch (format) {
    case ChatFormat::kNone:
      return Error::usage(
          "chat: the model has no chat template of a known format (deepseek-v2, deepseek-v3, deepseek-r1, "
          "chatml, llama-2, "
          "llama-3, mistral); give it plain text instead");
    case ChatFormat::kDeepSeekV2:
      deepseek_v2(messages, prompt);
      break;
    case ChatFormat::kDeepSeekV3:
      deepseek_v3(messages, false, prompt);
      break;
    case ChatFormat::kDeepSeekR1:
      deepseek_v3(messages, true, prompt);
      break;
    case ChatFormat::kChatMl:
      chat_ml(messages, default_system, prompt);
      break;
    case ChatFormat::kLlama2:
      llama2(messages, prompt);
      break;
    case ChatFormat::kLlama3:
      llama3(messages, prompt);
      break;
    case ChatFormat::kMistral:
      mistral(messages, prompt);
      break;
  }
  return prompt.take();
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const std::vector<ChatPiece>& pieces,
                                 bool add_bos) {
  std::vector<int32_t> ids;
  EncodeOptions options{.add_bos = add_bos};
  for (const ChatPiece& piece : pieces) {
    options.parse_special = piece.special;
    const std::vector<int32_t> part = tokenizer.encode(piece.text, options);
    ids.insert(ids.end(), part.begin(), part.end());
    options.add_bos = false;
    options.at_start = false;
  }
  if (pieces.empty() && add_bos) return tokenizer.encode("", options);
  return ids;
}

}  // namespace mla
