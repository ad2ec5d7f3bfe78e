#include "tools/driver.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "tools/commands.h"
#include "tools/reproducer.h"

#ifndef MAMBAC_VERSION
#error "MAMBAC_VERSION comes from the build"
#endif

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(mambac compiles selective state-space models and runs them on this machine.

  mambac train mambabyte:small --data train.txt --valid valid.txt --out run --minutes 20
  mambac eval run --data valid.txt
  mambac generate run --prompt "The " --bytes 400
  mambac cost mambabyte:353m --set B=1 L=8192
  mambac dump mambabyte:tiny --graph step

A MODEL is a definition file (my.mb), a shipped model (mambabyte), either with a preset (mambabyte:small), or a
checkpoint folder written by 'mambac train'. Results go to standard output, everything else to standard error.
Exit codes: 0 good, 1 the input is wrong, 2 usage, 3 the machine lacks something, 70 an internal error.)";

/// In the list of commands, each has the first line of its description only.
class Help : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App* command) const override {
    const std::string description = command->get_description();
    return fmt::format("  {:<12}{}\n", command->get_name(), description.substr(0, description.find('\n')));
  }
};

int fail(const std::string& message, int code) {
  std::fflush(stdout);
  fmt::print(stderr, "mambac: {}\n", message);
  return code;
}

/// A bug: keeps what is needed to see it again, and says where.
int fail_internally(const std::string& message, int argc, char** argv) {
  fail("internal error: " + message, kExitInternal);
  const std::string folder = write_reproducer(message, {argv, argv + argc});
  if (!folder.empty()) fmt::print(stderr, "mambac: this is a bug; what led to it is in\n{}\n", folder);
  return kExitInternal;
}

/// The parser would only say that a command is missing. Looks at the words in front, one for each level of commands.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == argv[1]) return check_command(*command, argc - 1, argv + 1);
    known.push_back(command->get_name());
  }
  if (known.empty()) return;  // the word is an argument
  throw Failure(fmt::format("there is no command '{}'{}; there are: {}", argv[1], did_you_mean(argv[1], known),
                            fmt::join(known, ", ")), kExitUsage);
}

int run_commands(int argc, char** argv) {
  CLI::App app(kDescription, "mambac");
  app.set_version_flag("--version", "mambac " MAMBAC_VERSION);
  app.require_subcommand(1);
  app.formatter(std::make_shared<Help>());
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return fmt::format("mambac: {}\nTry 'mambac --help' or 'mambac COMMAND --help'.\n", error.what());
  });
  int exit_code = kExitGood;
  add_dump(app);
  add_cost(app);
  add_compile(app);
  add_run(app);
  add_train(app, exit_code);
  add_eval(app);
  add_generate(app);
  add_bench(app);
  add_doctor(app);
  add_cache(app);
  check_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitGood : kExitUsage;
  }
  return exit_code;
}

/// A result that could not be written is no result: a full disk, a closed pipe.
int flushed(int exit_code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  return exit_code == kExitGood ? fail("standard output cannot be written", kExitEnvironment) : exit_code;
}

}  // namespace

int run(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then like a full disk: writing says so
  try {
    return flushed(run_commands(argc, argv));
  } catch (const InternalError& failure) {
    return fail_internally(failure.what(), argc, argv);
  } catch (const Failure& failure) {
    return fail(failure.what(), failure.exit_code());
  } catch (const std::length_error&) {
    return fail("a size is larger than memory can be; a smaller batch or context needs less", kExitEnvironment);
  } catch (const std::bad_alloc&) {
    return fail("there is not enough memory; a smaller batch or context needs less", kExitEnvironment);
  } catch (const std::exception& failure) {
    return fail_internally(failure.what(), argc, argv);
  }
}

}  // namespace mambac::tools
