// The state of one fusion (passes/fuse.h); its parts are in fuse.cpp (facts and placing), fuse_settle.cpp (what is left
// when all are placed), fuse_emit.cpp (the new graph) and fuse_tell.cpp (what stopped it where).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ir/step.h"
#include "passes/fuse.h"
#include "passes/group.h"

namespace mambac {

struct FusedGroup {
  int level = 0;
  bool library = false;
  bool alive = true;
  bool split = false;           // a piece of a group that could not stay together
  std::vector<Member> members;  // in the order of the graph
};

class Fuser {
 public:
  Fuser(const Graph& graph, const FuseOptions& options, Remarks& remarks)
      : graph_(graph),
        options_(options),
        remarks_(remarks),
        few_kernels_(options.few_kernels && !options.library_contractions),
        widths_(graph, options.fuse_projections),
        lanes_(graph, widths_),
        home_(graph.size(), -1),
        level_(graph.size(), 0),
        in_memory_(graph.size(), false),
        chunks_(graph.size(), false),
        wide_(graph.size(), false),
        library_(graph.size(), false) {}

  Graph run();
  /// After run: the kernels that read what others leave, and why fusion left them apart.
  std::vector<Apart> apart() const;

 private:
  // ---- facts about nodes ----

  const Node& node(NodeId id) const { return graph_.node(id); }
  bool is_source(NodeId id) const { return class_of(node(id).op) == OpClass::Source; }
  /// A view that waits: like a join it has a level of its own, and nothing that comes after it is put before it.
  bool is_after(NodeId id) const { return node(id).op == Op::After; }

  void classify();
  /// The gradient of amax compares values with their largest. The same expression may round differently in another
  /// kernel, so the values are read from memory there, or both are made again.
  void keep_compared_values();
  /// Outputs that are copies of views: needed only when the view shows memory, not when a kernel computes it.
  void find_copies();
  /// The value that an output names: what it is a copy of, when a kernel computes that.
  NodeId output_value(NodeId output) const;
  /// The value whose memory a chain of free views shows, or the `after` in it; the node itself when it is no view.
  NodeId view_root(NodeId id) const;
  bool is_computed(NodeId id) const { return home_[id.index] >= 0 && !groups_[home_[id.index]].library; }

  /// Topological, but sums that end a group come after everything else that is ready: the recurrences decide which
  /// way a group walks, and such sums follow.
  std::vector<NodeId> visiting_order() const;
  bool ends_group(NodeId id) const;

  // ---- placing a node ----

  std::optional<KernelGroup> describe(const std::vector<Member>& members, Why* why) const {
    return describe_group(graph_, lanes_, members, few_kernels_, why);
  }
  /// What a group may compute again: wide values, which it must, and cheap ones.
  enum class Again { cheap, wide };

  void place(NodeId id);
  /// Puts the node into a group of the same level that reads the same memory.
  bool join_sibling(NodeId id, int level);
  void note_reads(NodeId id, int g);
  /// Whether the node runs over dimensions that the group has already.
  bool same_domain(NodeId id, int g) const;
  bool is_free_view(NodeId id) const;
  int open_group(NodeId id, int level, bool library);
  /// Why an operand is read from memory whatever loops there are; nothing when a kernel computes it.
  Why why_in_memory(NodeId operand) const;
  /// Puts the node into the group(s) of its latest operands.
  bool join_operands(NodeId id, int base, Why* why);
  /// What the group must compute again to hold the node: with cheap values made again, or else read from memory.
  std::optional<std::vector<Member>> fitting(NodeId id, int group, const std::vector<Member>& members, Why* why) const;
  /// A value that is stored, although it may be wide, since a reader cannot make it again.
  void store(NodeId id, NodeId reader, Reason why);
  void absorb(int target, int other);
  static std::vector<Member> merged(std::vector<Member> members, const std::vector<Member>& added, Member self);
  static bool holds(const std::vector<Member>& members, NodeId id);
  /// Finds what must be computed again in the group so that it can hold the node.
  std::vector<Member> close_over(NodeId id, int group, const std::vector<Member>& members, Again again) const;
  /// Whether the node, or else the members, walk from the end; absent when they have no recurrence.
  std::optional<bool> walk_of(NodeId id, const std::vector<Member>& members) const;
  bool is_backward(NodeId id) const { return node(id).op == Op::Overlap || node(id).attrs.reverse; }
  /// A pointwise value that can be made again from at most one stored value of its size that the group does not read
  /// anyway.
  bool is_rematerialised(NodeId id, const std::set<NodeId>& at_hand) const;
  /// What members compute or read.
  std::set<NodeId> at_hand(const std::vector<Member>& members, const std::vector<Member>& added) const;
  /// The stored values of full size, besides those at hand, that a value can be made from: itself when more than one
  /// would be needed.
  std::set<NodeId> leaves_of(NodeId id, size_t full, const std::set<NodeId>& at_hand, int* nodes) const;
  /// The recurrence whose stored states restart this one.
  NodeId state_source(NodeId id) const { return mambac::state_source(graph_, id); }
  /// Whether it restarts from stored states when it is one of these: it runs against the walk, and is no window of what
  /// lies in memory, where its taps are, too.
  bool restarts(const Member& member, const std::vector<Member>& members) const;
  /// The operands that it reads as one of these: what restarts has no start.
  std::vector<NodeId> operands_of(const Member& member, const std::vector<Member>& members) const;

  // ---- cleaning ----

  /// What was to resume, in a walk of its own, runs on where groups were merged into one that goes its way.
  void run_with_walk();
  void drop_unneeded();
  /// Members may have been together only for the sake of one that went. The rest stays in as few pieces as its order
  /// allows; since the pieces follow the order of the graph, none waits for a later one.
  void split(int g, const Reason& why);
  /// An output that was to be the view itself needs its copy when the view shows memory.
  void copy_after_all(NodeId view, int level);
  /// The member with what its group computes again for it.
  std::vector<Member> with_remade(const Member& member, const std::vector<Member>& group) const;
  /// Whether one of the readers takes a part, cut in memory, of what the members compute.
  bool reads_cut_of(const std::vector<Member>& readers, const std::vector<Member>& members) const;
  InputError cannot(NodeId id, const Reason& why) const;
  static constexpr int kOutside = -2;  // as a reader: a library call, a join or a view

  /// The groups that read each group's values from memory.
  std::vector<std::set<int>> readers_of_groups() const;
  /// Merges a group into the first of the groups that read it, or, when it has no free dimensions, into a walk that
  /// runs before them. Returns whether anything changed.
  bool sink();
  bool merge(int target, int g);
  /// Whether groups, with these members then, can be one: they share loops, and those that restart find their states
  /// stored.
  bool can_be_one(const std::set<int>& groups, const std::vector<Member>& members, Why* why) const;
  /// Whether kernels other than these groups leave the states that these members restart from.
  bool find_states(const std::set<int>& groups, const std::vector<Member>& members, Why* why) const;
  /// Merges groups that make the same recurrence again, or of which one has all wide values of the other. Returns
  /// whether anything changed.
  bool unite();
  bool unite(int target, int g, Why* why);
  /// Whether the groups can be one, with the members of g turned to the walk of the target.
  bool may_be_united(int target, int g, Why* why) const;
  /// Whether, as one group, they would need what only that group leaves.
  Why why_in_circle(const std::vector<Member>& all, int target, int g) const;
  std::vector<Member> both(int target, const std::vector<Member>& added) const;
  /// Groups that run these recurrences, or that hold these wide values.
  std::map<NodeId, std::vector<int>> holders_of_wide() const;
  bool worth_uniting(int g, int h) const;
  /// The members of a group as they would be in a walk of this direction, when all its recurrences are made again and
  /// so can run either way; else as they are.
  std::vector<Member> turned(int g, std::optional<bool> reverse) const;
  /// The groups that these members read from memory.
  std::set<int> dependencies(const std::vector<Member>& members, bool library) const;
  std::set<int> dependencies(int g) const;
  /// The groups that write what memory holds of a value: of a join, those of all its operands.
  std::set<int> writers_of(NodeId id) const;
  /// Whether the groups in `from` are, or need, directly or through others, one of those in `to`.
  bool reaches(const std::set<int>& from, const std::set<int>& to) const;
  bool is_fixed(int g) const;
  bool is_walk(int g) const;

  // ---- writing the new graph ----

  Graph emit();
  void emit_unit(int unit);
  NodeId emit_value(int group, NodeId id);
  NodeId emit_member(int g, const Member& member);
  NodeId chunk_starts(NodeId id);
  void name_kernel(KernelGroup& group, const std::vector<Member>& members, int number);
  std::vector<int> unit_order() const;

  // ---- what is told ----

  Reason why_apart(int producer, int consumer, const std::set<int>& readers) const;
  /// Why the two, as they are or with one turned to the walk of the other, cannot be one.
  Why why_no_loops(int producer, int consumer) const;
  /// Why the consumer reads the producer's values from memory, when it does so whatever loops there are.
  Why why_through_memory(int producer, int consumer) const;

  /// What stopped a node from joining its operands, or made a value stored for it. Whether it still holds is only known
  /// when all groups are settled.
  struct Break {
    Outcome outcome;
    NodeId reader, value;  // value: the stored one; absent: any operand
    Reason why;
  };
  bool still_holds(const Break& found) const;
  void remark(Outcome outcome, NodeId node, const Location& location, ReasonCode code, std::string text);
  void write_remarks();
  void remark_repeated_walks();

  const Graph& graph_;
  const FuseOptions& options_;
  Remarks& remarks_;
  const bool few_kernels_;
  const Widths widths_;
  Lanes lanes_;
  std::vector<int> home_;  // the group that computes a node whole
  std::vector<int> level_;
  std::vector<bool> in_memory_;  // stored whatever fusion does
  std::vector<bool> chunks_;     // recurrences whose states at tiles are stored
  std::vector<bool> wide_;
  std::vector<bool> library_;
  std::set<NodeId> copies_;  // outputs that are copies of views
  std::vector<FusedGroup> groups_;
  std::vector<Break> breaks_;
  std::map<uint32_t, std::vector<int>> memory_readers_;  // of library results and other groups' values

  Graph out_;
  std::map<std::pair<int, uint32_t>, NodeId> emitted_;  // (group or -1, node) -> new node
  std::map<uint32_t, NodeId> chunk_nodes_;
};

}  // namespace mambac
