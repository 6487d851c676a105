#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// The chat formats that checkpoints at hand use. The checkpoint's own template decides (recognised by its markers).
enum class ChatFormat { kNone, kDeepSeekV2, kDeepSeekV3, kChatMl, kLlama2, kLlama3, kMistral };

ChatFormat detect_chat_format(std::string_view chat_template);
std::string_view chat_format_name(ChatFormat format);

/// A prompt in pieces: special pieces are the template's own markers (encoded with special tokens parsed), the others are
/// people's text (encoded as plain text, so that nobody can smuggle a marker in).
struct ChatPiece {
  bool special = false;
  std::string text;
};

/// Renders a conversation up to and including the marker that asks the assistant to speak. Without BOS.
/// Errors: kUsage for an unknown role or kNone.
Result<std::vector<ChatPiece>> render_chat(ChatFormat format, const std::vector<ChatMessage>& messages);

}  // namespace mla
