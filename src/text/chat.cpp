#include "text/chat.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace mla {
namespace {

constexpr std::string_view kUser = "<\uFF5CUser\uFF5C>";
constexpr std::string_view kAssistant = "<\uFF5CAssistant\uFF5C>";
constexpr std::string_view kEndOfThought = "</think>";
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

std::string joined_system_messages(const Messages& messages) {
  std::string joined;
  bool first = true;
  for (const ChatMessage& m : messages) {
    if (m.role != "system") continue;
    if (!first) joined += "\n\n";
    joined += m.content;
    first = false;
  }
  return joined;
}

/// All system messages come first, joined by blank lines. R1 drops the reasoning of earlier answers and opens
/// a new one.
void deepseek_v3(const Messages& messages, bool reasoning, Prompt& out) {
  out.text(joined_system_messages(messages));
  for (const ChatMessage& m : messages) {
    if (m.role == "user") {
      out.special(kUser).text(m.content);
    } else if (m.role == "assistant") {
      std::string_view answer = m.content;
      const size_t end = answer.rfind(kEndOfThought);
      if (reasoning && end != std::string_view::npos) answer.remove_prefix(end + kEndOfThought.size());
      out.special(kAssistant).text(answer).special(kEndOfSentence);
    }
  }
  out.special(kAssistant);
  if (reasoning) out.special("<think>\n");
}

/// V3.1 without thinking: an answer opens with the end of an empty thought. As its template does, the
/// assistant is asked only behind a user's message.
void deepseek_v31(const Messages& messages, Prompt& out) {
  out.text(joined_system_messages(messages));
  bool answers_user = false;
  const auto open_answer = [&] {
    if (answers_user) out.special(kAssistant).special(kEndOfThought);
    answers_user = false;
  };
  for (const ChatMessage& m : messages) {
    if (m.role == "user") {
      out.special(kUser).text(m.content);
      answers_user = true;
    } else if (m.role == "assistant") {
      open_answer();
      std::string_view answer = m.content;
      const size_t end = answer.find(kEndOfThought);
      if (end != std::string_view::npos) answer.remove_prefix(end + kEndOfThought.size());
      out.text(answer).special(kEndOfSentence);
    }
  }
  open_answer();
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

/// Mistral from version 3 on, where [INST] is a token: the system message speaks in the last turn. With
/// SentencePiece's vocabularies a space stands behind the tokens, with Tekken's there is none.
void mistral_v3(const Messages& messages, bool tekken, Prompt& out) {
  const bool system = messages.front().role == "system";
  const std::string_view space = tekken ? "" : " ";
  for (size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const std::string_view content = messages[i].content;
    if (messages[i].role == "assistant") {
      out.text(space).text(tekken ? content : strip_white_space(content)).special("</s>");
      continue;
    }
    out.special("[INST]").text(space);
    if (system && i + 1 == messages.size()) out.text(messages[0].content).text("\n\n");
    out.text(content).special("[/INST]");
  }
}

/// A system message speaks in the first turn, as Gemma 3 has it (the template of Gemma 1 and 2 takes none).
void gemma(const Messages& messages, Prompt& out) {
  const bool system = messages.front().role == "system";
  for (size_t i = system ? 1 : 0; i < messages.size(); ++i) {
    const bool user = messages[i].role == "user";
    out.special("<start_of_turn>").text(user ? "user\n" : "model\n");
    if (system && i == 1) out.text(messages[0].content).text("\n\n");
    out.text(strip_white_space(messages[i].content)).special("<end_of_turn>").text("\n");
  }
  out.special("<start_of_turn>").text("model\n");
}

/// The line breaks are in special pieces because these tokens take the white space behind them along.
void phi3(const Messages& messages, Prompt& out) {
  for (const ChatMessage& m : messages)
    out.special("<|" + m.role + "|>\n").text(m.content).special("<|end|>\n");
  out.special("<|assistant|>\n");
}

ChatFormat detect_deepseek(std::string_view source) {
  const auto has = [&](std::string_view marker) { return source.find(marker) != std::string_view::npos; };
  if (has("thinking")) {
    const bool v31 = has("not thinking") && has("'</think>'") && has("ns.is_last_user") &&
                     has("content.split('</think>', 1)[1]");
    return v31 ? ChatFormat::kDeepSeekV31 : ChatFormat::kNone;
  }
  return has(std::string(kAssistant) + "<think>") ? ChatFormat::kDeepSeekR1 : ChatFormat::kDeepSeekV3;
}

/// In a template's source the line break inside a string is spelled \n or is one; this makes it one.
std::string with_line_breaks(std::string_view source) {
  std::string out;
  for (size_t at = 0; at < source.size(); ++at) {
    const bool spelled = source.substr(at, 2) == "\\n";
    out.push_back(spelled ? '\n' : source[at]);
    if (spelled) ++at;
  }
  return out;
}

ChatFormat detect_mistral_v3(std::string_view source) {
  const auto has = [&](std::string_view marker) { return source.find(marker) != std::string_view::npos; };
  if (!has("loop.last and system_message is defined")) return ChatFormat::kNone;
  if (has(R"("[INST] " + system_message + ")") && has(R"("[INST] " + message["content"] + "[/INST]")") &&
      has(R"({{- " " + message["content"]|trim + eos_token}})"))
    return ChatFormat::kMistralV3;
  if (has(R"("[INST]" + system_message + ")") && has(R"("[INST]" + message["content"] + "[/INST]")") &&
      has(R"({{- message["content"] + eos_token}})"))
    return ChatFormat::kMistralTekken;
  return ChatFormat::kNone;
}

ChatFormat detect_gemma_or_phi3(std::string_view original) {
  const std::string source = with_line_breaks(original);
  const auto has = [&](std::string_view marker) { return source.find(marker) != std::string::npos; };
  if (has("'<start_of_turn>' + role + '\n'") && has("'<start_of_turn>model\n'") && has("| trim")) {
    const bool known_system = !has("first_user_prefix") || has("messages[0]['content'] + '\n\n'");
    return known_system ? ChatFormat::kGemma : ChatFormat::kNone;
  }
  const bool opens_user =
      has("'<|user|>\n' + ") || has("'<|user|>' + '\n' + ") || has("'<|' + message['role'] + '|>' + '\n' + ");
  const bool opens_answer = has("<|assistant|>\n") || has("'<|assistant|>' + '\n'");
  return opens_user && opens_answer && has("<|end|>") ? ChatFormat::kPhi3 : ChatFormat::kNone;
}

bool needs_alternation(ChatFormat format) {
  return format == ChatFormat::kLlama2 || format == ChatFormat::kMistral ||
         format == ChatFormat::kMistralV3 || format == ChatFormat::kMistralTekken ||
         format == ChatFormat::kGemma;
}

void render(ChatFormat format, const Messages& messages, std::string_view default_system, Prompt& out) {
  switch (format) {
    case ChatFormat::kNone:
      return;
    case ChatFormat::kDeepSeekV2:
      return deepseek_v2(messages, out);
    case ChatFormat::kDeepSeekV3:
      return deepseek_v3(messages, false, out);
    case ChatFormat::kDeepSeekR1:
      return deepseek_v3(messages, true, out);
    case ChatFormat::kDeepSeekV31:
      return deepseek_v31(messages, out);
    case ChatFormat::kChatMl:
      return chat_ml(messages, default_system, out);
    case ChatFormat::kLlama2:
      return llama2(messages, out);
    case ChatFormat::kLlama3:
      return llama3(messages, out);
    case ChatFormat::kMistral:
      return mistral(messages, out);
    case ChatFormat::kMistralV3:
      return mistral_v3(messages, false, out);
    case ChatFormat::kMistralTekken:
      return mistral_v3(messages, true, out);
    case ChatFormat::kGemma:
      return gemma(messages, out);
    case ChatFormat::kPhi3:
      return phi3(messages, out);
  }
}

/// In the order of ChatFormat.
constexpr std::array<std::string_view, 13> kFormatNames = {
    "none",    "deepseek-v2", "deepseek-v3", "deepseek-r1",    "deepseek-v3.1", "chatml", "llama-2",
    "llama-3", "mistral",     "mistral-v3",  "mistral-tekken", "gemma",         "phi-3"};
static_assert(kFormatNames.size() == static_cast<size_t>(ChatFormat::kPhi3) + 1);

}  // namespace

ChatFormat detect_chat_format(std::string_view source) {
  const auto has = [&](std::string_view marker) { return source.find(marker) != std::string_view::npos; };
  if (has(kUser) && has(kAssistant)) return detect_deepseek(source);
  if (has("'User: ' + ") && has("'Assistant: ' + ") && has("'Assistant:'")) return ChatFormat::kDeepSeekV2;
  if (has("<|im_start|>") && !has("<|im_sep|>")) return ChatFormat::kChatMl;
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return ChatFormat::kLlama3;
  if (has("[INST] ") && has("<<SYS>>")) return ChatFormat::kLlama2;
  if (has("'[INST] ' + ") && has("' [/INST]'")) return ChatFormat::kMistral;
  if (has("[INST]")) return detect_mistral_v3(source);
  return detect_gemma_or_phi3(source);
}

std::string_view chat_format_name(ChatFormat format) {
  return kFormatNames[static_cast<size_t>(format)];
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
  if (format == ChatFormat::kNone) {
    return Error::usage(
        fmt::format("chat: the model has no chat template of a known format ({}); give it plain text instead",
                    fmt::join(kFormatNames.begin() + 1, kFormatNames.end(), ", ")));
  }
  if (needs_alternation(format)) MLA_TRY(check_alternation(messages));
  Prompt prompt;
  render(format, messages, default_system, prompt);
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
