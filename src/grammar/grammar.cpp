#include "grammar/grammar.h"

#include <algorithm>

namespace mla {
namespace {

void link_required(JsonGrammar& g) {
  for (const JsonGrammar::Form& form : g.forms) {
    if (form.kind != JsonGrammar::Kind::kObject) continue;
    uint32_t next = form.end - form.begin;
    for (uint32_t i = next; i-- > 0;) {
      JsonGrammar::Property& property = g.properties[form.begin + i];
      if (property.required) next = i;
      property.next_required = next;
    }
  }
}

/// What a container must hold decides how high it is.
int32_t height_of(const JsonGrammar& g, const JsonGrammar::Form& form) {
  using Kind = JsonGrammar::Kind;
  if (form.kind != Kind::kObject && form.kind != Kind::kArray)
    return form.least <= form.most && (form.kind != Kind::kLiteral || form.begin < form.end)
               ? 0
               : JsonGrammar::kNoText;
  int32_t inside = 0;
  if (form.kind == Kind::kObject) {
    for (uint32_t i = form.begin; i < form.end; ++i) {
      if (g.properties[i].required) inside = std::max(inside, g.choices[g.properties[i].choice].height);
    }
  } else {
    const int64_t n_front = form.end - form.begin, n_needed = std::min(form.least, n_front);
    if (form.least > form.most || (form.least > n_front && form.rest == JsonGrammar::kNone))
      return JsonGrammar::kNoText;
    for (int64_t i = 0; i < n_needed; ++i) {
      const uint32_t item = g.items[form.begin + static_cast<uint32_t>(i)];
      inside = std::max(inside, g.choices[item].height);
    }
    if (form.least > n_front) inside = std::max(inside, g.choices[form.rest].height);
  }
  return inside >= JsonGrammar::kMaxLevels ? JsonGrammar::kNoText : inside + 1;
}

}  // namespace

bool finish_grammar(JsonGrammar& g) {
  link_required(g);
  for (JsonGrammar::Form& form : g.forms) form.height = JsonGrammar::kNoText;
  for (JsonGrammar::Choice& choice : g.choices) choice.height = JsonGrammar::kNoText;
  // Heights only fall, and after round i all those up to i are final: the rounds are at most kMaxLevels and
  // one more.
  for (bool changed = true; changed;) {
    changed = false;
    for (JsonGrammar::Form& form : g.forms) form.height = height_of(g, form);
    for (JsonGrammar::Choice& choice : g.choices) {
      int32_t least = JsonGrammar::kNoText;
      for (uint32_t i = choice.begin; i < choice.end; ++i)
        least = std::min(least, g.forms[g.alternatives[i]].height);
      changed = changed || least != choice.height;
      choice.height = least;
    }
  }
  return g.choices[g.root].height < JsonGrammar::kNoText;
}

}  // namespace mla
