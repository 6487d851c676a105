#pragma once

#include <memory>

#include "mla/language_model.h"
#include "model/model.h"
#include "text/chat.h"

namespace mla {

struct LanguageModel::Impl {
  std::unique_ptr<Backend> backend;  // declared first: the model needs it to the end
  std::shared_ptr<const Model> model;
  ChatFormat chat_format = ChatFormat::kNone;
  LanguageModelInfo info;
};

}  // namespace mla
