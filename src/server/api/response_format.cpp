#include "server/api/response_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <random>
#include <utility>

namespace mla::server {
namespace {

/// What the API says of tokens that are as good as impossible; JSON has no minus infinity.
constexpr float kImpossible = -9999.0F;

double shown_logprob(float logprob) { return logprob > kImpossible ? logprob : kImpossible; }

Json usage_json(const Usage& u, bool chat) {
  Json usage = {{"prompt_tokens", u.prompt_tokens},
                {"completion_tokens", u.completion_tokens},
                {"total_tokens", u.prompt_tokens + u.completion_tokens},
                {"prompt_tokens_details", {{"cached_tokens", u.cached_tokens}}}};
  if (chat) usage["completion_tokens_details"] = {{"reasoning_tokens", u.reasoning_tokens}};
  return usage;
}

/// The JSON text around one string of a document, so that documents that differ in it alone are not built anew.
class Frame {
 public:
  /// `with_marker`: the document with kMarker in the string's place.
  explicit Frame(const Json& with_marker) {
    const std::string text = written(with_marker);
    const std::string marker = written(kMarker);
    const size_t at = text.rfind(marker);  // names in front of it are anyone's
    before_ = text.substr(0, at);
    after_ = text.substr(at + marker.size());
  }
  std::string around(const std::string& value) const { return before_ + written(value) + after_; }

  static constexpr const char* kMarker = "\x01";

 private:
  std::string before_, after_;
};

void append(std::vector<TokenRecord>& to, std::vector<TokenRecord> more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

/// What both shapes share: the head of every object, and tokens that wait for an event to go with.
class Format : public ResponseFormat {
 public:
  Format(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices)
      : head_(std::move(head)), tokenizer_(std::move(tokenizer)), waiting_(n_choices), frames_(n_choices) {}

 protected:
  Json object(const char* kind) const {
    return {{"id", head_.id}, {"object", kind}, {"created", head_.created}, {"model", head_.model}};
  }
  Json chunk_of(const char* kind, Json choice) const {
    Json chunk = object(kind);
    chunk["choices"] = Json::array({std::move(choice)});
    if (head_.include_usage) chunk["usage"] = nullptr;
    return chunk;
  }
  Json usage_chunk_of(const char* kind, const Usage& usage, bool chat) const {
    Json chunk = object(kind);
    chunk["choices"] = Json::array();
    chunk["usage"] = usage_json(usage, chat);
    return chunk;
  }
  /// The tokens that go with this choice's next event.
  std::vector<TokenRecord> take_waiting(size_t index) { return std::exchange(waiting_[index], {}); }
  /// A token's text; what is not UTF-8 becomes U+FFFD when the JSON is written.
  std::string text_of(int32_t id) const {
    auto bytes = tokenizer_->token_bytes(id, true);
    return bytes.ok() ? std::move(*bytes) : std::string();
  }

  /// A chunk of which nothing but the part's text differs from the last one, mostly: it is built anew where more does.
  template <typename Build>
  std::string framed(size_t index, const AnswerPart& part, Build build) {
    PartFrame& last = frames_[index];
    if (!last.frame || last.kind != part.kind || last.call != part.call) {
      last = {part.kind, part.call, Frame(build({.kind = part.kind, .text = Frame::kMarker, .call = part.call}))};
    }
    return last.frame->around(part.text);
  }

  const ResponseHead head_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::vector<TokenRecord>> waiting_;  ///< [n_choices]

 private:
  struct PartFrame {
    AnswerPart::Kind kind = AnswerPart::Kind::kContent;
    int64_t call = -1;
    std::optional<Frame> frame;
  };
  std::vector<PartFrame> frames_;  ///< [n_choices]: of the last chunk with text and nothing else
};

Json bytes_json(const std::string& bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<uint8_t>(c));
  return list;
}

// -- /v1/chat/completions
// ------------------------------------------------------------------------------------------------

constexpr const char* kChatChunk = "chat.completion.chunk";

class ChatFormat final : public Format {
 public:
  using Format::Format;

  std::vector<Json> begin(size_t index) override { return {chunk(index, {{"role", "assistant"}, {"content", ""}}, nullptr)}; }

  std::vector<std::string> chunks(size_t index, ChoiceDelta delta) override {
    append(waiting_[index], std::move(delta.tokens));
    std::vector<std::string> events;
    for (const AnswerPart& part : delta.parts) {
      if (part.kind == AnswerPart::Kind::kCallBegins || head_.logprobs) {
        events.push_back(written(chunk(index, delta_json(part), nullptr)));
        continue;
      }
      events.push_back(framed(index, part, [&](const AnswerPart& with_text) { return chunk(index, delta_json(with_text), nullptr); }));
    }
    return events;
  }

  Json finish(size_t index, const std::string& reason) override { return chunk(index, Json::object(), reason); }

  Json usage_chunk(const Usage& usage) const override { return usage_chunk_of(kChatChunk, usage, true); }

  Json whole(std::vector<ChoiceDelta> answers, const std::vector<std::string>& reasons, const Usage& usage) override {
    Json response = object("chat.completion");
    response["choices"] = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      response["choices"].push_back({{"index", i},
                                     {"message", message_json(answers[i].parts)},
                                     {"logprobs", logprobs_json(answers[i].tokens)},
                                     {"finish_reason", reasons[i]}});
    }
    response["usage"] = usage_json(usage, true);
    return response;
  }

 private:
  Json chunk(size_t index, Json delta, Json reason) {
    return chunk_of(kChatChunk, {{"index", index},
                                 {"delta", std::move(delta)},
                                 {"logprobs", logprobs_json(take_waiting(index))},
                                 {"finish_reason", std::move(reason)}});
  }

  static std::string call_id(const AnswerPart& part) { return part.id.empty() ? random_id("call_") : part.id; }

  static Json delta_json(const AnswerPart& part) {
    switch (part.kind) {
      case AnswerPart::Kind::kContent:
        return {{"content", part.text}};
      case AnswerPart::Kind::kReasoning:
        return {{"reasoning_content", part.text}};
      case AnswerPart::Kind::kCallBegins:
        return {{"tool_calls", Json::array({{{"index", part.call}, {"id", call_id(part)}, {"type", "function"},
                                             {"function", {{"name", part.name}, {"arguments", ""}}}}})}};
      case AnswerPart::Kind::kCallArguments:
        return {{"tool_calls", Json::array({{{"index", part.call}, {"function", {{"arguments", part.text}}}}})}};
    }
    return Json::object();
  }

  static Json message_json(const std::vector<AnswerPart>& parts) {
    std::string content, reasoning;
    std::vector<std::string> arguments;
    Json calls = Json::array();
    for (const AnswerPart& part : parts) {
      switch (part.kind) {
        case AnswerPart::Kind::kContent:
          content += part.text;
          break;
        case AnswerPart::Kind::kReasoning:
          reasoning += part.text;
          break;
        case AnswerPart::Kind::kCallBegins:
          calls.push_back({{"id", call_id(part)}, {"type", "function"}, {"function", {{"name", part.name}, {"arguments", ""}}}});
          arguments.emplace_back();
          break;
        case AnswerPart::Kind::kCallArguments:
          if (!arguments.empty()) arguments.back() += part.text;
          break;
      }
    }
    for (size_t i = 0; i < arguments.size(); ++i) calls[i]["function"]["arguments"] = arguments[i];
    Json message = {{"role", "assistant"}, {"content", content.empty() && !calls.empty() ? Json() : Json(content)}, {"refusal", nullptr}};
    if (!reasoning.empty()) message["reasoning_content"] = reasoning;
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
    return message;
  }

  Json logprobs_json(const std::vector<TokenRecord>& tokens) const {
    if (!head_.logprobs || tokens.empty()) return nullptr;
    Json content = Json::array();
    for (const TokenRecord& t : tokens) {
      Json top = Json::array();
      for (const TokenLogprob& other : t.top) {
        const std::string text = text_of(other.token);
        top.push_back({{"token", text}, {"logprob", shown_logprob(other.logprob)}, {"bytes", bytes_json(text)}});
      }
      content.push_back({{"token", t.bytes},
                         {"logprob", shown_logprob(t.logprob.value_or(0.0F))},
                         {"bytes", t.silent ? Json() : bytes_json(t.bytes)},
                         {"top_logprobs", std::move(top)}});
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }
};

// -- /v1/completions
// -----------------------------------------------------------------------------------------------------

constexpr const char* kText = "text_completion";

class CompletionFormat final : public Format {
 public:
  CompletionFormat(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices)
      : Format(std::move(head), std::move(tokenizer), n_choices), n_characters_(n_choices) {}

  std::vector<Json> begin(size_t) override { return {}; }

  std::vector<std::string> chunks(size_t index, ChoiceDelta delta) override {
    append(waiting_[index], std::move(delta.tokens));
    std::vector<std::string> events;
    for (AnswerPart& part : delta.parts) {
      if (head_.logprobs) {
        events.push_back(written(chunk_of(kText, choice(index, std::move(part.text), take_waiting(index), nullptr))));
        continue;
      }
      events.push_back(framed(index, part, [&](const AnswerPart& with_text) { return chunk_of(kText, choice(index, with_text.text, {}, nullptr)); }));
    }
    return events;
  }

  Json finish(size_t index, const std::string& reason) override { return chunk_of(kText, choice(index, "", take_waiting(index), reason)); }

  Json usage_chunk(const Usage& usage) const override { return usage_chunk_of(kText, usage, false); }

  Json whole(std::vector<ChoiceDelta> answers, const std::vector<std::string>& reasons, const Usage& usage) override {
    Json response = object(kText);
    response["choices"] = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      std::string text;
      for (const AnswerPart& part : answers[i].parts) text += part.text;
      response["choices"].push_back(choice(i, std::move(text), answers[i].tokens, reasons[i]));
    }
    response["usage"] = usage_json(usage, false);
    return response;
  }

 private:
  Json choice(size_t index, std::string text, const std::vector<TokenRecord>& tokens, Json reason) {
    return {{"text", std::move(text)}, {"index", index}, {"logprobs", logprobs_json(index, tokens)}, {"finish_reason", std::move(reason)}};
  }

  Json logprobs_json(size_t index, const std::vector<TokenRecord>& tokens) {
    if (!head_.logprobs || tokens.empty()) return nullptr;
    Json texts = Json::array(), logprobs = Json::array(), tops = Json::array(), offsets = Json::array();
    for (const TokenRecord& t : tokens) {
      texts.push_back(t.bytes);
      offsets.push_back(n_characters_[index]);
      if (!t.silent) n_characters_[index] += std::count_if(t.bytes.begin(), t.bytes.end(), [](char c) { return (c & 0xC0) != 0x80; });
      if (!t.logprob) {
        logprobs.push_back(nullptr);
        tops.push_back(nullptr);
        continue;
      }
      logprobs.push_back(shown_logprob(*t.logprob));
      Json top = {{t.bytes, shown_logprob(*t.logprob)}};
      for (const TokenLogprob& other : t.top) {
        if (other.token != t.id) top.emplace(text_of(other.token), shown_logprob(other.logprob));
      }
      tops.push_back(std::move(top));
    }
    return {{"tokens", std::move(texts)}, {"token_logprobs", std::move(logprobs)}, {"top_logprobs", std::move(tops)}, {"text_offset", std::move(offsets)}};
  }

  std::vector<int64_t> n_characters_;  ///< [n_choices]: of the text in front of the next token
};

}  // namespace

std::unique_ptr<ResponseFormat> chat_format(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices) {
  return std::make_unique<ChatFormat>(std::move(head), std::move(tokenizer), n_choices);
}

std::unique_ptr<ResponseFormat> completion_format(ResponseHead head, std::shared_ptr<const Tokenizer> tokenizer, size_t n_choices) {
  return std::make_unique<CompletionFormat>(std::move(head), std::move(tokenizer), n_choices);
}

Json timings_json(const Timings& t) {
  const auto rate = [](int64_t n, double seconds) { return n > 0 && seconds > 0.0 ? static_cast<double>(n) / seconds : 0.0; };
  return {{"first_token_seconds", t.first_token_seconds},
          {"total_seconds", t.total_seconds},
          {"prefill_tokens_per_second", rate(t.n_prompt - t.n_cached, t.first_token_seconds)},
          {"decode_tokens_per_second", rate(t.n_generated - 1, t.total_seconds - t.first_token_seconds)},
          {"cached_tokens", t.n_cached}};
}

std::string written(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string random_id(std::string_view prefix) {
  thread_local std::mt19937_64 random{(uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
  return fmt::format("{}{:016x}{:08x}", prefix, random(), random() & 0xFFFFFFFF);
}

}  // namespace mla::server
