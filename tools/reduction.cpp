#include "tools/reduction.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "ir/print.h"
#include "passes/rewrite.h"

namespace mambac::tools {
namespace {

std::string words_without(const std::string& options, size_t dropped) {
  std::string rest;
  std::stringstream words(options);
  size_t number = 0;
  for (std::string word; words >> word;)
    if (number++ != dropped) rest += word + " ";
  return rest;
}

size_t words_in(const std::string& options) {
  return static_cast<size_t>(std::ranges::count(options, ' ')) + 1;
}

/// Tries to leave out runs of what a list has, halves first. `without` says whether it went; then the list is shorter.
bool drop_runs(const std::function<size_t()>& count, const std::function<bool(size_t begin, size_t end)>& without) {
  bool any = false;
  for (size_t length = std::max<size_t>(1, count() / 2); length > 0; length /= 2) {
    for (size_t end = count(); end > 0;) {
      const size_t begin = end > length ? end - length : 0;
      any |= without(begin, end);
      end = std::min(begin, count());
    }
  }
  return any;
}

}  // namespace

std::string case_text(const GraphText& test) {
  return (test.point ? point_text(*test.point) : "") + (test.passes.empty() ? "" : passes_text(test.passes)) +
         print(test.graph);
}

Reduction::Reduction(GraphText start, Fails fails, Accepted accepted, Stop stop)
    : case_(std::move(start)), fails_(std::move(fails)), accepted_(std::move(accepted)), stop_(std::move(stop)) {
  tried_.insert(case_text(case_));
}

void Reduction::run() {
  for (bool smaller = true; smaller && !stop_();) {
    smaller = drop_outputs();
    smaller |= cut_ops();
    smaller |= drop_passes();
    smaller |= drop_options();
    smaller |= bypass_ops();
    smaller |= drop_attributes();
    smaller |= fill_constants();
    smaller |= shrink_dims();
  }
}

int64_t Reduction::left() const {
  const size_t ops = ops_of(case_.graph).size(), sources = case_.graph.size() - ops;
  return static_cast<int64_t>(4 * ops + sources + case_.graph.outputs().size() + 2 * case_.graph.dims().size() +
                              case_.passes.size());
}

bool Reduction::accept_if_failing(GraphText smaller) {
  if (stop_() || !tried_.insert(case_text(smaller)).second || !fails_(smaller)) return false;
  case_ = std::move(smaller);
  accepted_(case_);
  return true;
}

bool Reduction::try_graph(std::optional<Graph> graph) {
  if (!graph) return false;
  GraphText smaller = case_;
  smaller.graph = std::move(*graph);
  return accept_if_failing(std::move(smaller));
}

bool Reduction::try_edit(const GraphEdit& edit) {
  return try_graph(edited(case_.graph, edit));
}

bool Reduction::drop_outputs() {
  return drop_runs([&] { return case_.graph.outputs().size(); },
                   [&](size_t begin, size_t end) {
                     GraphEdit edit(case_.graph);
                     const auto first = edit.outputs.begin();
                     edit.outputs.erase(first + static_cast<ptrdiff_t>(begin), first + static_cast<ptrdiff_t>(end));
                     return try_edit(edit);
                   });
}

bool Reduction::cut_ops() {
  return drop_runs([&] { return ops_of(case_.graph).size(); },
                   [&](size_t begin, size_t end) { return cut(begin, end); });
}

/// Some ops go: what others read of them is given from outside. What only they read goes, too, or, if the error was
/// there, becomes an output.
bool Reduction::cut(size_t begin, size_t end) {
  const std::vector<NodeId> ops = ops_of(case_.graph);
  GraphEdit edit(case_.graph);
  for (size_t i = begin; i < end; ++i) edit.nodes[ops[i].index].kind = NodeEdit::input;
  if (try_edit(edit)) return true;
  const auto users = users_of(case_.graph);
  const std::vector<bool> is_output = output_nodes(case_.graph);
  for (const NodeId op : ops) {
    const auto goes = [&](NodeId id) { return edit.nodes[id.index].kind != NodeEdit::keep; };
    if (goes(op) || is_output[op.index] || !std::ranges::all_of(users[op.index], goes)) continue;
    edit.outputs.push_back({case_.graph.node(op).name, op});
  }
  return edit.outputs.size() > case_.graph.outputs().size() && try_edit(edit);
}

bool Reduction::bypass_ops() {
  bool any = false;
  for (size_t i = ops_of(case_.graph).size(); i-- > 0;) {
    const std::vector<NodeId> ops = ops_of(case_.graph);
    if (i >= ops.size()) continue;
    const Node node = case_.graph.node(ops[i]);
    for (size_t number = 0; number < node.operands.size(); ++number) {
      const NodeId operand = node.operands[number];
      if (!operand.present() || case_.graph.node(operand).type != node.type) continue;
      GraphEdit edit(case_.graph);
      edit.nodes[ops[i].index] = {NodeEdit::operand, number};
      if (!try_edit(edit)) continue;
      any = true;
      break;
    }
  }
  return any;
}

/// Scalars that come from outside become numbers, parameters become inputs.
bool Reduction::fill_constants() {
  bool any = false;
  const auto try_kind = [&](const auto& fits, NodeEdit::Kind kind) {
    for (uint32_t i = 0; i < case_.graph.size(); ++i) {
      if (!fits(case_.graph.nodes()[i])) continue;
      GraphEdit edit(case_.graph);
      edit.nodes[i].kind = kind;
      any |= try_edit(edit);
    }
  };
  try_kind([](const Node& node) { return node.op == Op::Param; }, NodeEdit::input);
  try_kind([](const Node& node) { return node.op == Op::Input && node.type == Type{}; }, NodeEdit::constant);
  return any;
}

bool Reduction::change_node(NodeId id, const std::function<bool(Node&)>& change) {
  Graph graph = case_.graph;
  return change(graph.node(id)) && try_graph(edited(graph, GraphEdit(graph)));
}

bool Reduction::drop_attributes() {
  Graph nowhere = case_.graph;
  for (uint32_t i = 0; i < nowhere.size(); ++i) nowhere.node({i}).location = {};
  bool any = try_graph(edited(nowhere, GraphEdit(nowhere)));
  Graph forward = case_.graph;
  for (KernelGroup& kernel : forward.kernels) kernel.reverse = false;
  for (uint32_t i = 0; i < forward.size(); ++i) forward.node({i}).attrs.reverse = false;
  any |= try_graph(edited(forward, GraphEdit(forward)));
  for (uint32_t i = 0; i < case_.graph.size(); ++i) {
    any |= change_node({i}, [](Node& node) { return std::exchange(node.attrs.reverse, false); });
    const auto& operands = info(case_.graph.nodes()[i].op).operands;
    for (size_t number = 0; number < operands.size(); ++number)
      if (operands[number].optional && i < case_.graph.size())
        any |= change_node({i}, [&](Node& node) {
          if (number >= node.operands.size() || !node.operands[number].present()) return false;
          node.operands[number] = {};
          return true;
        });
  }
  return any;
}

bool Reduction::shrink_dims() {
  const auto resized = [&](const auto& size) {
    GraphEdit edit(case_.graph);
    for (size_t i = 0; i < edit.sizes.size(); ++i)
      if (edit.sizes[i] > 0) edit.sizes[i] = size(i, edit.sizes[i]);
    return try_edit(edit);
  };
  bool any = false;
  while (resized([](size_t, int64_t size) { return std::max<int64_t>(1, size / 2); })) any = true;
  for (size_t dim = 0; dim < case_.graph.dims().size(); ++dim)
    for (const int64_t divisor : {int64_t{1} << 40, int64_t{4}, int64_t{2}})
      while (resized([&](size_t i, int64_t size) { return i == dim ? std::max<int64_t>(1, size / divisor) : size; }))
        any = true;
  return any;
}

bool Reduction::drop_options() {
  if (!case_.point) return false;
  bool any = false;
  for (size_t i = words_in(options_text(case_.point->options)); i-- > 0;) {
    GraphText smaller = case_;
    smaller.point->options = {};
    set_options(smaller.point->options, words_without(options_text(case_.point->options), i));
    any |= accept_if_failing(std::move(smaller));
  }
  return any;
}

bool Reduction::drop_passes() {
  return drop_runs([&] { return case_.passes.size(); },
                   [&](size_t begin, size_t end) {
                     GraphText smaller = case_;
                     const auto first = smaller.passes.begin();
                     smaller.passes.erase(first + static_cast<ptrdiff_t>(begin), first + static_cast<ptrdiff_t>(end));
                     return !smaller.passes.empty() && accept_if_failing(std::move(smaller));
                   });
}

}  // namespace mambac::tools
