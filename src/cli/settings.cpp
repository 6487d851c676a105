#include "cli/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace mla::cli {
namespace {

namespace fs = std::filesystem;

/// Where the settings came from that are no flags: by name.
std::map<std::string, std::string>& origins() {
  static std::map<std::string, std::string> map;
  return map;
}

/// Whether a stronger source has spoken. A switch that one turned off leaves no trace in the option itself.
bool is_set(const CLI::Option& option) { return option.count() > 0 || origins().count(option.get_lnames()[0]) > 0; }

bool is_switch(const CLI::Option& option) { return option.get_expected_max() == 0; }

/// Options a person may set: those with a long name, --help and its like excluded.
std::vector<CLI::Option*> settable_options(const CLI::App& app) {
  std::vector<CLI::Option*> options;
  for (CLI::Option* option : const_cast<CLI::App&>(app).get_options()) {
    const std::vector<std::string>& names = option->get_lnames();
    if (names.empty() || names[0] == "help" || names[0] == "print-config") continue;
    options.push_back(option);
  }
  return options;
}

/// The known word nearest to `word` (Levenshtein), or empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j <= candidate.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

std::string variable_name(const std::string& option) {
  std::string name = "MLA_";
  for (char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

Status set_option(CLI::Option& option, const std::vector<std::string>& values, const std::string& origin) {
  try {
    // A flag takes "true" or "false" as a word; an option takes its values.
    if (is_switch(option)) {
      const std::string value = values.empty() ? "true" : values[0];
      const bool off = value == "false" || value == "0" || value == "off" || value == "no";
      if (!off && value != "true" && value != "1" && value != "on" && value != "yes") {
        return Error::usage(fmt::format("{}: {} = '{}': expected true or false", origin, option.get_lnames()[0], value));
      }
      if (!off) option.add_result(std::string("true"));
    } else {
      for (const std::string& value : values) option.add_result(value);
    }
    if (option.count() > 0) option.run_callback();
  } catch (const CLI::ParseError& e) {
    return Error::usage(fmt::format("{}: {}", origin, e.what()));
  }
  origins()[option.get_lnames()[0]] = origin;
  return {};
}

Status apply_environment(CLI::App& app) {
  for (CLI::Option* option : settable_options(app)) {
    const std::string variable = variable_name(option->get_lnames()[0]);
    const char* value = std::getenv(variable.c_str());
    if (is_set(*option) || value == nullptr || *value == '\0') continue;
    MLA_TRY(set_option(*option, {value}, variable));
  }
  return {};
}

Result<std::vector<CLI::ConfigItem>> read_config_file(const fs::path& path) {
  try {
    return CLI::ConfigTOML().from_file(path.string());
  } catch (const CLI::Error& e) {
    return Error::usage(fmt::format("{}: cannot be read as a configuration file: {}", path.string(), e.what()));
  }
}

/// The subcommand's option of that name; null when it has none.
CLI::Option* find_setting(const CLI::App& app, const std::string& name) {
  const std::vector<CLI::Option*> options = settable_options(app);
  const auto found = std::find_if(options.begin(), options.end(), [&](CLI::Option* o) { return o->get_lnames()[0] == name; });
  return found == options.end() ? nullptr : *found;
}

/// The names below the command itself: {"bench", "attention"}.
std::vector<std::string> path_of(const CLI::App& app) {
  std::vector<std::string> path;
  for (const CLI::App* a = &app; a->get_parent() != nullptr; a = a->get_parent()) path.insert(path.begin(), a->get_name());
  return path;
}

/// Every subcommand of the command that `app` belongs to, those of subcommands too.
std::vector<const CLI::App*> all_subcommands(const CLI::App& app) {
  const CLI::App* root = &app;
  while (root->get_parent() != nullptr) root = root->get_parent();
  const auto any = [](const CLI::App*) { return true; };
  std::vector<const CLI::App*> list = root->get_subcommands(any);
  for (size_t i = 0; i < list.size(); ++i) {
    const std::vector<const CLI::App*> below = list[i]->get_subcommands(any);
    list.insert(list.end(), below.begin(), below.end());
  }
  return list;
}

/// A key that no subcommand could use, or a section that is none, is a typing mistake: nobody would notice otherwise.
Status check_key(const CLI::App& app, const CLI::ConfigItem& item, const std::string& file) {
  std::vector<std::string> sections, keys;
  for (const CLI::App* sub : all_subcommands(app)) {
    const std::vector<std::string> path = path_of(*sub);
    sections.push_back(fmt::format("{}", fmt::join(path, ".")));
    if (!item.parents.empty() && item.parents != path) continue;
    for (const CLI::Option* option : settable_options(*sub)) keys.push_back(option->get_lnames()[0]);
  }
  if (keys.empty()) {
    const std::string section = fmt::format("{}", fmt::join(item.parents, "."));
    return Error::usage(fmt::format("{}: there is no subcommand for section [{}]{}", file, section, did_you_mean(section, sections)));
  }
  if (std::find(keys.begin(), keys.end(), item.name) != keys.end()) return {};
  const std::string where = item.parents.empty() ? "no subcommand" : fmt::format("[{}]", fmt::join(item.parents, "."));
  return Error::usage(fmt::format("{}: {} has {} setting '{}'{}", file, where, item.parents.empty() ? "a" : "no", item.name,
                                  did_you_mean(item.name, keys)));
}

Status apply_file(CLI::App& app, const fs::path& path) {
  std::error_code ignored;
  if (path.empty() || !fs::is_regular_file(path, ignored)) return {};
  MLA_ASSIGN(std::vector<CLI::ConfigItem> items, read_config_file(path));
  // The subcommand's own section first: it is the more specific.
  std::stable_sort(items.begin(), items.end(), [](const CLI::ConfigItem& a, const CLI::ConfigItem& b) {
    return a.parents.size() > b.parents.size();
  });
  for (const CLI::ConfigItem& item : items) {
    if (item.name == "++" || item.name == "--") continue;  // CLI11's marks for where a section begins and ends
    MLA_TRY(check_key(app, item, path.string()));
    if (!item.parents.empty() && item.parents != path_of(app)) continue;
    CLI::Option* option = find_setting(app, item.name);
    if (option != nullptr && !is_set(*option)) MLA_TRY(set_option(*option, item.inputs, path.string()));
  }
  return {};
}

/// The file that --config names; unlike the others it must be there.
Status apply_named_file(CLI::App& app) {
  const CLI::Option* option = find_setting(app, "config");
  if (option == nullptr || option->count() == 0) return {};
  const fs::path path = option->results().back();
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return Error::usage(fmt::format("--config {}: no such file", path.string()));
  return apply_file(app, path);
}

fs::path user_config_file() {
  const char* xdg = std::getenv("XDG_CONFIG_HOME");
  if (xdg != nullptr && *xdg != '\0') return fs::path(xdg) / "mla" / "config.toml";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') return fs::path(home) / ".config" / "mla" / "config.toml";
  return {};
}

}  // namespace

Status apply_settings(CLI::App& app) {
  MLA_TRY(apply_environment(app));
  MLA_TRY(apply_named_file(app));
  MLA_TRY(apply_file(app, "mla.toml"));
  return apply_file(app, user_config_file());
}

std::vector<Setting> list_settings(const CLI::App& app) {
  std::vector<Setting> settings;
  for (const CLI::Option* option : settable_options(app)) {
    Setting setting{option->get_lnames()[0], is_switch(*option) ? "false" : option->get_default_str(), "default"};
    if (option->count() > 0) setting.value = fmt::format("{}", fmt::join(option->results(), ","));
    const auto origin = origins().find(setting.name);
    if (is_set(*option)) setting.origin = origin == origins().end() ? "flag" : origin->second;
    settings.push_back(std::move(setting));
  }
  return settings;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  const std::string guess = nearest(word, known);
  return guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess);
}

}  // namespace mla::cli
