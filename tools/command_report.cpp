#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "runtime/atomic_file.h"
#include "runtime/progress.h"
#include "tools/commands.h"
#include "tools/report.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription =
    R"(Writes one page that shows how a model becomes kernels, for any browser; it needs no network and no other file.

  mambac report mambabyte:353m --out report.html
  mambac report mambabyte:353m --graph prefill --dtype bf16 --set B=1 L=8192 --out report.html
  mambac report mambabyte:353m --device cuda:sm_90 --gpu h200 --set B=8 L=8192 --out report.html
  mambac train mambabyte:small --data train.txt --batch 2 --context 256 --steps 4 --out run --trace step.json
  mambac report mambabyte:small --set B=2 L=256 --trace step.json --out report.html

The page has the definition, the fused graph with its layers folded, what each pass changed, a table of kernels with what
bounds them, code of each kernel with the line of the model behind each line of it, and the plan of memory. A line of the
model that is chosen lights up everywhere, and back. Kernels of layers that are equal have one code. Work and memory are
of the sizes of --set, without them of B=1 L=1024; where --set gives all sizes, this machine is measured for the least
times of kernels. --trace adds the times of a run, which --trace of 'train', 'generate' or 'bench' has written for the
same graph on a CPU. --json prints the data of the page instead.)";

struct Arguments {
  ExplainArguments explain;
  std::string out, trace;
  bool json = false;
};

void run_report(const Arguments& arguments) {
  const Json data = report_json(make_report(arguments.explain, arguments.trace));
  if (arguments.json) return print_json(data);
  const std::string page = report_page(data);
  write_file(arguments.out, page);
  fmt::print("{}  {}\n", arguments.out, byte_text(static_cast<double>(page.size())));
}

}  // namespace

void add_report(Command app) {
  const Command command = app.add_command("report", kDescription);
  auto arguments = std::make_shared<Arguments>();
  add_explain_options(command, arguments->explain);
  command.add_option("--out", arguments->out, "the page, an HTML file").type_name("FILE");
  command.add_option("--trace", arguments->trace, "a trace of a run of this graph: its times").type_name("FILE");
  add_json(command, arguments->json);
  command.callback([arguments] {
    if (arguments->out.empty() && !arguments->json) miss_argument("--out");
    run_report(*arguments);
  });
}

}  // namespace mambac::tools
