// The graph: nodes in SSA form, owned by an arena and named by index, in topological order.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ir/error.h"
#include "ir/op.h"
#include "ir/type.h"

namespace mambac {

/// An index into Graph::nodes(). Default-constructed: absent (an optional operand that was not given).
struct NodeId {
  uint32_t index = UINT32_MAX;
  bool present() const { return index != UINT32_MAX; }
  auto operator<=>(const NodeId&) const = default;
};

/// How a parameter is filled before training. The formulas of `dt_bias` and `log_arange` are those of Mamba
/// (arXiv 2312.00752, section 3.6 and its reference code).
struct Initialiser {
  enum Kind : uint8_t {
    none,        // must come from a checkpoint
    zeros,
    ones,
    constant,    // a
    normal,      // mean a, standard deviation b
    uniform,     // in [a, b)
    log_arange,  // log(1), log(2), ... along the last dimension
    dt_bias,     // inverse softplus of a log-uniform value in [a, b], at least 1e-4
    log_uniform_ring,  // real x with exp(-exp(x)) uniform in [a, b]: decays of an LRU on a ring
  };
  Kind kind = none;
  double a = 0;
  double b = 0;
};

struct ParamInfo {
  std::string checkpoint_name;  // unique in a graph
  Initialiser init;
  bool weight_decay = true;
};

struct Attrs {
  std::vector<DimId> dims;   // in the order of the attribute text
  int64_t integer = 0;       // `i`
  double number = 0;         // `f`
  DType dtype = DType::f32;  // `t`, `t?`
  bool reverse = false;

  bool operator==(const Attrs&) const = default;
};

struct Node {
  Op op = Op::Const;
  // One per operand of the table (absent optionals included); variadic ops: as many as given.
  std::vector<NodeId> operands;
  Attrs attrs;
  Type type;
  std::string name;    // unique in the graph
  Location location;
  ParamInfo param;     // Param only
  int kernel = -1;     // set by fuse: the kernel that computes this node; -1 before fusion and for sources and views
};

struct Output {
  std::string name;  // unique among outputs
  NodeId value;
};

/// One fused kernel: the loops that its nodes share. Every dimension of its nodes has one role.
struct KernelGroup {
  enum Kind : uint8_t { walk, rows, library };
  Kind kind = rows;
  std::string name;           // says what was fused; unique in a graph
  DimId along{};              // walk: the dimension that is walked
  bool reverse = false;       // walk: from the end
  DimId lane{};               // its elements are in lanes; absent where none is worth it
  std::vector<DimId> outer;   // in any order, divided into tasks; only sums ready after the kernel go across them
  std::vector<DimId> inner;   // loops inside a lane

  bool operator==(const KernelGroup&) const = default;
};

class Graph {
 public:
  std::string name = "main";
  std::vector<KernelGroup> kernels;  // filled by fuse; Node::kernel indexes it

  const std::vector<Dim>& dims() const { return dims_; }
  const Dim& dim(DimId id) const { return dims_[id.index]; }
  Dim& dim(DimId id) { return dims_[id.index]; }
  /// Adds a dimension, or returns the one of that name. InternalError when it is there with another size.
  DimId add_dim(const std::string& name, int64_t size);
  /// The free dimension "base/divisor" that counts tiles.
  DimId add_tiles(DimId base, int64_t divisor);
  std::optional<DimId> find_dim(std::string_view name) const;

  const std::vector<Node>& nodes() const { return nodes_; }
  size_t size() const { return nodes_.size(); }
  const Node& node(NodeId id) const { return nodes_[id.index]; }
  Node& node(NodeId id) { return nodes_[id.index]; }
  /// Appends a node whose operands are already there; infers its type (for Input and Param the given type stands).
  /// The name is made unique by a suffix. InputError at the node's location when the op's rules are broken.
  NodeId append(Node node);

  std::vector<Output>& outputs() { return outputs_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  std::optional<NodeId> find(std::string_view name) const;

  /// Gives nodes these names, which are unique; nodes for which there is none ("") keep theirs, or get it with a suffix
  /// when it is taken or a name of `reserved`.
  void rename(const std::vector<std::string>& names, const Graph& reserved);

  /// Nodes that no output needs are removed (inputs and params stay when keep_sources).
  void remove_dead(bool keep_sources = true);

 private:
  std::string unique_name(const std::string& wanted);

  std::vector<Dim> dims_;
  std::vector<Node> nodes_;
  std::vector<Output> outputs_;
  std::map<std::string, NodeId, std::less<>> by_name_;
  std::map<std::string, int, std::less<>> suffixes_;
};

/// The type of a node from its op, operands and attributes: the shape rule of the op table.
/// Throws InputError at the node's location, naming op, what was found and what was expected.
Type infer_type(const Graph& graph, const Node& node);

/// "f32[B, L, D]"
std::string type_text(const Graph& graph, const Type& type);

/// The operand of that name in the op table, absent when optional and not given.
NodeId operand(const Node& node, std::string_view name);

/// Sizes of the free dimensions, by name.
using Bindings = std::map<std::string, int64_t, std::less<>>;

/// The size of a dimension under bindings. InputError when a free dimension is not bound.
int64_t size_of(const Graph& graph, DimId dim, const Bindings& bindings);
/// The number of elements of a value. InputError on overflow of 2^62.
int64_t elements_of(const Graph& graph, const Type& type, const Bindings& bindings);

}  // namespace mambac
