#include "support/fake_model.h"

#include <algorithm>
#include <stdexcept>

namespace mla::test {
namespace {

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9e3779b97f4a7c15ULL;
  return h ^ (h >> 29);
}

uint64_t add_row(uint64_t h, int64_t layer, float id, float position) {
  return mix(mix(mix(h, static_cast<uint64_t>(layer)), static_cast<uint64_t>(id)),
             static_cast<uint64_t>(position));
}

void fill_logits(uint64_t h, std::span<float> logits) {
  for (size_t v = 0; v < logits.size(); ++v)
    logits[v] = static_cast<float>(mix(h, v + 1) >> 44) * 0x1.0p-18F;  // 0 ... 4
}

void fill_hidden(uint64_t h, std::span<float> hidden) {
  fill_logits(mix(h, 1), hidden);
}

uint64_t hash_of(const Config& config, std::span<const int32_t> tokens) {
  uint64_t h = 0;
  for (size_t r = 0; r < tokens.size(); ++r) {
    for (int64_t l = 0; l < config.n_layers; ++l)
      h = add_row(h, l, static_cast<float>(tokens[r]), static_cast<float>(r));
  }
  return h;
}

}  // namespace

Config fake_config(int64_t n_vocab, int64_t n_context) {
  Config c;
  c.architecture = "fake";
  c.n_vocab = n_vocab;
  c.n_layers = 2;
  c.d_model = 3;
  c.n_context = n_context;
  c.attention = AttentionKind::kGqa;
  c.n_heads = c.n_kv_heads = 1;
  c.d_head = 1;  // a row is [K | V] of one element each: here [id | position]
  return c;
}

Outputs FakeDecoder::forward(const ForwardContext& context) const {
  const Batch& batch = context.batch;
  Call call{batch.n_tokens(), static_cast<int64_t>(batch.sequences.size()), 0};
  const Activation logits =
      context.backend.scratch(static_cast<int64_t>(batch.logit_rows.size()), config_.n_vocab);
  const Activation hidden =
      context.backend.scratch(static_cast<int64_t>(batch.hidden_rows.size()), config_.d_model);
  size_t wanted = 0, wanted_hidden = 0;
  for (const SequenceSlice& s : batch.sequences) {
    if (s.n_new == 1) ++call.n_decodes;
    if (static_cast<int64_t>(s.pages.size()) * kPageRows < s.n_rows())
      throw std::logic_error("pages do not cover the rows");
    for (int64_t i = 0; i < s.n_new; ++i) {
      const size_t token = static_cast<size_t>(s.first_token + i);
      if (batch.positions[token] != s.n_past + i) throw std::logic_error("position is not the row's index");
      const float values[2] = {static_cast<float>(batch.ids[token]),
                               static_cast<float>(batch.positions[token])};
      for (int64_t l = 0; l < config_.n_layers; ++l) {
        const LayerRows rows = context.cache.layer(l);
        encode_row(*rows.layout, values, rows.row(s, s.n_past + i));
      }
    }
    uint64_t h = 0;
    for (int64_t r = 0; r < s.n_rows(); ++r) {
      for (int64_t l = 0; l < config_.n_layers; ++l) {
        const LayerRows rows = context.cache.layer(l);
        float values[2];
        decode_row(*rows.layout, rows.row(s, r), 0, 2, values);
        h = add_row(h, l, values[0], values[1]);
      }
      const int64_t token = s.first_token + r - s.n_past;
      const auto is_next = [&](std::span<const int32_t> rows, size_t next) {
        return r >= s.n_past && next < rows.size() && rows[next] == token;
      };
      if (is_next(batch.hidden_rows, wanted_hidden)) {
        fill_hidden(h,
                    {hidden.row(static_cast<int64_t>(wanted_hidden)), static_cast<size_t>(config_.d_model)});
        ++wanted_hidden;
      }
      if (is_next(batch.logit_rows, wanted)) {
        fill_logits(h, {logits.row(static_cast<int64_t>(wanted)), static_cast<size_t>(config_.n_vocab)});
        ++wanted;
      }
    }
  }
  if (wanted != batch.logit_rows.size() || wanted_hidden != batch.hidden_rows.size())
    throw std::logic_error("rows that are wanted are not ascending tokens of the batch");
  calls.push_back(call);
  return {logits, hidden};
}

std::vector<float> fake_logits(const Config& config, std::span<const int32_t> tokens) {
  std::vector<float> logits(static_cast<size_t>(config.n_vocab));
  fill_logits(hash_of(config, tokens), logits);
  return logits;
}

std::vector<float> fake_embedding(const Config& config, std::span<const int32_t> tokens, bool mean) {
  std::vector<float> sum(static_cast<size_t>(config.d_model)), hidden = sum;
  for (size_t n = mean ? 1 : tokens.size(); n <= tokens.size(); ++n) {
    fill_hidden(hash_of(config, tokens.first(n)), hidden);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += hidden[i];
  }
  if (mean) {
    for (float& value : sum) value /= static_cast<float>(tokens.size());
  }
  return sum;
}

std::vector<int32_t> fake_answer(const Config& config, std::span<const int32_t> prompt,
                                 const SamplingParams& sampling, int64_t n_new,
                                 std::span<const int32_t> stop_tokens) {
  Sampler sampler(sampling, config.n_vocab);
  sampler.observe_prompt(prompt);
  std::vector<int32_t> tokens(prompt.begin(), prompt.end());
  while (static_cast<int64_t>(tokens.size() - prompt.size()) < n_new &&
         static_cast<int64_t>(tokens.size()) < config.n_context) {
    tokens.push_back(sampler.sample(fake_logits(config, tokens)).token);
    if (sampler.finished()) break;
    if (std::find(stop_tokens.begin(), stop_tokens.end(), tokens.back()) != stop_tokens.end()) break;
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end()};
}

FakeModel::FakeModel(const Config& c) : config(c) {
  auto made = std::make_unique<FakeDecoder>(config);
  decoder = made.get();
  model = Model::from_parts(config, std::move(made), backend);
}

}  // namespace mla::test
