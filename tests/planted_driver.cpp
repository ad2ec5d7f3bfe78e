// The driver with bugs in it, for tests of what becomes of bugs: the linker puts the functions below in the place of
// `regroup` and `lower` (`--wrap` in tests/CMakeLists.txt), so that the driver that people use has nothing of them.
// MAMBAC_PLANTED says what happens to a graph in which a scan's decay is an exponential of a product:
//
//     throw     regroup throws an exception that names the scan
//     abort     regroup ends the process by a signal
//     threads   regroup has two threads that crash at once
//     hang      regroup never ends
//     refused   regroup makes a graph with a wrong type
//     lower     the kernel that walks the scan cannot be lowered
#include <fmt/format.h>

#include <barrier>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "codegen/lower.h"
#include "ir/error.h"
#include "tools/driver.h"

namespace mambac {
namespace {

bool is(const Graph& graph, NodeId id, Op op) {
  return id.present() && graph.node(id).op == op;
}

/// The first scan of this kind; absent where there is none.
NodeId planted_in(const Graph& graph) {
  for (uint32_t i = 0; i < graph.size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (node.op != Op::Scan || !is(graph, node.operands[0], Op::Exp)) continue;
    if (is(graph, graph.node(node.operands[0]).operands[0], Op::Mul)) return {i};
  }
  return {};
}

bool is_planted(const char* what) {
  const char* planted = std::getenv("MAMBAC_PLANTED");
  return planted && std::string_view(planted) == what;
}

void crash_in_two_threads() {
  std::barrier together(2);
  const auto crash = [&] {
    together.arrive_and_wait();
    std::raise(SIGSEGV);
  };
  std::thread other(crash);
  crash();
  other.join();
}

}  // namespace

#define MAMBAC_REGROUP "_ZN6mambac7regroupERKNS_5GraphE"
#define MAMBAC_LOWER "_ZN6mambac5lowerERKNS_5GraphERKNS_7LayoutsEiRKNS_8ScheduleENS_10DeviceKindE"

Graph real_regroup(const Graph& graph) __asm__("__real_" MAMBAC_REGROUP);
Graph planted_regroup(const Graph& graph) __asm__("__wrap_" MAMBAC_REGROUP);
LoweredKernel real_lower(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule,
                         DeviceKind kind) __asm__("__real_" MAMBAC_LOWER);
LoweredKernel planted_lower(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule,
                            DeviceKind kind) __asm__("__wrap_" MAMBAC_LOWER);

Graph planted_regroup(const Graph& graph) {
  const NodeId scan = planted_in(graph);
  if (!scan.present()) return real_regroup(graph);
  const Node& node = graph.node(scan);
  if (is_planted("throw"))
    throw InternalError(fmt::format("planted: node '{}' of {} values and type {}", node.name, graph.size(),
                                    type_text(graph, node.type)));
  if (is_planted("abort")) std::abort();
  if (is_planted("threads")) crash_in_two_threads();
  while (is_planted("hang")) std::this_thread::sleep_for(std::chrono::seconds(1));
  if (!is_planted("refused")) return real_regroup(graph);
  Graph made = graph;
  made.node(scan).type.dtype = DType::bf16;
  return made;
}

LoweredKernel planted_lower(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule,
                            DeviceKind kind) {
  const NodeId scan = planted_in(fused);
  if (is_planted("lower") && scan.present() && fused.node(scan).kernel == number)
    throw InternalError(fmt::format("planted: kernel {} cannot be lowered", number));
  return real_lower(fused, layouts, number, schedule, kind);
}

}  // namespace mambac

int main(int argc, char** argv) {
  return mambac::tools::run(argc, argv);
}
