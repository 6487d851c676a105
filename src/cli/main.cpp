#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/command.h"
#include "cli/settings.h"
#include "cli/terminal.h"

namespace mla::cli {

namespace {

/// Help with the examples right below the summary instead of at the end.
class ExamplesFirst : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override {
    const std::string examples = app->get_footer();
    return CLI::Formatter::make_description(app) + (examples.empty() ? "" : "\n" + examples + "\n\n");
  }
  std::string make_footer(const CLI::App*) const override { return "\nMore: docs/cli.md in the source tree\n"; }
};

/// What CLI11 answers to --help and --version, with one empty line between paragraphs.
std::string success_text(const CLI::App& root, const CLI::Success& e) {
  std::ostringstream out;
  root.exit(e, out, out);
  std::string text = out.str();
  for (size_t at; (at = text.find("\n\n\n")) != std::string::npos;) text.erase(at, 1);
  return text;
}

/// Output options, the same for every subcommand.
void add_output_options(CLI::App& app) {
  TerminalOptions& o = terminal_options();
  app.add_flag("--quiet", o.quiet, "Print errors only on standard error")->group("Output");
  app.add_flag("--plain", o.plain, "No colour and no animation")->group("Output");
  app.add_flag("--no-color", o.no_color, "No colour (also: NO_COLOR)")->group("Output");
  app.add_option("--config", o.config, "Settings file, read before ./mla.toml")->check(not_empty())->type_name("FILE")->group("Output");
  app.add_flag_function("--print-config", [](int64_t) {}, "Print every setting with its value and origin, then stop")->group("Output");
}

Status print_config(const CLI::App& app) {
  const std::vector<Setting> settings = list_settings(app);
  if (terminal_options().json) {
    Json list = Json::array();
    for (const Setting& s : settings) list.push_back({{"name", s.name}, {"value", s.value}, {"origin", s.origin}});
    return write_json({{"settings", list}});
  }
  std::string text;
  for (const Setting& s : settings) text += fmt::format("{:<22} {:<28} {}\n", s.name, s.value, s.origin);
  return write_stdout(text);
}

/// The message for a word that `app` has no use for.
std::string unexpected_word(const CLI::App& app, const std::string& word) {
  if (word.size() > 1 && word[0] == '-') {
    std::vector<std::string> flags;
    for (const CLI::Option* o : app.get_options()) {
      for (const std::string& name : o->get_lnames()) flags.push_back("--" + name);
    }
    const std::string flag = word.substr(0, word.find('='));
    const std::string guess = did_you_mean(flag, flags);
    return fmt::format("unknown flag '{}'{}", flag, guess.empty() ? "; text that begins with - goes after --" : guess);
  }
  if (app.get_parent() != nullptr) return fmt::format("unexpected argument '{}'; put text of several words in quotes", word);
  std::vector<std::string> known;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) known.push_back(sub->get_name());
  return fmt::format("unknown subcommand '{}'{} (known: {})", word, did_you_mean(word, known), fmt::join(known, ", "));
}

/// What is wrong with the command line. A word nobody knows comes first: a mistyped flag also leaves its value behind as
/// an argument, and the flag that was meant as missing.
Error usage_error(const CLI::App& root, const CLI::ParseError& e) {
  const std::vector<CLI::App*> chosen = root.get_subcommands();
  const CLI::App& app = chosen.empty() ? root : *chosen.front();
  const std::string where = app.get_parent() == nullptr ? "mla" : "mla " + app.get_name();
  std::vector<std::string> extra = app.remaining();
  if (!chosen.empty()) {
    std::stable_partition(extra.begin(), extra.end(), [](const std::string& word) { return word.size() > 1 && word[0] == '-'; });
  }
  std::string message = e.what();
  if (!extra.empty()) message = unexpected_word(app, extra.front());
  if (extra.empty() && chosen.empty()) message = "no subcommand given; `mla run` starts a conversation";
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
              "  mla kv deepseek-v3 --context 131072");
  std::vector<Command> commands = {add_run(root),   add_serve(root), add_tokenize(root), add_logits(root), add_perplexity(root), add_inspect(root),
                                   add_kv(root),    add_bench(root), add_synth(root),    add_cache(root),  add_doctor(root),     add_version(root)};
  for (Command& command : commands) add_output_options(*command.app);
  // --json must hold for errors of the parser too.
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    terminal_options().json |= std::string_view(argv[i]) == "--json";
  }
  install_signal_handlers();
  Status status;
  try {
    root.parse(argc, argv);
    status = dispatch(commands);
  } catch (const CLI::Success& e) {  // --help, --version
    status = write_stdout(success_text(root, e));
  } catch (const CLI::ParseError& e) {
    status = usage_error(root, e);
  }
  if (status.ok()) return interrupted() ? 130 : 0;
  report_error(status.error());
  return exit_code(status.error().kind);
}

}  // namespace

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
