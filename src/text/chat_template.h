#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

class Tokenizer;

/// A part of a text: bytes [begin, end).
struct TextSpan {
  size_t begin = 0, end = 0;
};

/// A conversation as the template renders it.
struct RenderedChat {
  std::string text;
  /// The parts that came from people (messages, tools, arguments) and not from the template, in order: special tokens that
  /// appear in them are text (failure-modes TK06).
  std::vector<TextSpan> foreign;
};

/// What a template may use up; the defaults are generous for people's conversations and stop a template that never ends.
struct ChatTemplateLimits {
  size_t max_source = size_t{1} << 20;    ///< bytes of template
  size_t max_output = size_t{64} << 20;   ///< bytes of rendered text, and of all strings that are made on the way
  size_t max_steps = 20'000'000;          ///< expressions and statements evaluated
  size_t max_depth = 200;                 ///< nesting of blocks, expressions, calls and values
  size_t max_range = 1'000'000;           ///< elements of a range() or a list
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

/// The ids of a rendered conversation. BOS is in front once: whether the template wrote it or the tokenizer adds it.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat);

}  // namespace mla
