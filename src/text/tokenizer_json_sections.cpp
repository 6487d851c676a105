#include <fmt/format.h>

#include <algorithm>

#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace mla::tokenizer_json {
namespace {

constexpr int kMaxDepth = 8;         // of sections inside sections
constexpr size_t kMaxSteps = 64;     // of a normalizer or a pre-tokenizer: each is a pass over the text
constexpr size_t kMaxGrowth = 1024;  // times that normalizing may make a text longer

Error unsupported(const char* section, const std::string& type) {
  return Error::invalid_file(fmt::format("{} of type \"{}\" is not supported", section, type));
}

/// {"String": s} or {"Regex": s}.
Result<Regex> read_pattern(const Json& owner) {
  const Json* pattern = member(owner, "pattern");
  if (pattern == nullptr) return Error::invalid_file("a pattern is missing");
  MLA_ASSIGN(const std::string text, string_member(*pattern, "String", ""));
  if (!text.empty()) return Regex::compile_literal(text);
  MLA_ASSIGN(const std::string regex, string_member(*pattern, "Regex", ""));
  if (regex.empty())
    return Error::invalid_file("a pattern is neither {\"String\": ...} nor {\"Regex\": ...}");
  return Regex::compile(regex);
}

/// The members of a Sequence section; `name` differs between kinds of sections.
Result<const Json*> sequence_members(const Json& section, const char* name) {
  const Json* members = member(section, name);
  if (members == nullptr || !members->is_array()) {
    return Error::invalid_file(fmt::format("a Sequence has no array \"{}\"", name));
  }
  return members;
}

std::optional<UnicodeForm> unicode_form(std::string_view type) {
  if (type == "NFC") return UnicodeForm::kNfc;
  if (type == "NFD") return UnicodeForm::kNfd;
  if (type == "NFKC") return UnicodeForm::kNfkc;
  if (type == "NFKD") return UnicodeForm::kNfkd;
  return std::nullopt;
}

/// A bound on how many times longer a rule makes a text. Ten that replace "a" by "aa" make it a thousand
/// times as long, and sixty would fill any memory.
size_t growth(const NormalizerRule& rule) {
  struct Bound {
    size_t operator()(const PrependRule& r) const { return r.text.size() + 1; }
    size_t operator()(const ReplaceRule& r) const {
      return r.text.size() + 1;
    }  // it may match nothing, at every byte
    size_t operator()(const ReplaceTextRule& r) const {
      return r.from.empty() ? 1 : (std::max(r.to.size(), r.from.size()) + r.from.size() - 1) / r.from.size();
    }
    size_t operator()(const UnicodeRule& r) const {
      return r.form == UnicodeForm::kNfc || r.form == UnicodeForm::kNfd ? 3 : 11;
    }
    size_t operator()(const LowercaseRule&) const { return 2; }
    size_t operator()(const CollapseSpacesRule&) const { return 1; }
    size_t operator()(const StripAccentsRule&) const { return 1; }
    size_t operator()(const StripRule&) const { return 1; }
  };
  return std::visit(Bound{}, rule);
}

Status check_growth(const std::vector<NormalizerRule>& rules) {
  if (rules.size() > kMaxSteps) {
    return Error::invalid_file(
        fmt::format("there are {} normalizers, expected at most {}", rules.size(), kMaxSteps));
  }
  size_t times = 1;
  for (const NormalizerRule& rule : rules) {
    const size_t more = growth(rule);
    if (more > kMaxGrowth / times) {
      return Error::invalid_file(
          fmt::format("the normalizers can make a text more than {} times as long", kMaxGrowth));
    }
    times *= more;
  }
  return {};
}

Status append_normalizer(const Json& normalizer, int depth, std::vector<NormalizerRule>& rules) {
  if (depth > kMaxDepth) return Error::invalid_file("normalizers are nested too deeply");
  MLA_ASSIGN(const std::string type, string_member(normalizer, "type", ""));
  if (type == "Sequence") {
    MLA_ASSIGN(const Json* members, sequence_members(normalizer, "normalizers"));
    for (const Json& inner : *members) MLA_TRY(append_normalizer(inner, depth + 1, rules));
  } else if (type == "Prepend") {
    MLA_ASSIGN(std::string text, string_member(normalizer, "prepend", ""));
    rules.emplace_back(PrependRule{std::move(text)});
  } else if (type == "Replace") {
    MLA_ASSIGN(Regex regex, read_pattern(normalizer));
    MLA_ASSIGN(std::string text, string_member(normalizer, "content", ""));
    MLA_ASSIGN(std::string literal, string_member(*member(normalizer, "pattern"), "String", ""));
    if (literal.empty()) {
      rules.emplace_back(ReplaceRule{std::move(regex), std::move(text)});
    } else {
      rules.emplace_back(ReplaceTextRule{std::move(literal), std::move(text)});
    }
  } else if (const auto form = unicode_form(type)) {
    rules.emplace_back(UnicodeRule{*form});
  } else if (type == "Lowercase") {
    rules.emplace_back(LowercaseRule{});
  } else if (type == "StripAccents") {
    rules.emplace_back(StripAccentsRule{});
  } else if (type == "Strip") {
    MLA_ASSIGN(const bool left, bool_member(normalizer, "strip_left", true));
    MLA_ASSIGN(const bool right, bool_member(normalizer, "strip_right", true));
    rules.emplace_back(StripRule{left, right});
  } else {
    return unsupported("normalizer", type);
  }
  return {};
}

Result<SplitBehavior> read_behavior(const Json& owner) {
  MLA_ASSIGN(const std::string name, string_member(owner, "behavior", "Isolated"));
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return Error::invalid_file(fmt::format("split behaviour \"{}\" is not known", name));
}

Status append_split(std::vector<PreTokenizerStep>& steps, std::string_view pattern, SplitBehavior behavior,
                    bool invert = false) {
  MLA_ASSIGN(Regex regex, Regex::compile(pattern));
  steps.emplace_back(SplitStep{std::move(regex), behavior, invert});
  return {};
}

Result<MetaspaceStep> read_metaspace(const Json& section) {
  MetaspaceStep step;
  MLA_ASSIGN(step.replacement, string_member(section, "replacement", std::string(kMetaspace)));
  if (step.replacement != kMetaspace) {
    return Error::invalid_file(fmt::format("Metaspace with \"{}\", expected U+2581", step.replacement));
  }
  MLA_ASSIGN(const bool prefix, bool_member(section, "add_prefix_space", true));
  MLA_ASSIGN(const std::string scheme, string_member(section, "prepend_scheme", prefix ? "always" : "never"));
  step.prepend = scheme == "first"   ? PrependScheme::kFirst
                 : scheme == "never" ? PrependScheme::kNever
                                     : PrependScheme::kAlways;
  MLA_ASSIGN(step.split, bool_member(section, "split", true));
  return step;
}

/// The steps of a pre-tokenizer and, behind them, the spelling of bytes that ByteLevel does: needed only if
/// steps follow it.
class PreTokenizerReader {
 public:
  Status append(const Json& section, int depth = 0) {
    if (depth > kMaxDepth) return Error::invalid_file("pre-tokenizers are nested too deeply");
    MLA_ASSIGN(const std::string type, string_member(section, "type", ""));
    if (type == "Sequence") {
      MLA_ASSIGN(const Json* members, sequence_members(section, "pretokenizers"));
      for (const Json& inner : *members) MLA_TRY(append(inner, depth + 1));
      return {};
    }
    if (steps_.size() >= kMaxSteps) {
      return Error::invalid_file(fmt::format("there are more than {} pre-tokenizers", kMaxSteps));
    }
    if (spelling_pending_) steps_.emplace_back(ByteSpellingStep{});
    spelling_pending_ = false;
    return append_one(type, section);
  }

  PreTokenizerSection finish() && {
    const bool empty = steps_.empty() && !byte_level_;
    return {PreTokenizer(std::move(steps_)), byte_level_, empty};
  }

 private:
  Status append_one(const std::string& type, const Json& section) {
    if (type == "Split") {
      MLA_ASSIGN(Regex regex, read_pattern(section));
      MLA_ASSIGN(const SplitBehavior behavior, read_behavior(section));
      MLA_ASSIGN(const bool invert, bool_member(section, "invert", false));
      steps_.emplace_back(SplitStep{std::move(regex), behavior, invert});
      return {};
    }
    if (type == "ByteLevel") return append_byte_level(section);
    if (type == "Digits") {
      MLA_ASSIGN(const bool individual, bool_member(section, "individual_digits", false));
      return append_split(steps_, R"(\p{N})",
                          individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
    }
    if (type == "Punctuation") {
      MLA_ASSIGN(const SplitBehavior behavior, read_behavior(section));
      return append_split(steps_, R"([\p{P}!-/:-@\[-`{-~])", behavior);
    }
    if (type == "Metaspace") {
      MLA_ASSIGN(MetaspaceStep step, read_metaspace(section));
      steps_.emplace_back(std::move(step));
      return {};
    }
    if (type == "WhitespaceSplit") return append_split(steps_, R"(\s)", SplitBehavior::kRemoved);
    if (type == "Whitespace") return append_split(steps_, R"(\w+|[^\w\s]+)", SplitBehavior::kRemoved, true);
    return unsupported("pre-tokenizer", type);
  }

  Status append_byte_level(const Json& section) {
    MLA_ASSIGN(const bool prefix, bool_member(section, "add_prefix_space", true));
    MLA_ASSIGN(const bool use_regex, bool_member(section, "use_regex", true));
    if (prefix) steps_.emplace_back(PrefixSpaceStep{});
    if (use_regex) MLA_TRY(append_split(steps_, gpt2_pattern(), SplitBehavior::kIsolated));
    byte_level_ = true;
    spelling_pending_ = true;
    return {};
  }

  std::vector<PreTokenizerStep> steps_;
  bool byte_level_ = false;
  bool spelling_pending_ = false;
};

Status apply_decoder(const Json& decoder, int depth, DecoderSection& out) {
  if (depth > kMaxDepth) return Error::invalid_file("decoders are nested too deeply");
  MLA_ASSIGN(const std::string type, string_member(decoder, "type", ""));
  if (type == "Sequence") {
    MLA_ASSIGN(const Json* members, sequence_members(decoder, "decoders"));
    for (const Json& inner : *members) MLA_TRY(apply_decoder(inner, depth + 1, out));
  } else if (type == "ByteLevel") {
    out.spelling = Spelling::kByteLevel;
  } else if (type == "Metaspace") {
    MLA_ASSIGN(const MetaspaceStep step, read_metaspace(decoder));
    out.spelling = Spelling::kMetaspace;
    out.strip_leading_space = step.prepend != PrependScheme::kNever;
  } else if (type == "Replace") {
    const Json* pattern = member(decoder, "pattern");
    MLA_ASSIGN(const std::string from, string_member(pattern == nullptr ? decoder : *pattern, "String", ""));
    MLA_ASSIGN(const std::string to, string_member(decoder, "content", ""));
    if (from != kMetaspace || to != " ")
      return Error::invalid_file("only a decoder that replaces U+2581 by a space is supported");
    out.spelling = Spelling::kMetaspace;
  } else if (type == "Strip") {
    MLA_ASSIGN(const std::string content, string_member(decoder, "content", " "));
    const Json* start = member(decoder, "start");
    out.strip_leading_space = content == " " && start != nullptr && start->is_number_integer() && *start == 1;
  } else if (type != "ByteFallback" && type != "Fuse") {
    return unsupported("decoder", type);
  }
  return {};
}

}  // namespace

const Json* member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

Result<std::string> string_member(const Json& object, const char* name, std::string fallback) {
  const Json* found = member(object, name);
  if (found == nullptr) return fallback;
  if (!found->is_string()) {
    return Error::invalid_file(
        fmt::format("\"{}\" is of type {}, expected a string", name, found->type_name()));
  }
  return found->get<std::string>();
}

Result<bool> bool_member(const Json& object, const char* name, bool fallback) {
  const Json* found = member(object, name);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) {
    return Error::invalid_file(
        fmt::format("\"{}\" is of type {}, expected true or false", name, found->type_name()));
  }
  return found->get<bool>();
}

Result<Normalizer> read_normalizer(const Json& normalizer) {
  std::vector<NormalizerRule> rules;
  MLA_TRY(append_normalizer(normalizer, 0, rules));
  MLA_TRY(check_growth(rules));
  return Normalizer(std::move(rules));
}

Result<PreTokenizerSection> read_pre_tokenizer(const Json& pre_tokenizer) {
  PreTokenizerReader reader;
  MLA_TRY(reader.append(pre_tokenizer));
  return std::move(reader).finish();
}

Result<DecoderSection> read_decoder(const Json& decoder) {
  DecoderSection out;
  MLA_TRY(apply_decoder(decoder, 0, out));
  return out;
}

TemplateSection read_post_processor(const Json& post_processor) {
  TemplateSection out;
  if (const Json* inner = member(post_processor, "processors"); inner != nullptr && inner->is_array()) {
    for (const Json& processor : *inner) {
      TemplateSection found = read_post_processor(processor);
      if (!found.first.empty()) out.first = std::move(found.first);
      if (!found.last.empty()) out.last = std::move(found.last);
    }
    return out;
  }
  const Json* single = member(post_processor, "single");
  if (single == nullptr || !single->is_array() || single->empty()) return out;
  const auto special = [](const Json& piece) -> std::string {
    const Json* token = member(piece, "SpecialToken");
    const Json* id = token == nullptr ? nullptr : member(*token, "id");
    return id != nullptr && id->is_string() ? id->get<std::string>() : std::string();
  };
  out.first = special(single->front());
  if (single->size() > 1) out.last = special(single->back());
  return out;
}

}  // namespace mla::tokenizer_json
