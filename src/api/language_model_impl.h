#pragma once

#include <memory>
#include <optional>

#include "mla/language_model.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace mla {

struct LanguageModel::Impl {
  /// Errors: kUsage when the checkpoint has none.
  Result<std::shared_ptr<const Tokenizer>> tokenizer() const;

  std::unique_ptr<Backend> backend;  // declared first: the model needs it to the end
  std::shared_ptr<const Model> model;
  std::optional<Result<ChatTemplate>> chat_template;  // none, or one that may not be readable
  LanguageModelInfo info;
};

}  // namespace mla
