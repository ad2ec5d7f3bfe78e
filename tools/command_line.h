// The command line as commands declare it: a thin face of CLI11, whose headers take longer to compile than a command
// and are seen by command_line.cpp only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}

namespace mambac::tools {

/// An option or an argument of a command. Its functions return it again.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option required() const;
  /// What help writes for the value; "": nothing.
  Option type_name(const std::string& name) const;
  /// Help shows the value that the variable has now.
  Option show_default() const;
  /// May be given several times, each time with one value.
  Option repeatable() const;
  Option positive() const;
  /// Refuses a number below 0.
  Option none_or_more() const;
  /// `complaint` says what is wrong with a text; "": nothing.
  Option check(std::function<std::string(const std::string&)> complaint) const;
  Option needs(Option other) const;
  Option excludes(Option other) const;

 private:
  CLI::Option* option_;
};

class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command add_command(const std::string& name, const std::string& description) const;
  /// One of its own commands must be given.
  void require_command() const;
  /// Whether one of them was; then its callback runs before that of this command.
  bool has_command() const;

  /// `value` must outlive the parsing. "--name" is an option, "NAME" an argument.
  Option add_option(const std::string& name, std::string& value, const std::string& help) const;
  Option add_option(const std::string& name, std::vector<std::string>& values, const std::string& help) const;
  Option add_option(const std::string& name, int& value, const std::string& help) const;
  Option add_option(const std::string& name, int64_t& value, const std::string& help) const;
  Option add_option(const std::string& name, uint64_t& value, const std::string& help) const;
  Option add_option(const std::string& name, double& value, const std::string& help) const;
  void add_flag(const std::string& name, bool& value, const std::string& help) const;
  /// One that was declared before.
  Option option(const std::string& name) const;

  /// What the command does.
  void callback(std::function<void()> action) const;

 private:
  CLI::App* app_;
};

/// From a command's callback: says that the argument is missing, as if it were required.
[[noreturn]] void miss_argument(const std::string& name);

/// A program of commands.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& description, const std::string& version);
  ~CommandLine();
  Command top() const { return Command(app_.get()); }

  /// Parses, which does what was chosen. Sets the exit code when something was only said: kExitGood after help,
  /// kExitUsage after a mistake.
  void parse(int argc, char** argv, int& exit_code);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace mambac::tools
