#include "cli/chat_loop.h"

#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/terminal.h"

namespace mla::cli {
namespace {

/// One line from the terminal; nothing at end of input or Ctrl-C.
std::optional<std::string> read_line() {
  write_stderr(color_on_stderr() ? "\033[1m> \033[0m" : "> ");
  std::string line;
  std::cin.clear();
  if (!std::getline(std::cin, line)) return std::nullopt;
  return line;
}

/// What has been said so far, as messages or (without a chat template) as one running text.
struct History {
  std::vector<ChatMessage> messages;
  std::string text;

  explicit History(const std::string& system) {
    if (!system.empty()) messages.push_back({"system", system});
  }
};

Result<std::vector<int32_t>> next_prompt(const Tokenizer& tokenizer, const ChatTemplate* chat_template, History& history,
                                         const std::string& line) {
  if (chat_template == nullptr) {
    history.text += line;
    return tokenizer.encode(history.text, {.add_bos = tokenizer.add_bos()});
  }
  history.messages.push_back({"user", line});
  return chat_ids(tokenizer, *chat_template, history.messages);
}

}  // namespace

Result<std::vector<int32_t>> chat_ids(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::vector<ChatMessage>& messages) {
  auto conversation = nlohmann::ordered_json::array();
  for (const ChatMessage& m : messages) conversation.push_back({{"role", m.role}, {"content", m.content}});
  ChatTemplate::Input input{.messages = conversation};
  set_special_tokens(input, tokenizer);
  MLA_ASSIGN(const RenderedChat chat, chat_template.render(input));
  return encode_chat(tokenizer, chat);
}

Status chat_loop(Engine& engine, const std::shared_ptr<const Tokenizer>& tokenizer, const ChatTemplate* chat_template, const std::string& system,
                 const SamplingOptions& sampling, ProfilingBackend* profiler, const Remark& remark) {
  const bool chats = chat_template != nullptr;
  note(chats ? "A conversation. /reset forgets it, /exit leaves, Ctrl-C ends an answer."
             : "A text without a chat template: the model continues what you type, with everything before it. /reset forgets, /exit leaves.");
  const GracefulInterrupt graceful;  // at the prompt, too: there it ends the conversation
  History history(system);
  for (;;) {
    const std::optional<std::string> line = read_line();
    if (!line || *line == "/exit" || *line == "/quit") break;
    if (*line == "/reset") {
      history = History(system);
      continue;
    }
    if (line->empty()) continue;
    MLA_ASSIGN(std::vector<int32_t> ids, next_prompt(*tokenizer, chat_template, history, *line));
    Result<Generation> g = generate(engine, tokenizer, std::move(ids), sampling, chats, write_generated, profiler);
    if (!g.ok() && g.error().kind == ErrorKind::kUsage) {  // a conversation grown too long is no reason to lose it
      report_error(g.error());
      note("/reset begins anew");
      if (chats) history.messages.pop_back();
      continue;
    }
    MLA_TRY(g.ok() ? Status() : Status(g.error()));
    MLA_TRY(write_stdout("\n"));
    note(statistics_lines(engine, *g, g->status.n_prompt + static_cast<int64_t>(g->tokens.size())));
    if (remark) note(remark(*g));
    clear_interrupt();
    if (chats) {
      history.messages.push_back({"assistant", g->text});
    } else {
      history.text += g->text;
    }
  }
  clear_interrupt();  // leaving with Ctrl-C at the prompt is a normal end
  write_stderr("\n");
  return {};
}

}  // namespace mla::cli
