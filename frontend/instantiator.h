// Syntax tree to graph: blocks are inlined, repeats unrolled, static arguments evaluated, dimensions made.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/library.h"
#include "ir/graph.h"

namespace mambac {

/// A name of the static world: a number that may serve as a dimension, or a free dimension. Passing a bare name to a
/// block shares the Static, so caller and callee mean the same dimension.
struct Static {
  std::string name;
  double value = 0;
  bool free = false;
  std::optional<DimId> dim;  // made at the first use as a dimension
};
using StaticPtr = std::shared_ptr<Static>;
using StaticMap = std::map<std::string, StaticPtr, std::less<>>;

/// One block being inlined.
struct Frame {
  const BlockDef* block = nullptr;
  const Frame* caller = nullptr;
  std::string scope;  // checkpoint names of its parameters begin with this
  StaticMap statics;
  std::vector<std::map<std::string, NodeId, std::less<>>> values;  // innermost last; an absent id: input not given
};

struct Result {
  std::string name;  // empty: not named by the block
  NodeId value;
  Location location;
};

enum class TextKind : uint8_t {
  definition,  // nodes are placed where the text has them; unused values are dropped
  dump,        // nodes are placed where `@` says; the graph is exactly what is written
};

class Instantiator {
 public:
  Instantiator(const Library& library, TextKind kind);

  Graph& graph() { return graph_; }

  /// The block as a whole graph: its inputs become inputs, its results outputs. Optional inputs are left out unless
  /// `optional_inputs` has them.
  void main(const BlockDef& block, const std::map<std::string, double>& statics,
            const std::set<std::string>& optional_inputs);

  /// Inlines a prelude block on values of the graph; static arguments in order, each a dimension.
  NodeId apply(const std::string& block, const std::vector<DimId>& dims, const std::vector<NodeId>& operands,
               const std::string& name);

  /// The value of an expression of numbers and declared dimensions, as in a preset.
  double number(const Expr& expr) const { return static_number(Frame(), expr); }

  /// Checked append (limits on nodes and elements).
  NodeId append(Node node);

 private:
  // instantiator.cpp: blocks and statements
  std::vector<Result> run(const BlockDef& block, StaticMap statics, const std::vector<NodeId>& operands, Frame* caller,
                          const Location& called_at, const std::string& scope, const std::string& name);
  std::vector<Result> body(Frame& frame, const std::string& name);
  void statements(Frame& frame, const std::vector<Statement>& list);
  void statement(Frame& frame, const Statement& statement);
  void assign(Frame& frame, const Statement& statement);
  void repeat(Frame& frame, const Statement& statement);
  std::vector<Result> give(Frame& frame, const Statement& statement, const std::string& name);
  void check_result_types(Frame& frame, const std::vector<Result>& results);
  NodeId input(Frame& frame, const std::string& name, const TypeExpr& type, const Location& location,
               const Place& place);
  void place(NodeId id, const Place& place);
  void define(Frame& frame, const Target& target, NodeId value);
  void check_type(Frame& frame, const std::string& what, NodeId value, const TypeExpr& expected);
  void output(const Result& result);
  std::string join_scope(Frame& frame, const std::string& scope, const Location& where);

  // parameters.cpp
  void param(Frame& frame, const Statement& statement);
  Initialiser initialiser(Frame& frame, const Statement& statement);
  void claim_checkpoint_name(const Frame& frame, const std::string& name, const Location& location);

  // expressions.cpp
  NodeId value(Frame& frame, const Expr& expr, const std::string& name, bool absent_allowed = false);
  NodeId named_value(Frame& frame, const Expr& expr, bool absent_allowed);
  NodeId constant(double number, const Location& location, const std::string& name);
  /// What a value is called that the definition does not name: after the one that it leads to, so that an edit of a
  /// line changes no names but those of the values of that line.
  std::string unnamed(std::string_view op) const;
  NodeId node(Op op, std::vector<NodeId> operands, const Location& location, const std::string& name);
  std::vector<NodeId> call(Frame& frame, const Expr& expr, const std::vector<std::string>& names);
  std::vector<NodeId> call_op(Frame& frame, const Expr& expr, Op op, const std::vector<std::string>& names);
  std::vector<NodeId> call_block(Frame& frame, const Expr& expr, const BlockDef& block,
                                 const std::vector<std::string>& names);
  std::vector<NodeId> op_operands(Frame& frame, const Expr& expr, const OpInfo& op);
  std::vector<NodeId> block_operands(Frame& frame, const Expr& expr, const BlockDef& block);
  NodeId last_state(NodeId id, const Location& location, const std::string& name);
  const NodeId* find_value(const Frame& frame, std::string_view name) const;

  // unknown_names.cpp: each says the likeliest mistake
  [[noreturn]] void unknown_value(const Frame& frame, const Expr& expr) const;
  [[noreturn]] void unknown_call(const Frame& frame, const Expr& expr) const;
  [[noreturn]] void unknown_dimension(const Frame& frame, const Expr& expr) const;

  // attributes.cpp
  Attrs attributes(Frame& frame, const Expr& expr, const OpInfo& op);

  // statics.cpp
  void declare_dims();
  void declare_kernels();
  StaticPtr find_static(const Frame& frame, std::string_view name) const;
  StaticPtr bind_static(Frame& frame, const Expr& expr, const std::string& name);
  StaticMap bind_statics(Frame& frame, const Expr& call, const BlockDef& block);
  void add_fallbacks(StaticMap& statics, const BlockDef& block, const Location& where);
  bool is_static(const Frame& frame, const Expr& expr) const;
  double static_number(const Frame& frame, const Expr& expr) const;
  double static_function(const Frame& frame, const Expr& expr) const;
  int64_t static_integer(const Frame& frame, const Expr& expr) const;
  DimId dimension(const Frame& frame, const Expr& expr);
  DimId dimension(Static& entry, const Location& where);
  DimId fixed_dim(const std::string& name, double size, const Location& where);
  DimId tiles(DimId base, const Expr& divisor, const Location& where);
  Type type(const Frame& frame, const TypeExpr& expr);

  void count_step(const Location& where);

  const Library& library_;
  TextKind kind_;
  Graph graph_;
  StaticMap globals_;
  std::map<std::pair<std::string, int64_t>, DimId> fixed_dims_;
  std::map<std::string, int> dim_suffixes_;
  std::map<std::string, Location> checkpoint_names_;
  std::string about_;  // the named value that is being computed
  int64_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace mambac
