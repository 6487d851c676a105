#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace mla::cli {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailure: return 1;
    case ErrorKind::kUsage: return 2;
    case ErrorKind::kInvalidFile: return 3;
    case ErrorKind::kResource: return 4;
    case ErrorKind::kCancelled: return 130;
  }
  return 1;
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kFailure: return "failure";
    case ErrorKind::kUsage: return "usage";
    case ErrorKind::kInvalidFile: return "invalid_file";
    case ErrorKind::kResource: return "resource";
    case ErrorKind::kCancelled: return "cancelled";
  }
  return "failure";
}

namespace {

/// Help with the examples right below the summary instead of at the end.
class ExamplesFirst : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override {
    const std::string examples = app->get_footer();
    return CLI::Formatter::make_description(app) + (examples.empty() ? "" : "\n" + examples + "\n");
  }
  std::string make_footer(const CLI::App*) const override { return "\n"; }
};

/// Output options, the same for every subcommand.
void add_output_options(CLI::App& app) {
  TerminalOptions& o = terminal_options();
  app.add_flag("--quiet", o.quiet, "Print errors only on standard error")->group("Output");
  app.add_flag("--plain", o.plain, "No colour and no animation")->group("Output");
  app.add_flag("--no-color", o.no_color, "No colour (also: NO_COLOR)")->group("Output");
  app.add_flag_function("--print-config", [](int64_t) {}, "Print every setting with its value and origin, then stop")->group("Output");
}

Status print_config(const CLI::App& app) {
  const std::vector<Setting> settings = list_settings(app);
  if (terminal_options().json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Setting& s : settings) list.push_back({{"name", s.name}, {"value", s.value}, {"origin", s.origin}});
    return write_stdout(nlohmann::json{{"settings", list}}.dump(2) + "\n");
  }
  std::string text;
  for (const Setting& s : settings) text += fmt::format("{:<22} {:<28} {}\n", s.name, s.value, s.origin);
  return write_stdout(text);
}

/// CLI11's message, with a suggestion when a word is near to a known flag or subcommand.
Error usage_error(const CLI::App& root, const CLI::ParseError& e, int argc, char** argv) {
  std::string message = e.what();
  std::vector<std::string> known;
  for (const CLI::App* sub : root.get_subcommands([](const CLI::App*) { return true; })) known.push_back(sub->get_name());
  const CLI::App* chosen = nullptr;
  if (argc > 1 && std::find(known.begin(), known.end(), argv[1]) != known.end()) chosen = root.get_subcommand(argv[1]);
  if (chosen == nullptr && argc > 1 && argv[1][0] != '-') {
    const std::string guess = nearest(argv[1], known);
    return Error::usage(fmt::format("unknown subcommand '{}'{} (known: {})", argv[1],
                                    guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess), fmt::join(known, ", ")));
  }
  if (chosen != nullptr && dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr) {
    std::vector<std::string> flags;
    for (const CLI::Option* o : chosen->get_options()) {
      for (const std::string& name : o->get_lnames()) flags.push_back("--" + name);
    }
    for (int i = 2; i < argc; ++i) {
      const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
      if (word.size() < 2 || word[0] != '-' || std::find(flags.begin(), flags.end(), word) != flags.end()) continue;
      const std::string guess = nearest(word, flags);
      if (word[1] == '-') {
        message = fmt::format("mla {}: unknown flag '{}'{}", chosen->get_name(), word,
                              guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess));
        break;
      }
    }
  }
  const std::string where = chosen != nullptr ? "mla " + chosen->get_name() : "mla";
  return Error::usage(fmt::format("{} (see `{} --help`)", message, where));
}

Status dispatch(std::vector<Command>& commands) {
  for (Command& command : commands) {
    if (!command.app->parsed()) continue;
    MLA_TRY(apply_settings(*command.app));
    if (command.app->count("--print-config") > 0) return print_config(*command.app);
    return command.run();
  }
  return Error::usage("no subcommand given (see `mla --help`)");
}

int main(int argc, char** argv) {
  CLI::App root{"mla: the engine for transformers with Multi-head Latent Attention", "mla"};
  root.formatter(std::make_shared<ExamplesFirst>());
  root.get_formatter()->column_width(34);
  root.require_subcommand(1);
  root.set_version_flag("--version", [] { return std::string("mla ") + MLA_VERSION; });
  root.footer("Examples:\n  mla run \"The American flag is red, white, and\"\n  mla inspect -m model.gguf\n"
              "  mla kv deepseek-v3 --context 131072\nDocumentation: docs/ in the source tree.");
  std::vector<Command> commands = {add_run(root),        add_tokenize(root), add_logits(root), add_perplexity(root),
                                   add_inspect(root),    add_kv(root),       add_doctor(root), add_version(root)};
  for (Command& command : commands) add_output_options(*command.app);
  // --json must hold for errors of the parser too.
  for (int i = 1; i < argc; ++i) terminal_options().json |= std::string_view(argv[i]) == "--json";

  install_interrupt_handler();
  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return root.exit(e);
  } catch (const CLI::ParseError& e) {
    const Error error = usage_error(root, e, argc, argv);
    report_error(error);
    return exit_code(error.kind);
  }
  const Status status = dispatch(commands);
  if (status.ok()) return interrupted() ? 130 : 0;
  report_error(status.error());
  return exit_code(status.error().kind);
}

}  // namespace

CLI::App* add_subcommand(CLI::App& root, const std::string& name, const std::string& summary,
                         const std::vector<std::string>& examples) {
  CLI::App* app = root.add_subcommand(name, summary);
  app->footer(fmt::format("Examples:\n  {}", fmt::join(examples, "\n  ")));
  app->fallthrough(false);
  return app;
}

}  // namespace mla::cli

int main(int argc, char** argv) {
  // Rooms return Errors; what still throws here is memory running out or a fault of ours. Neither may end in abort().
  try {
    return mla::cli::main(argc, argv);
  } catch (const std::bad_alloc&) {
    mla::cli::report_error(mla::Error::resource("out of memory; try a smaller --context or a smaller model"));
    return 4;
  } catch (const std::exception& e) {
    mla::cli::report_error(mla::Error::failure(std::string("internal error: ") + e.what()));
    return 1;
  }
}
