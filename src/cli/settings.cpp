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

std::map<std::string, std::string>& origins() {
  static std::map<std::string, std::string> map;
  return map;
}

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

std::string variable_name(const std::string& option) {
  std::string name = "MLA_";
  for (char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

Status set_option(CLI::Option& option, const std::vector<std::string>& values, const std::string& origin) {
  try {
    // A flag takes "true" or "false" as a word; an option takes its values.
    if (option.get_expected_max() == 0) {
      const std::string& value = values.empty() ? "true" : values[0];
      if (value == "false" || value == "0" || value == "off" || value == "no") return {};
      if (value != "true" && value != "1" && value != "on" && value != "yes") {
        return Error::usage(fmt::format("{}: {} = '{}': expected true or false", origin, option.get_lnames()[0], value));
      }
      option.add_result(std::string("true"));
    } else {
      for (const std::string& value : values) option.add_result(value);
    }
    option.run_callback();
  } catch (const CLI::ParseError& e) {
    return Error::usage(fmt::format("{}: {}: {}", origin, option.get_lnames()[0], e.what()));
  }
  origins()[option.get_lnames()[0]] = origin;
  return {};
}

Status apply_environment(CLI::App& app) {
  for (CLI::Option* option : settable_options(app)) {
    const std::string variable = variable_name(option->get_lnames()[0]);
    const char* value = std::getenv(variable.c_str());
    if (option->count() > 0 || value == nullptr || *value == '\0') continue;
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

Status apply_file(CLI::App& app, const fs::path& path) {
  std::error_code ignored;
  if (path.empty() || !fs::is_regular_file(path, ignored)) return {};
  MLA_ASSIGN(std::vector<CLI::ConfigItem> items, read_config_file(path));
  // The subcommand's own section first: it is the more specific.
  std::stable_sort(items.begin(), items.end(), [](const CLI::ConfigItem& a, const CLI::ConfigItem& b) {
    return a.parents.size() > b.parents.size();
  });
  for (const CLI::ConfigItem& item : items) {
    const bool own = item.parents.size() == 1 && item.parents[0] == app.get_name();
    if (item.name == "++" || item.name == "--" || (!item.parents.empty() && !own)) continue;
    CLI::Option* option = app.get_option_no_throw("--" + item.name);
    if (option == nullptr) {
      if (!own) continue;  // another subcommand may have it
      std::vector<std::string> known;
      for (CLI::Option* o : settable_options(app)) known.push_back(o->get_lnames()[0]);
      const std::string guess = nearest(item.name, known);
      return Error::usage(fmt::format("{}: [{}] has no setting '{}'{}", path.string(), app.get_name(), item.name,
                                      guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess)));
    }
    if (option->count() == 0) MLA_TRY(set_option(*option, item.inputs, path.string()));
  }
  return {};
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
  MLA_TRY(apply_file(app, "mla.toml"));
  return apply_file(app, user_config_file());
}

std::vector<Setting> list_settings(const CLI::App& app) {
  std::vector<Setting> settings;
  for (const CLI::Option* option : settable_options(app)) {
    Setting setting{option->get_lnames()[0], "", "default"};
    if (option->count() > 0) {
      const auto origin = origins().find(setting.name);
      setting.origin = origin == origins().end() ? "flag" : origin->second;
      setting.value = fmt::format("{}", fmt::join(option->results(), ","));
    } else {
      setting.value = option->get_default_str();
    }
    settings.push_back(std::move(setting));
  }
  return settings;
}

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

}  // namespace mla::cli
