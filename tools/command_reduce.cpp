#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/interrupt.h"
#include "runtime/progress.h"
#include "runtime/scratch_folder.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/crash.h"
#include "tools/error_identity.h"
#include "tools/graph_edit.h"
#include "tools/reduction.h"

namespace mambac::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDescription =
    R"(Makes the graph of an error smaller while the error stays the same.

  mambac reduce /tmp/mambac-bug-x7Kq2a
  mambac reduce folder --limit 60

DIR is what an internal error leaves behind, or any folder with graph.mb and a command.sh that takes another file in the
place of graph.mb as its argument: the error is that command's exit code and what it says on standard error, but for
names, numbers, quoted text and what stands in brackets. Outputs, ops, attributes, options and passes are left out, and
dimensions made smaller. Each try is a process of its own, which may crash, and is ended after --limit seconds; an error
may also be that a process does not end within them. What was reached is always in DIR/reduced.mb, so Ctrl-C loses
nothing; sh DIR/command.sh reduced.mb shows it.)";

struct Arguments {
  std::string folder;
  double limit = 10;
  bool json = false;
};

std::set<std::string> names_of(const Graph& graph) {
  std::set<std::string> names{graph.name};
  for (const Node& node : graph.nodes()) names.insert(node.name);
  for (const Dim& dim : graph.dims()) names.insert(dim.name);
  for (const Output& output : graph.outputs()) names.insert(output.name);
  return names;
}

/// The command of a folder, run on other graphs.
class FailingCommand {
 public:
  /// `names`: those that may occur in messages.
  FailingCommand(const fs::path& folder, double limit, std::set<std::string> names)
      : folder_(fs::absolute(folder)), limit_(limit), names_(std::move(names)) {
    const std::string text = read_file(folder_ / "command.sh");
    if (text.find("$1") == std::string::npos && text.find("${1") == std::string::npos)
      throw InputError(
          fmt::format("{}: found a command that takes no graph as its argument, so no smaller one can be tried",
                      (folder / "command.sh").string()));
  }

  /// Of error_identity. InputError when the command cannot be run.
  std::string error_of(const GraphText& test) {
    ++runs_;
    const fs::path file = scratch_.path() / "graph.mb";
    std::ofstream(file, std::ios::binary) << case_text(test);
    const ChildEnd end = run_child({"sh", (folder_ / "command.sh").string(), file.string()},
                                   {{"MAMBAC", fs::read_symlink("/proc/self/exe").string()},
                                    {"TMPDIR", scratch_.path().string()},
                                    {kKnownBug, "1"}},
                                   limit_);
    constexpr int kNotExecutable = 126, kNotThere = 127;  // of a shell
    if (!end.timed_out && (end.code == kNotExecutable || end.code == kNotThere))
      throw InputError(fmt::format("{}: found a command that cannot be run: {}", (folder_ / "command.sh").string(),
                                   end.error.substr(0, end.error.find('\n'))));
    return error_identity(end, names_);
  }

  int64_t runs() const { return runs_; }

 private:
  const fs::path folder_;
  const double limit_;
  const std::set<std::string> names_;
  const ScratchFolder scratch_{"mambac-reduce"};
  int64_t runs_ = 0;
};

struct Result {
  GraphText start, reached;
  std::string error;
  int64_t runs = 0;
  double seconds = 0;
  fs::path file;
  int signal = 0;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void make_smaller(FailingCommand& command, Result& result) {
  const auto start = std::chrono::steady_clock::now();
  Progress progress = Progress::on_stderr();
  const Reduction* running = nullptr;
  Reduction reduction(
      result.start,
      [&](const GraphText& test) {
        const bool same = command.error_of(test) == result.error;
        progress.update(CountReport{command.runs(), command.runs() + running->left(),
                                    fmt::format("attempts, {} ops left", ops_of(running->reached().graph).size()),
                                    seconds_since(start)});
        return same;
      },
      [&](const GraphText& smaller) { write_file(result.file, case_text(smaller)); },
      [] { return InterruptGuard::signal() != 0; });
  running = &reduction;
  reduction.run();
  progress.finish();
  result.reached = reduction.reached();
  result.seconds = seconds_since(start);
}

Result reduce(const Arguments& arguments) {
  const fs::path folder = arguments.folder;
  const InterruptGuard guard;
  Result result;
  result.start = result.reached = read_graph((folder / "graph.mb").string(), false);
  result.file = folder / "reduced.mb";
  FailingCommand command(folder, arguments.limit, names_of(result.start.graph));
  write_file(result.file, case_text(result.start));
  result.error = command.error_of(result.start);
  if (InterruptGuard::signal() == 0) {
    if (result.error.empty())
      throw InputError(
          fmt::format("{}: the command ends well on graph.mb, expected an error to look for", arguments.folder));
    talk("mambac: looking for: " + result.error.substr(0, result.error.size() - 1));
    make_smaller(command, result);
  }
  result.runs = command.runs();
  result.signal = InterruptGuard::signal();
  return result;
}

void report(const Result& result, bool json) {
  const size_t before = ops_of(result.start.graph).size(), after = ops_of(result.reached.graph).size();
  if (json)
    return print_json({{"file", result.file.string()},
                       {"error", result.error},
                       {"ops_before", before},
                       {"ops", after},
                       {"attempts", result.runs},
                       {"seconds", result.seconds},
                       {"interrupted", result.signal != 0}});
  fmt::print("{} of {} ops in {} attempts and {:.1f} s{}\n{}\n", after, before, result.runs, result.seconds,
             result.signal != 0 ? ", interrupted" : "", result.file.string());
}

}  // namespace

void add_reduce(Command app, int& exit_code) {
  const Command command = app.add_command("reduce", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("DIR", arguments->folder, "a folder with graph.mb and command.sh").required().type_name("");
  command.add_option("--limit", arguments->limit, "seconds that a try may take")
      .positive()
      .show_default()
      .type_name("SECONDS");
  add_json(command, arguments->json);
  command.callback([arguments, &exit_code] {
    const Result result = reduce(*arguments);
    report(result, arguments->json);
    if (result.signal != 0) exit_code = 128 + result.signal;
  });
}

}  // namespace mambac::tools
