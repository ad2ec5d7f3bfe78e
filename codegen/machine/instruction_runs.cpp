#include "codegen/machine/instruction_runs.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "codegen/machine/control_flow.h"

namespace mambac::machine {
namespace {

class Count {
 public:
  Count(const Function& function, const Nest& nest, const NestRuns& runs, int first_line)
      : code_(function.instructions), nest_(nest), runs_(runs), first_line_(first_line), flows_(code_) {
    for (const Loop& loop : flows_.loops()) loop_nodes_.push_back(node_of(loop));
    found_.assign(flows_.count(), {0, 0});  // nothing runs that is not come to
  }

  std::vector<double> run() {
    for (size_t b : flows_.order()) found_[b] = find(b);
    std::vector<double> times;
    for (const Found& found : found_) times.push_back(found.times);
    for (size_t b : flows_.order())
      if (flows_.calls(b) && found_[b].times > 0)
        for (size_t called : flows_.called(b)) times[called] += found_[b].times;
    std::vector<double> runs(code_.size());
    for (size_t b = 0; b < times.size(); ++b)
      std::fill(runs.begin() + static_cast<std::ptrdiff_t>(flows_.block(b).begin),
                runs.begin() + static_cast<std::ptrdiff_t>(flows_.block(b).end), times[b]);
    return runs;
  }

 private:
  // ---- where instructions come from ----

  int node_at(size_t instruction) const {
    return code_[instruction].line == 0 ? -1 : nest_.at(code_[instruction].line - first_line_ + 1);
  }
  const NestNode& node(int at) const { return nest_.nodes[static_cast<size_t>(at)]; }
  bool is_loop(int at) const { return node(at).kind == NestNode::loop; }
  bool runs_once(int at) const {
    return runs_.runs[static_cast<size_t>(at)] > 0 && runs_.trips[static_cast<size_t>(at)] <= 1;
  }
  bool is_within(int at, int other) const {
    while (at >= 0 && at != other) at = node(at).parent;
    return at == other;
  }

  /// By node, how many instructions of the blocks it has; known: that any has.
  struct Votes {
    std::map<int, int> having;
    int known = 0;
  };

  template <class Blocks>
  Votes votes_of(const Blocks& blocks) const {
    Votes votes;
    for (size_t b : blocks)
      for (size_t i = flows_.block(b).begin; i < flows_.block(b).end; ++i) {
        const int at = node_at(i);
        votes.known += at >= 0;
        for (int n = at; n >= 0; n = node(n).parent) ++votes.having[n];
      }
    return votes;
  }

  /// The loops of the text that loops within this one are.
  std::set<int> nodes_within(const Loop& loop) const {
    std::set<int> nodes;
    for (size_t i = 0; i < loop_nodes_.size(); ++i) {  // those before it
      const std::set<size_t>& other = flows_.loops()[i].blocks;
      if (std::includes(loop.blocks.begin(), loop.blocks.end(), other.begin(), other.end()))
        nodes.insert(loop_nodes_[i]);
    }
    return nodes;
  }

  /// The innermost loop of the text that has more than half of the loop's instructions whose lines are known, and is
  /// none of those within; one that was not to be written out, if there is any. Where these are more than there are
  /// loops of the machine code around, a compiler has seen that some have one iteration only.
  int node_of(const Loop& loop) const {
    const Votes votes = votes_of(loop.blocks);
    const std::set<int> within = nodes_within(loop);
    std::vector<int> found;
    int written_out = -1;
    for (const auto& [at, count] : votes.having) {  // those within come later
      if (!is_loop(at) || 2 * count <= votes.known || within.contains(at)) continue;
      if (node(at).written_out)
        written_out = at;
      else
        found.push_back(at);
    }
    const size_t around = flows_.loops_of(loop.head).size();
    while (found.size() > around) {
      const auto once = std::ranges::find_if(found.rbegin(), found.rend(), [&](int at) { return runs_once(at); });
      if (once == found.rend()) break;
      found.erase(std::next(once).base());
    }
    return found.empty() ? written_out : found.back();
  }

  /// The other side of the text's branch; -1 when at is no side, or there is no other. An `else` stands between them.
  int other_side(int at) const {
    const NestNode& side = node(at);
    if (side.kind != NestNode::taken && side.kind != NestNode::otherwise) return -1;
    for (size_t i = 0; i < nest_.nodes.size(); ++i) {
      const NestNode& other = nest_.nodes[i];
      const bool beside = other.first == side.last + 2 || other.last + 2 == side.first;
      const bool opposite =
          side.kind == NestNode::taken ? other.kind == NestNode::otherwise : other.kind == NestNode::taken;
      if (other.parent == side.parent && beside && opposite) return static_cast<int>(i);
    }
    return -1;
  }

  /// The innermost node within `base` that three quarters of what cannot be come to but through the block come from.
  /// Where a tenth comes from the other side of a branch, it is neither side. What comes from outside of base was moved
  /// there and says nothing.
  int node_of(size_t b, int base) const {
    std::vector<size_t> behind;
    for (size_t other : flows_.order())
      if (flows_.dominates(b, other)) behind.push_back(other);
    const std::map<int, int> having = votes_of(behind).having;
    const auto votes = [&](int at) { return having.contains(at) ? having.at(at) : 0; };
    int found = base;
    for (const auto& [at, count] : having) {  // those within come later
      const bool both = 10 * votes(other_side(at)) > votes(base);
      if (node(at).parent == found && 4 * count >= 3 * votes(base) && !both) found = at;
    }
    return found;
  }

  // ---- how often blocks run ----

  struct Found {
    int node = 0;  // that says so
    double times = 1;
  };

  Found find(size_t b) const {
    if (b == 0) return {};
    const std::vector<size_t>& loops = flows_.loops_of(b);
    for (size_t d = flows_.dominator(b);; d = flows_.dominator(d)) {
      if (flows_.always_follows(b, d) && flows_.loops_of(d) == loops) return found_[d];
      if (d == 0) break;
    }
    const Found& before = found_[flows_.dominator(b)];
    if (before.times == 0) return before;
    std::set<int> around;
    for (size_t loop : loops) around.insert(loop_nodes_[loop]);
    const int loop = loops.empty() ? -1 : loop_nodes_[loops[0]];
    if (!loops.empty() && flows_.loops()[loops[0]].head == b) return loop < 0 ? before : times_in(loop, around);
    return on_one_way(b, before, around);
  }

  /// Behind a branch. Where it is not one of the text's, both ways count as often as what leads to them, but for calls.
  Found on_one_way(size_t b, const Found& before, const std::set<int>& around) const {
    const int at = node_of(b, before.node);
    bool of_text = false;
    for (int n = at; n != before.node; n = node(n).parent)
      of_text |= node(n).kind == NestNode::taken || node(n).kind == NestNode::otherwise;
    const std::vector<size_t>& from = flows_.before(b);
    if (flows_.calls(b) && !of_text && from.size() == 1 && flows_.ways_on(from[0]) > 1) return {before.node, 0};
    if (at == before.node) return before;
    const Found found = times_in(at, around);
    return found.times > before.times ? before : found;
  }

  /// A loop of the text that is no loop of the machine code around the block was written out, and each copy counts by
  /// itself; where it has more than one iteration and was not to be written out, or none and is a loop elsewhere, the
  /// block was moved in front of it.
  Found times_in(int at, const std::set<int>& around) const {
    double copies = 1;
    for (int n = at; n >= 0; n = node(n).parent) {
      const double trips = runs_.trips[static_cast<size_t>(n)];
      const bool passed_by = trips == 0 && std::ranges::count(loop_nodes_, n) > 0;
      if (!is_loop(n) || around.contains(n) || (trips <= 1 && !passed_by)) continue;
      if (node(n).written_out && !passed_by)
        copies *= trips;
      else
        at = node(n).parent, copies = 1;
    }
    return {at, runs_.runs[static_cast<size_t>(at)] / copies};
  }

  const std::vector<Instruction>& code_;
  const Nest& nest_;
  const NestRuns& runs_;
  const int first_line_;
  const ControlFlow flows_;
  std::vector<int> loop_nodes_;  // of flows_.loops()
  std::vector<Found> found_;
};

}  // namespace

std::vector<double> instruction_runs(const Function& function, const Nest& nest, const NestRuns& runs, int first_line) {
  if (function.instructions.empty()) return {};
  return Count(function, nest, runs, first_line).run();
}

}  // namespace mambac::machine
