#include "codegen/machine/nest.h"

#include <algorithm>
#include <set>

#include "codegen/loop_rewrite.h"

namespace mambac::machine {
namespace {

class Counter {
 public:
  Counter(const Nest& nest, const std::vector<int64_t>& sizes)
      : nodes_(nest.nodes), sizes_(sizes), children_(nodes_.size()), read_(nodes_.size()) {
    loop::Var most = 0;
    for (size_t i = nodes_.size(); i-- > 0;) {  // children before their parents
      most = std::max(most, nodes_[i].var);
      if (nodes_[i].parent < 0) continue;
      const auto parent = static_cast<size_t>(nodes_[i].parent);
      children_[parent].insert(children_[parent].begin(), i);
      read_[parent].insert(read_[i].begin(), read_[i].end());
      for (const loop::Int& bound : {nodes_[i].begin, nodes_[i].end}) {
        const std::set<loop::Var> vars = loop::variables(bound);
        read_[parent].insert(vars.begin(), vars.end());
        if (!vars.empty()) most = std::max(most, *vars.rbegin());
      }
    }
    vars_.assign(static_cast<size_t>(most) + 1, 0);
    result_.runs.assign(nodes_.size(), 0);
    result_.trips.assign(nodes_.size(), 1);
  }

  NestRuns run(loop::Var task, int64_t number) {
    if (static_cast<size_t>(task) < vars_.size()) vars_[static_cast<size_t>(task)] = number;
    visit(0, 1);
    for (size_t i = 1; i < nodes_.size(); ++i) {
      const double around = result_.runs[static_cast<size_t>(nodes_[i].parent)];
      if (nodes_[i].kind == NestNode::loop && around > 0) result_.trips[i] = result_.runs[i] / around;
    }
    return std::move(result_);
  }

 private:
  int64_t value(const loop::Int& a) const { return loop::evaluate(a, vars_, sizes_); }

  void visit(size_t node, double runs) {
    result_.runs[node] += runs;
    for (size_t child : children_[node]) {
      const NestNode& n = nodes_[child];
      if (n.kind == NestNode::loop)
        iterate(child, runs);
      else if ((value(n.begin) < value(n.end)) == (n.kind == NestNode::taken))
        visit(child, runs);
    }
  }

  void iterate(size_t node, double runs) {
    const NestNode& n = nodes_[node];
    const int64_t begin = value(n.begin), end = value(n.end);
    if (begin >= end) return;
    int64_t& var = vars_[static_cast<size_t>(n.var)];
    var = begin;
    if (!read_[node].contains(n.var))
      return visit(node, runs * static_cast<double>((end - begin + n.step - 1) / n.step));
    for (var = begin; var < end; var += n.step) visit(node, runs);
  }

  const std::vector<NestNode>& nodes_;
  const std::vector<int64_t>& sizes_;
  std::vector<std::vector<size_t>> children_;
  std::vector<std::set<loop::Var>> read_;  // variables of bounds and conditions within
  std::vector<int64_t> vars_;
  NestRuns result_;
};

}  // namespace

int Nest::at(int line) const {
  int found = -1;
  for (size_t i = 0; i < nodes.size(); ++i)  // those within come later
    if (nodes[i].first <= line && line <= nodes[i].last) found = static_cast<int>(i);
  return found;
}

NestRuns Nest::count(loop::Var task, int64_t task_number, const std::vector<int64_t>& sizes) const {
  return Counter(*this, sizes).run(task, task_number);
}

}  // namespace mambac::machine
