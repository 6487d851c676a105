#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/generation.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace mla::cli {

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// A conversation as token ids, ready for the assistant to speak: the template's markers are parsed as special tokens,
/// people's text never is.
Result<std::vector<int32_t>> chat_ids(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::vector<ChatMessage>& messages);

/// What to say about an answer after its statistics; null for nothing.
using Remark = std::function<std::string(const Generation&)>;

/// A conversation on the terminal with history, until end of input or /exit. Without a chat template (null) what is typed is
/// continued as text, with everything before it. Ctrl-C ends an answer; at the prompt it ends the conversation.
/// `profiler`: the engine's backend or null, for what `remark` says.
Status chat_loop(Engine& engine, const std::shared_ptr<const Tokenizer>& tokenizer, const ChatTemplate* chat_template, const std::string& system,
                 const SamplingOptions& sampling, ProfilingBackend* profiler = nullptr, const Remark& remark = {});

}  // namespace mla::cli
