#include "io/gguf.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "io/checkpoint_builder.h"
#include "io/gguf_file.h"

namespace mla {
namespace {
namespace fs = std::filesystem;

/// What the name of a part says: PREFIX-00002-of-00003.gguf, numbers from 1.
struct PartName {
  std::string prefix;
  int64_t number = 0;
  int64_t count = 0;

  fs::path path(int64_t part) const { return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, part, count); }
};

std::optional<PartName> parse_part_name(const fs::path& path) {
  const std::string name = path.string();
  static constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (name.size() <= kPattern.size()) return std::nullopt;
  const std::string_view tail = std::string_view(name).substr(name.size() - kPattern.size());
  PartName part{.prefix = name.substr(0, name.size() - kPattern.size())};
  const auto number_at = [&](size_t at, int64_t& out) {
    return std::from_chars(tail.data() + at, tail.data() + at + 5, out).ptr == tail.data() + at + 5;
  };
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf") return std::nullopt;
  if (!number_at(1, part.number) || !number_at(10, part.count)) return std::nullopt;
  if (part.number < 1 || part.count < part.number) return std::nullopt;
  return part;
}

/// A GGUF file's split.* keys.
struct SplitKeys {
  int64_t number = 0;   ///< from 0
  int64_t count = 1;    ///< 1 for a whole file
  int64_t tensors = 0;  ///< of all parts; -1 when the file does not say
};

Result<SplitKeys> read_split_keys(const Metadata& metadata) {
  SplitKeys keys;
  MLA_ASSIGN(keys.number, metadata.integer_or("split.no", 0));
  MLA_ASSIGN(keys.count, metadata.integer_or("split.count", 1));
  MLA_ASSIGN(keys.tensors, metadata.integer_or("split.tensors.count", -1));
  if (keys.count == 0) keys.count = 1;
  if (keys.count < 1 || keys.number < 0 || keys.number >= keys.count) {
    return Error::invalid_file(
        fmt::format("{}: 'split.no' is {} and 'split.count' {}: no such part can exist", metadata.source(),
                    keys.number, keys.count));
  }
  return keys;
}

struct Part {
  std::shared_ptr<MappedFile> file;
  GgufFile gguf;
  SplitKeys keys;
};

Result<Part> read_part(std::shared_ptr<MappedFile> file) {
  Part part;
  part.file = std::move(file);
  MLA_ASSIGN(part.gguf, read_gguf_file(*part.file));
  MLA_ASSIGN(part.keys, read_split_keys(part.gguf.metadata));
  return part;
}

/// Checks that part `number` (from 1), found by its name, is that part of the split that `name` and `count`
/// describe.
Status check_part(const Part& part, const PartName& name, int64_t number) {
  if (part.keys.number == number - 1 && part.keys.count == name.count) return {};
  return Error::invalid_file(
      fmt::format("{}: its name says part {} of {}, but its metadata part {} of {}: was it renamed, "
                  "or do the parts come from different models?",
                  part.file->path().string(), number, name.count, part.keys.number + 1, part.keys.count));
}

/// Checks what parts of one model have in common.
Status check_same_model(const Part& first, const Part& part) {
  const auto differs = [&](const char* what) {
    return Error::invalid_file(fmt::format("{} and {} have different {}: they are parts of different models",
                                           first.file->path().string(), part.file->path().string(), what));
  };
  if (first.keys.tensors != part.keys.tensors) return differs("'split.tensors.count'");
  for (const char* key : {"general.architecture", "general.name"}) {
    const MetadataValue* a = first.gguf.metadata.find(key);
    const MetadataValue* b = part.gguf.metadata.find(key);
    if (a != nullptr && b != nullptr && *a != *b) return differs(key);
  }
  return {};
}

/// Reads the parts that `given` belongs to, in order; the first only for a vocabulary.
Result<std::vector<Part>> read_parts(std::shared_ptr<MappedFile> given, bool vocabulary_only) {
  std::vector<Part> parts;
  MLA_ASSIGN(Part part, read_part(given));
  if (part.keys.count == 1) {
    parts.push_back(std::move(part));
    return parts;
  }
  const std::optional<PartName> name = parse_part_name(given->path());
  if (!name.has_value()) {
    return Error::invalid_file(
        fmt::format("{} is part {} of {}, so its name must end in '-{:05}-of-{:05}.gguf', with the "
                    "other parts beside it",
                    given->path().string(), part.keys.number + 1, part.keys.count, part.keys.number + 1,
                    part.keys.count));
  }
  MLA_TRY(check_part(part, *name, name->number));
  const int64_t last = vocabulary_only ? 1 : name->count;
  for (int64_t number = 1; number <= last; ++number) {
    if (number == name->number) {
      parts.push_back(std::move(part));
    } else {
      auto file = MappedFile::open(name->path(number));
      if (!file.ok()) return file.error().in(fmt::format("part {} of {} parts", number, name->count));
      MLA_ASSIGN(Part other, read_part(std::move(file).value()));
      MLA_TRY(check_part(other, *name, number));
      parts.push_back(std::move(other));
    }
    MLA_TRY(check_same_model(parts.front(), parts.back()));
  }
  return parts;
}

}  // namespace

Result<std::shared_ptr<Checkpoint>> open_gguf(std::shared_ptr<MappedFile> file, bool vocabulary_only) {
  const std::string path = file->path().string();
  MLA_ASSIGN(std::vector<Part> parts, read_parts(std::move(file), vocabulary_only));
  CheckpointBuilder builder(CheckpointFormat::kGguf);
  for (Part& part : parts) MLA_TRY(builder.add_file(part.file, std::move(part.gguf.tensors)));
  std::shared_ptr<Checkpoint> checkpoint = builder.finish();
  checkpoint->metadata = std::move(parts.front().gguf.metadata);
  if (vocabulary_only) return checkpoint;

  const SplitKeys& keys = parts.front().keys;
  const auto n_tensors = static_cast<int64_t>(checkpoint->tensors.size());
  if (keys.count > 1 && keys.tensors >= 0 && keys.tensors != n_tensors) {
    return Error::invalid_file(
        fmt::format("{}: its {} parts hold {} tensors, but 'split.tensors.count' is {}", path, keys.count,
                    n_tensors, keys.tensors));
  }
  if (n_tensors == 0) {
    return Error::invalid_file(path + ": holds no tensors: it is a vocabulary, not a model");
  }
  return checkpoint;
}

}  // namespace mla
