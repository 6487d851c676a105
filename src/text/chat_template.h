#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_span.h"

namespace mla {

class Tokenizer;

/// A conversation as the template renders it.
struct RenderedChat {
  std::string text;
  /// The parts that came from people (messages, tools, arguments) and not from the template, in order: special tokens that
  /// appear in them are text (failure-modes TK06). The names of the usual roles count as the template's: templates build
  /// markers of them.
  std::vector<TextSpan> foreign;
};

/// What a template may use up; the defaults are generous for people's conversations and stop a template that never ends.
struct ChatTemplateLimits {
  size_t max_source = size_t{1} << 20;    ///< bytes of template
  size_t max_output = size_t{64} << 20;   ///< bytes of rendered text and of all values that are made on the way, together
  size_t max_steps = 5'000'000;           ///< expressions and statements evaluated, and work on long texts and lists
  size_t max_depth = 200;                 ///< nesting of blocks, expressions, calls and values
  size_t max_range = 100'000;             ///< elements of a range(), as in jinja2's sandbox
};

/// A checkpoint's own chat template (Jinja, as transformers' apply_chat_template runs it: a sandboxed environment with
/// trim_blocks, lstrip_blocks and loop controls). Immutable; may be rendered from several threads at once.
class ChatTemplate {
 public:
  /// Errors: kInvalidFile with line and column, what was found and what was expected.
  static Result<ChatTemplate> parse(std::string_view source, const ChatTemplateLimits& limits = {});

  struct Input {
    const nlohmann::ordered_json& messages;  ///< array of {"role", "content", ...}, as the API takes them
    const nlohmann::ordered_json* tools = nullptr;  ///< array, or none
    bool add_generation_prompt = true;
    const nlohmann::ordered_json* arguments = nullptr;  ///< an object of further variables (chat_template_kwargs), or none
    std::string bos_token, eos_token;
  };
  /// Errors: kUsage for what the template refuses (raise_exception: its message), a missing field it uses in a way that
  /// jinja2 would refuse too, or a limit.
  Result<RenderedChat> render(const Input& input) const;

  /// Whether the template looks at this variable ("tools", "enable_thinking").
  bool uses(std::string_view variable) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Fills in the texts of the tokenizer's BOS and EOS.
void set_special_tokens(ChatTemplate::Input& input, const Tokenizer& tokenizer);

/// The ids of a rendered conversation, as tokenised in one piece; special tokens are recognised in the template's own text
/// only. The template alone decides whether BOS is in front, as with transformers' apply_chat_template: the tokenizer adds none.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat);

}  // namespace mla
