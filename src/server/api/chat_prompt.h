#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api/api_error.h"
#include "server/api/request.h"
#include "text/answer_parser.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace mla::server {

/// A conversation as the model reads it, and how its answer is to be read.
struct ChatPrompt {
  std::vector<int32_t> ids;
  AnswerOptions answer;
  bool opens_thought = false;  ///< the answer begins inside a thought, whether or not it is told apart
};

/// Conversations through the checkpoint's own template. Immutable: threads may share it.
class ChatPrompter {
 public:
  /// `split_reasoning`: where requests do not say. A checkpoint without a template, or with one that cannot be read, is no
  /// error here: render() tells every client.
  ChatPrompter(std::shared_ptr<const Tokenizer> tokenizer, bool split_reasoning);

  /// Errors: 400 when the model has no template, the template refuses the conversation, or tools are given that it does not
  /// show to the model.
  ApiResult<ChatPrompt> render(const ChatRequest& request) const;
  /// Empty when conversations can be had, else why not.
  const std::string& problem() const { return problem_; }

 private:
  Result<RenderedChat> render_text(const Json& messages, const Json& tools, const Json* arguments, bool ask) const;
  bool wants_argument_objects() const;

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool split_reasoning_;
  std::optional<ChatTemplate> template_;
  std::string problem_;
  ToolCallFormat tool_format_ = ToolCallFormat::kNone;
  bool argument_objects_ = false;  ///< the template wants the arguments of earlier calls as objects, not as their JSON
};

}  // namespace mla::server
