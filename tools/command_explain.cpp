#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "ir/error.h"
#include "tools/commands.h"
#include "tools/explain_options.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Explains the kernels of a model: the lines that each is made from, and what it costs; of one kernel, why its neighbours
are not fused with it, too, its schedule, and what bounds it.

  mambac explain mambabyte:353m --graph prefill
  mambac explain mambabyte:353m k5 --graph prefill --dtype bf16
  mambac explain mambabyte:353m k5 --graph prefill --set B=1 L=8192
  mambac explain mambabyte:tiny k5 --graph prefill --code
  mambac explain mambabyte:353m k5 --graph train --device cuda:sm_90 --gpu h200 --set B=8 L=8192 --json

A KERNEL is named as for 'dump --kernel': k5, its name or the first words of it, a part of its name in emitted code; all
that have it are explained. Why two kernels are two is what fusion says when it is asked to unite them; docs/remarks.md
lists the reasons. Work is counted at the sizes of --set, without them at B=1 L=1024. Where --set gives all sizes, this
machine is measured for the least times of a kernel's bytes, exponentials and arithmetic. With --device cuda fusion and
schedules are those of a GPU; with an architecture, cuda:sm_90, there are issue slots, registers, spills and occupancy
from its machine code, too, and the least times on --gpu. --code lists loops, LLVM IR and assembly, or CUDA C++ and its
machine code, with the line of the model behind each line.)";

struct Arguments {
  ExplainArguments explain;
  std::string kernel;
  bool code = false, json = false;
};

void run_explain(const Arguments& arguments) {
  const ModelArguments& model = arguments.explain.model;
  const Selection selection = select_model(model.spec, model.settings);
  ExplainOptions options = explain_options(arguments.explain, selection);
  options.code = arguments.code;
  Explainer explainer(selection.model, options);
  Json json = explain_head(arguments.explain, options.sizes);
  if (arguments.kernel.empty()) {
    if (arguments.code) throw InputError("--code: found no KERNEL, expected the one whose code is listed");
    if (!arguments.explain.schedule.empty())
      throw InputError("--schedule: found no KERNEL, expected the one whose schedule is changed");
    if (!arguments.json) return print_kernels(explainer);
    json["kernels"] = kernels_json(explainer);
    return print_json(json);
  }
  json["kernels"] = Json::array();
  bool first = true;
  for (const KernelExplanation& one : explainer.explain(kernels_named(arguments.kernel, explainer.graph()))) {
    if (arguments.json)
      json["kernels"].push_back(explanation_json(one));
    else {
      if (!first) fmt::print("\n");
      print_explanation(one, explainer);
    }
    first = false;
  }
  if (arguments.json) print_json(json);
}

}  // namespace

void add_explain(Command app) {
  const Command command = app.add_command("explain", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_explain_options(command, arguments->explain);
  command.add_option("KERNEL", arguments->kernel, "k5, or by its name; without, a table of all").type_name("");
  command.add_flag("--code", arguments->code, "list its code, with the line of the model behind each line");
  add_json(command, arguments->json);
  command.callback([arguments] { run_explain(*arguments); });
}

}  // namespace mambac::tools
