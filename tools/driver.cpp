#include "tools/driver.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <stdexcept>

#include "ir/error.h"
#include "runtime/cuda/nvtx.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/crash.h"
#include "tools/reproducer.h"
#include "tools/work_notes.h"

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

int fail(const std::string& message, int code) {
  std::fflush(stdout);
  fmt::print(stderr, "mambac: {}\n", message);
  return code;
}

int fail_internally(const std::string& message, const std::vector<std::string>& arguments) {
  report_bug(message, arguments);
  return kExitInternal;
}

/// A profiler that does not take ranges is no reason not to do the work.
void annotate() {
  try {
    cuda::annotate_for_profiler();
  } catch (const EnvironmentError& failure) {
    talk(fmt::format("mambac: warning: the profiler is told nothing: {}", failure.what()));
  }
}

int run_commands(int argc, char** argv) {
  CommandLine line("mambac", kDescription, "mambac " MAMBAC_VERSION);
  line.top().add_flag("--save-repro", keeps_sources(),
                      "of any command: write a folder with what it worked on, as an internal error does");
  int exit_code = kExitGood;
  annotate();
  add_dump(line.top());
  add_opt(line.top());
  add_cost(line.top());
  add_explain(line.top());
  add_report(line.top());
  add_compile(line.top());
  add_run(line.top());
  add_compare(line.top(), exit_code);
  add_train(line.top(), exit_code);
  add_tune(line.top(), exit_code);
  add_eval(line.top());
  add_generate(line.top());
  add_bench(line.top());
  add_doctor(line.top());
  add_cache(line.top());
  add_reduce(line.top(), exit_code);
  add_diff(line.top(), exit_code);
  line.parse(argc, argv, exit_code);
  return exit_code;
}

/// A result that could not be written is no result: a full disk, a closed pipe.
int flushed(int exit_code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  return exit_code == kExitGood ? fail("standard output cannot be written", kExitEnvironment) : exit_code;
}

int run_and_explain(int argc, char** argv, const std::vector<std::string>& arguments) {
  try {
    return flushed(run_commands(argc, argv));
  } catch (const InternalError& failure) {
    return fail_internally(failure.what(), arguments);
  } catch (const Failure& failure) {
    return fail(failure.what(), failure.exit_code());
  } catch (const std::length_error&) {
    return fail("a size is larger than memory can be; a smaller batch or context needs less", kExitEnvironment);
  } catch (const std::bad_alloc&) {
    return fail("there is not enough memory; a smaller batch or context needs less", kExitEnvironment);
  } catch (const std::exception& failure) {
    return fail_internally(failure.what(), arguments);
  }
}

/// What --save-repro asks for where no bug left a folder.
int save(int exit_code, const std::vector<std::string>& arguments) {
  const std::string folder = write_reproducer(fmt::format("no internal error; exit code {}", exit_code), arguments);
  if (folder.empty()) return fail("--save-repro: the folder cannot be written", kExitEnvironment);
  fmt::print(stderr, "mambac: what the command worked on is in\n{}\n", folder);
  return exit_code;
}

}  // namespace

int run(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then like a full disk: writing says so
  const std::vector<std::string> arguments(argv, argv + argc);
  watch_for_crashes(arguments);
  const int exit_code = run_and_explain(argc, argv, arguments);
  return keeps_sources() && exit_code != kExitInternal ? save(exit_code, arguments) : exit_code;
}

}  // namespace mambac::tools
