#include "tools/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <utility>

#include "frontend/suggest.h"
#include "ir/error.h"

namespace mambac::tools {
namespace {

/// In the list of commands, each has the first line of its description only.
class Help : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App* command) const override {
    const std::string description = command->get_description();
    return fmt::format("  {:<12}{}\n", command->get_name(), description.substr(0, description.find('\n')));
  }
};

/// The parser would take -1 for 2^64 - 1, and so what is beyond it.
std::string not_unsigned(const std::string& text) {
  uint64_t value = 0;
  const auto [last, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool good = error == std::errc() && last == text.data() + text.size();
  return good ? "" : fmt::format("found {}, expected an integer from 0 to 2^64 - 1", text);
}

/// The parser would only say that a command is missing. Looks at the words in front, one for each level of commands.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return check_command(*command, argc - 1, argv + 1);
    known.push_back(command->get_name());
  }
  const auto is_argument = [](const CLI::Option* option) { return option->get_positional(); };
  if (known.empty() || !app.get_options(is_argument).empty()) return;  // the word is an argument
  throw Failure(fmt::format("there is no command '{}'{}; there are: {}", argv[1], did_you_mean(argv[1], known),
                            fmt::join(known, ", ")), kExitUsage);
}

}  // namespace

Option Option::required() const { return option_->required(), *this; }
Option Option::type_name(const std::string& name) const { return option_->type_name(name), *this; }
Option Option::show_default() const { return option_->capture_default_str(), *this; }

Option Option::repeatable() const {
  option_->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return *this;
}

Option Option::positive() const { return option_->check(CLI::PositiveNumber), *this; }

Option Option::none_or_more() const {
  return check([](const std::string& text) {
    return text.starts_with('-') ? fmt::format("found {}, expected 0 or more", text) : std::string();
  });
}

Option Option::check(std::function<std::string(const std::string&)> complaint) const {
  return option_->check(std::move(complaint)), *this;
}

Option Option::needs(Option other) const { return option_->needs(other.option_), *this; }
Option Option::excludes(Option other) const { return option_->excludes(other.option_), *this; }

Command Command::add_command(const std::string& name, const std::string& description) const {
  return Command(app_->add_subcommand(name, description));
}

void Command::require_command() const { app_->require_subcommand(1); }
bool Command::has_command() const { return !app_->get_subcommands().empty(); }

Option Command::add_option(const std::string& name, std::string& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}

Option Command::add_option(const std::string& name, std::vector<std::string>& values, const std::string& help) const {
  return Option(app_->add_option(name, values, help));
}

Option Command::add_option(const std::string& name, int& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}

Option Command::add_option(const std::string& name, int64_t& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}

Option Command::add_option(const std::string& name, uint64_t& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help)).check(not_unsigned);
}

Option Command::add_option(const std::string& name, double& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}

void Command::add_flag(const std::string& name, bool& value, const std::string& help) const {
  app_->add_flag(name, value, help);
}

Option Command::option(const std::string& name) const { return Option(app_->get_option(name)); }

void Command::callback(std::function<void()> action) const { app_->callback(std::move(action)); }

void miss_argument(const std::string& name) { throw CLI::RequiredError(name); }

CommandLine::CommandLine(const std::string& name, const std::string& description, const std::string& version)
    : app_(std::make_unique<CLI::App>(description, name)) {
  app_->set_version_flag("--version", version);
  app_->require_subcommand(1);
  app_->fallthrough();  // its own options may stand behind a command
  app_->formatter(std::make_shared<Help>());
  app_->failure_message([name](const CLI::App*, const CLI::Error& error) {
    return fmt::format("{0}: {1}\nTry '{0} --help' or '{0} COMMAND --help'.\n", name, error.what());
  });
}

CommandLine::~CommandLine() = default;

void CommandLine::parse(int argc, char** argv, int& exit_code) {
  check_command(*app_, argc, argv);
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app_->exit(error) == 0 ? kExitGood : kExitUsage;
  }
}

}  // namespace mambac::tools
