#include "mla/language_model.h"

#include <new>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/backend.h"
#include "api/language_model_impl.h"

namespace mla {
namespace {

CacheShape cache_shape(const Config& c) {
  if (c.attention == AttentionKind::kMla)
    return {c.n_layers, c.n_heads, c.n_heads, c.d_nope, c.d_v, c.kv_rank, c.d_rope};
  return {c.n_layers, c.n_heads, c.n_kv_heads, c.d_head, c.d_head, 0, 0};
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> LanguageModel::Impl::tokenizer() const {
  if (model->tokenizer() != nullptr) return model->tokenizer();
  return Error::usage("the checkpoint " + model->checkpoint().path.string() +
                      " has no tokenizer: give token ids, or put tokenizer.json beside config.json");
}

Result<LanguageModel> LanguageModel::open(const std::filesystem::path& path,
                                          const LanguageModelOptions& options) try {
  auto impl = std::make_shared<Impl>();
  MLA_ASSIGN(impl->backend, make_backend(options));
  MLA_ASSIGN(impl->model, Model::load(path, *impl->backend));
  const Model& model = *impl->model;
  const Config& c = model.config();
  if (model.tokenizer() != nullptr && !model.tokenizer()->chat_template().empty())
    impl->chat_template = ChatTemplate::parse(model.tokenizer()->chat_template());
  impl->info = {.architecture = c.architecture,
                .name = c.name,
                .n_parameters = model.n_parameters(),
                .n_layers = c.n_layers,
                .d_model = c.d_model,
                .n_vocab = c.n_vocab,
                .n_context = c.n_context,
                .has_tokenizer = model.tokenizer() != nullptr,
                .has_chat_format = impl->chat_template && impl->chat_template->ok(),
                .cache = cache_shape(c)};
  return LanguageModel(std::move(impl));
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory to open " + path.string());
}

const LanguageModelInfo& LanguageModel::info() const {
  return impl_->info;
}

Result<std::vector<int32_t>> LanguageModel::tokenize(std::string_view text) const try {
  MLA_ASSIGN(const auto tokenizer, impl_->tokenizer());
  return tokenizer->encode(text, {.add_bos = tokenizer->add_bos()});
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the text's tokens");
}

Result<std::vector<int32_t>> LanguageModel::tokenize_chat(
    const std::vector<ConversationMessage>& messages) const try {
  MLA_ASSIGN(const auto tokenizer, impl_->tokenizer());
  if (!impl_->chat_template)
    return Error::usage("the checkpoint has no chat template: give its tokenizer a text, not messages");
  const Result<ChatTemplate>& chat_template = *impl_->chat_template;
  if (!chat_template.ok()) return chat_template.error();
  auto conversation = nlohmann::ordered_json::array();
  for (const ConversationMessage& m : messages)
    conversation.push_back({{"role", m.role}, {"content", m.content}});
  ChatTemplate::Input input{.messages = conversation};
  set_special_tokens(input, *tokenizer);
  MLA_ASSIGN(const RenderedChat chat, chat_template.value().render(input));
  return encode_chat(*tokenizer, chat);
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the conversation's tokens");
}

Result<std::string> LanguageModel::detokenize(std::span<const int32_t> ids) const try {
  MLA_ASSIGN(const auto tokenizer, impl_->tokenizer());
  return tokenizer->decode({ids.begin(), ids.end()});
} catch (const std::bad_alloc&) {
  return Error::resource("not enough memory for the tokens' text");
}

}  // namespace mla
