#include "runtime/cuda/issue_slots.h"

#include <algorithm>
#include <map>
#include <set>

namespace mambac::cuda {
namespace {

using cuda_emit::Nest;
using cuda_emit::NestNode;
using cuda_emit::NestRuns;

/// Instructions that run one after another, and what may come next.
struct BasicBlock {
  size_t begin = 0, end = 0;
  std::vector<size_t> next, before;
};

/// A loop of the machine code: the blocks that a branch back closes.
struct MachineLoop {
  size_t head = 0;
  std::set<size_t> blocks;
  int node = -1;  // the loop of the text
};

class Count {
 public:
  Count(const MachineFunction& function, const Nest& nest, const NestRuns& runs, int first_line)
      : code_(function.instructions), nest_(nest), runs_(runs), first_line_(first_line) {}

  SlotCount run() {
    if (code_.empty()) return {};
    make_blocks();
    dominators_ = dominators();
    find_loops();
    std::vector<double> times(blocks_.size(), 0);
    std::vector<size_t> order = reached(0);
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return dominators_[a].size() < dominators_[b].size(); });
    for (size_t b : order) times[b] = times_of(b, times);
    count_calls(times);
    SlotCount sum;
    for (size_t b = 0; b < blocks_.size(); ++b)
      for (size_t i = blocks_[b].begin; i < blocks_[b].end; ++i)
        sum += SlotCount{1, is_special(code_[i]) ? 1.0 : 0.0} * times[b];
    return sum;
  }

 private:
  // ---- blocks ----

  void make_blocks() {
    std::set<size_t> begins{0};
    for (size_t i = 0; i < code_.size(); ++i) {
      for (int target : code_[i].targets) begins.insert(static_cast<size_t>(target));
      if (code_[i].flow != Flow::next && i + 1 < code_.size()) begins.insert(i + 1);
    }
    for (size_t begin : begins) {
      if (!blocks_.empty()) blocks_.back().end = begin;
      block_at_[begin] = blocks_.size();
      blocks_.push_back({begin, code_.size(), {}, {}});
    }
    for (size_t b = 0; b < blocks_.size(); ++b) connect(b);
  }

  void connect(size_t b) {
    const Instruction& last = code_[blocks_[b].end - 1];
    const auto edge = [&](size_t to) {
      blocks_[b].next.push_back(to);
      blocks_[to].before.push_back(b);
    };
    if (last.flow == Flow::branch)
      for (int target : last.targets) edge(block_at_.at(static_cast<size_t>(target)));
    const bool stops = last.flow == Flow::branch || last.flow == Flow::end;
    if ((!stops || last.conditional) && b + 1 < blocks_.size()) edge(b + 1);
  }

  std::vector<size_t> reached(size_t from) const {
    std::set<size_t> seen{from};
    std::vector<size_t> list{from};
    for (size_t i = 0; i < list.size(); ++i)
      for (size_t to : blocks_[list[i]].next)
        if (seen.insert(to).second) list.push_back(to);
    return list;
  }

  // ---- loops ----

  /// For each block, all blocks that every way to it passes.
  std::vector<std::set<size_t>> dominators() const {
    const std::vector<size_t> order = reached(0);
    std::vector<std::set<size_t>> all(blocks_.size());
    const std::set<size_t> everything(order.begin(), order.end());
    for (size_t b : order) all[b] = everything;
    all[0] = {0};
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t b : order) {
        if (b == 0) continue;
        std::set<size_t> common = everything;
        for (size_t p : blocks_[b].before)
          if (everything.contains(p)) std::erase_if(common, [&](size_t d) { return !all[p].contains(d); });
        common.insert(b);
        if (common != all[b]) changed = true, all[b] = std::move(common);
      }
    }
    return all;
  }

  /// The last of the blocks in front of it that every way to it passes; itself when it is the first block.
  size_t dominator(size_t b) const {
    size_t last = 0;
    for (size_t d : dominators_[b])
      if (d != b && dominators_[d].size() > dominators_[last].size()) last = d;
    return last;
  }

  void find_loops() {
    std::map<size_t, MachineLoop> by_head;
    for (size_t b : reached(0))
      for (size_t head : blocks_[b].next)
        if (dominators_[b].contains(head)) add_body(by_head[head], head, b);
    for (auto& [head, loop] : by_head) loops_.push_back(std::move(loop));
    std::sort(loops_.begin(), loops_.end(),  // those within first
              [](const MachineLoop& a, const MachineLoop& b) { return a.blocks.size() < b.blocks.size(); });
    for (MachineLoop& loop : loops_) loop.node = node_of(loop);
  }

  /// What reaches the branch back without passing the head.
  void add_body(MachineLoop& loop, size_t head, size_t last) const {
    loop.head = head;
    loop.blocks.insert(head);
    std::vector<size_t> open{last};
    while (!open.empty()) {
      const size_t b = open.back();
      open.pop_back();
      if (loop.blocks.insert(b).second) open.insert(open.end(), blocks_[b].before.begin(), blocks_[b].before.end());
    }
  }

  int node_at(size_t instruction) const {
    return code_[instruction].line == 0 ? -1 : nest_.at(code_[instruction].line - first_line_ + 1);
  }
  int parent(int node) const { return nest_.nodes[static_cast<size_t>(node)].parent; }
  bool is_loop(int node) const { return nest_.nodes[static_cast<size_t>(node)].kind == NestNode::loop; }

  /// The loops of the text that loops within this one are.
  std::set<int> nodes_within(const MachineLoop& loop) const {
    std::set<int> nodes;
    for (const MachineLoop& other : loops_)
      if (other.node >= 0 &&
          std::includes(loop.blocks.begin(), loop.blocks.end(), other.blocks.begin(), other.blocks.end()))
        nodes.insert(other.node);
    return nodes;
  }

  /// The innermost loop of the text that has more than half of the loop's instructions whose lines are known, and is
  /// none of those within; one that was not to be written out, if there is any.
  int node_of(const MachineLoop& loop) const {
    std::map<int, int> having;
    int known = 0;
    for (size_t b : loop.blocks)
      for (size_t i = blocks_[b].begin; i < blocks_[b].end; ++i) {
        const int at = node_at(i);
        known += at >= 0;
        for (int node = at; node >= 0; node = parent(node)) ++having[node];
      }
    const std::set<int> within = nodes_within(loop);
    int found = -1, written_out = -1;
    for (const auto& [node, count] : having) {  // those within come later
      if (!is_loop(node) || 2 * count <= known || within.contains(node)) continue;
      (nest_.nodes[static_cast<size_t>(node)].written_out ? written_out : found) = node;
    }
    return found >= 0 ? found : written_out;
  }

  // ---- how often a block runs ----

  /// Most of the block's instructions come from it.
  int node_of(const BasicBlock& block) const {
    std::map<int, int> votes;
    for (size_t i = block.begin; i < block.end; ++i)
      if (const int at = node_at(i); at >= 0) ++votes[at];
    int found = 0;
    for (const auto& [node, count] : votes)
      if (count > (votes.contains(found) ? votes[found] : 0)) found = node;
    return found;
  }

  bool is_within(int node, int other) const {
    while (node >= 0 && node != other) node = parent(node);
    return node == other;
  }

  /// What was moved into a loop from in front of it says nothing of how often it runs: as often as what leads to it.
  double times_of(size_t b, const std::vector<double>& times) const {
    const double before = b == 0 ? 1 : times[dominator(b)];
    if (is_rare(b) || before == 0) return 0;
    std::set<int> around;
    int node = node_of(blocks_[b]);
    for (const MachineLoop& loop : loops_) {
      if (!loop.blocks.contains(b)) continue;
      if (around.empty() && loop.node >= 0 && !is_within(node, loop.node)) {
        if (b != loop.head) return before;
        node = loop.node;
      }
      around.insert(loop.node);
    }
    return times_in(node, around);
  }

  /// A loop of the text that is no loop of the machine code around the block was written out, and each copy counts by
  /// itself; where it has more than one iteration and was not to be written out, the block was moved in front of it.
  double times_in(int node, const std::set<int>& around) const {
    double copies = 1;
    for (int n = node; n >= 0; n = parent(n)) {
      const auto at = static_cast<size_t>(n);
      if (!is_loop(n) || around.contains(n) || runs_.trips[at] <= 1) continue;
      if (nest_.nodes[at].written_out)
        copies *= runs_.trips[at];
      else
        node = parent(n), copies = 1;
    }
    return runs_.runs[static_cast<size_t>(node)] / copies;
  }

  bool calls(size_t b) const { return code_[blocks_[b].end - 1].flow == Flow::call; }

  bool is_rare(size_t b) const {
    return calls(b) && blocks_[b].before.size() == 1 && blocks_[blocks_[b].before[0]].next.size() > 1;
  }

  void count_calls(std::vector<double>& times) const {
    std::map<size_t, double> called;
    for (size_t b = 0; b < blocks_.size(); ++b)
      if (calls(b)) called[block_at_.at(static_cast<size_t>(code_[blocks_[b].end - 1].targets[0]))] += times[b];
    for (const auto& [entry, count] : called)
      for (size_t b : reached(entry)) times[b] += count;
  }

  const std::vector<Instruction>& code_;
  const Nest& nest_;
  const NestRuns& runs_;
  const int first_line_;
  std::vector<BasicBlock> blocks_;
  std::map<size_t, size_t> block_at_;         // by first instruction
  std::vector<std::set<size_t>> dominators_;  // of each block, itself included
  std::vector<MachineLoop> loops_;
};

}  // namespace

SlotCount& SlotCount::operator+=(const SlotCount& other) {
  slots += other.slots;
  special += other.special;
  return *this;
}

SlotCount count_slots(const MachineFunction& function, const Nest& nest, const NestRuns& runs, int first_line) {
  return Count(function, nest, runs, first_line).run();
}

}  // namespace mambac::cuda
