#pragma once

#include <memory>
#include <string>

#include "input.h"
#include "text/stream_decoder.h"
#include "text/utf8.h"

namespace mla::fuzz {

/// What a tokenizer that was accepted must do, whatever its file says: give ids of its vocabulary, take every
/// id it has, and show valid UTF-8.
inline void use(const std::shared_ptr<const Tokenizer>& tokenizer) {
  static const std::string text =
      "Hello  World\n\t12345 it's caf\xC3\xA9 \xF0\x9F\x98\x80 \xFF <s> [INST] " + std::string(300, 'a');
  const auto n_vocab = static_cast<int32_t>(tokenizer->n_vocab());
  StreamDecoder decoder(tokenizer, {"stop"});
  const auto show = [&](int32_t id) {
    const auto shown = decoder.push(id);
    require(shown.ok(), "an id of the vocabulary is accepted");
    require(is_utf8(shown.value()), "the stream is UTF-8");
  };
  for (const int32_t id : tokenizer->encode(text, {.add_bos = true, .parse_special = true})) {
    require(id >= 0 && id < n_vocab, "encode() gives ids of the vocabulary");
    show(id);
  }
  for (int32_t id = 0; id < n_vocab && id < 1000; ++id) show(id);
  require(is_utf8(decoder.finish()), "the end of the stream is UTF-8");
  for (const int32_t id : tokenizer->stop_tokens())
    require(id >= 0 && id < n_vocab, "stop tokens are in the vocabulary");
}

}  // namespace mla::fuzz
