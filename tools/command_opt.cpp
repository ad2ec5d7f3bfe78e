#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "ir/print.h"
#include "runtime/atomic_file.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/graph_text.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Runs passes on the text of a graph, in any order.

  mambac dump mambabyte:tiny --stage source | mambac opt - --passes simplify
  mambac opt dumps/02-differentiate.mb --passes regroup,clean,fuse --remarks
  mambac opt small.mb --passes precision,fuse --options "dtype=bf16"
  mambac opt --list-passes

The text is what 'mambac dump' prints. Options of the pipeline are those of the line above it, where it has one, then
those of --options. The result has such a line, too. A text with a line '# passes: simplify,fuse' at its top needs no
--passes.)";

struct Arguments {
  std::string file, passes, options, out;
  bool remarks = false, list = false, json = false;
};

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
  std::vector<std::string> names = names_in(arguments.passes);
  stages_named(names);  // what is wrong with them is said before the graph is looked at
  const GraphText start = read_graph(arguments.file, false);
  if (arguments.passes.empty()) names = start.passes;
  if (names.empty())
    throw InputError("--passes: found none, and no line '# passes: ...' in the text; expected names with commas between "
                     "them; see --list-passes");
  PipelineOptions options = start.point ? start.point->options : PipelineOptions();
  set_options(options, arguments.options);
  const std::string after = start.point ? start.point->stage : "source";
  const PipelineResult result = noted_stages(start.graph, after, options, stages_named(names));
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
