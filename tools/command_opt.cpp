#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ir/print.h"
#include "runtime/atomic_file.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/graph_text.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Runs passes on the text of a graph, in any order.

  mambac dump mambabyte:tiny --stage source | mambac opt - --passes simplify
  mambac opt dumps/02-differentiate.mb --passes regroup,clean,fuse --remarks
  mambac opt small.mb --passes precision,fuse --options "dtype=bf16"
  mambac opt --list-passes

The text is what 'mambac dump' prints. Options of the pipeline are those of the line above it, where it has one, then
those of --options. The result has such a line, too.)";

struct Arguments {
  std::string file, passes, options, out;
  bool remarks = false, list = false, json = false;
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> names;
  std::stringstream all(text);
  for (std::string name; std::getline(all, name, ',');) names.push_back(name);
  return names;
}

void print_passes(bool json) {
  Json list = Json::array();
  for (const Stage& stage : pipeline_stages()) {
    list.push_back({{"name", stage.name}, {"reason", stage.reason}});
    if (!json) fmt::print("{:<14}{}\n", stage.name, stage.reason);
  }
  if (json) print_json(list);
}

void run_opt(const Arguments& arguments) {
  if (arguments.list) return print_passes(arguments.json);
  const std::vector<std::string> names = split(arguments.passes);
  if (names.empty()) throw InputError("--passes: found none, expected names with commas between them; see --list-passes");
  const std::vector<const Stage*> stages = stages_named(names);
  const GraphText start = read_graph(arguments.file, false);
  PipelineOptions options = start.point ? start.point->options : PipelineOptions();
  set_options(options, arguments.options);
  const PipelineResult result = run_stages(start.graph, options, stages);
  const std::string text = point_text({names.back(), options}) + print(result.graph) +
                           (arguments.remarks ? remark_text(result.remarks) : "");
  if (arguments.out.empty()) fmt::print("{}", text);
  else write_file(arguments.out, text);
}

}  // namespace

void add_opt(Command app) {
  const Command command = app.add_command("opt", kDescription);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("FILE", arguments->file, "the text of a graph; - is standard input").type_name("");
  command.add_option("--passes", arguments->passes, "names of passes, with commas between them").type_name("NAMES");
  command.add_option("--options", arguments->options, "options of the pipeline: \"NAME=VALUE ...\"").type_name("");
  command.add_option("--out", arguments->out, "write into this file").type_name("FILE");
  command.add_flag("--remarks", arguments->remarks, "say where fusion stopped, why, and what would make it fuse");
  command.add_flag("--list-passes", arguments->list, "name the passes with the reason for their place, and do nothing");
  add_json(command, arguments->json);
  command.callback([arguments] {
    if (arguments->file.empty() && !arguments->list) miss_argument("FILE");
    run_opt(*arguments);
  });
}

}  // namespace mambac::tools
