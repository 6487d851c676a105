// Opens a model, prints the continuation of a prompt while it is made, then runs three requests at once.
//
//   generate MODEL [PROMPT]

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "mla/mla.h"

namespace {

int fail(const mla::Error& error) {
  std::fprintf(stderr, "generate: %s\n", error.message.c_str());
  return 1;
}

/// Prints the text of one request as it comes.
mla::Status stream(mla::Generator& generator, const std::string& prompt) {
  mla::GenerationRequest request{.prompt = prompt, .max_new_tokens = 32};
  request.on_text = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    return true;
  };
  std::printf("%s", prompt.c_str());
  const auto result = generator.generate(std::move(request));
  if (!result.ok()) return result.error();
  std::printf("\n\n%zu tokens after a prompt of %lld, %lld bytes of cache each\n", result->tokens.size(),
              static_cast<long long>(result->n_prompt),
              static_cast<long long>(generator.cache_bytes_per_token()));
  return {};
}

/// Three samples of one prompt in one batch.
mla::Status sample_together(mla::Generator& generator, const std::string& prompt) {
  std::vector<mla::GenerationId> ids;
  for (uint64_t seed : {1, 2, 3}) {
    const mla::Sampling sampling{.temperature = 0.8F, .top_p = 0.95F, .seed = seed};
    const auto id = generator.submit({.prompt = prompt, .sampling = sampling, .max_new_tokens = 16});
    if (!id.ok()) return id.error();
    ids.push_back(*id);
  }
  if (const mla::Status done = generator.run(); !done.ok()) return done;
  for (const mla::GenerationId id : ids) std::printf("sample:%s\n", generator.result(id)->text.c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: generate MODEL [PROMPT]\n");
    return 2;
  }
  const std::string prompt = argc > 2 ? argv[2] : "The American flag is red, white, and";

  const auto model = mla::LanguageModel::open(argv[1]);
  if (!model.ok()) return fail(model.error());
  auto generator = mla::Generator::create(*model, {.cache_tokens = 2048});
  if (!generator.ok()) return fail(generator.error());

  if (const mla::Status status = stream(*generator, prompt); !status.ok()) return fail(status.error());
  if (const mla::Status status = sample_together(*generator, prompt); !status.ok())
    return fail(status.error());
  return 0;
}
