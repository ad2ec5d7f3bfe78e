#include "passes/fuse_prepare.h"

#include <fmt/format.h>

#include <algorithm>

#include "ir/builder.h"
#include "passes/contraction.h"
#include "passes/rewrite.h"
#include "passes/widths.h"

namespace mambac {

namespace {

constexpr int64_t kInnerShift = 16;

bool has_dense_side(const Graph& graph, NodeId value);

/// What is done to a graph: first joins take the place of all that cuts or moves memory, then copies are put in where
/// memory is shared. The second step sees the ops that fusion will see, and so the same large contractions.
enum class Step { joins, copies };

/// Copies a graph node by node; what a rule rewrites is appended in its place.
class Preparer {
 public:
  Preparer(const Graph& graph, const FuseOptions& options, Step step)
      : graph_(graph), options_(options), step_(step), widths_(graph, options.fuse_projections), build_(out_) {}

  Graph run() {
    out_ = empty_like(graph_);
    std::vector<int> join_uses(graph_.size(), 0);
    for (const Node& n : graph_.nodes())
      if (is_join(n))
        for (NodeId o : n.operands) ++join_uses[o.index];
    for (const Output& output : graph_.outputs()) join_uses[output.value.index] += 2;  // outputs own their memory
    join_uses_ = std::move(join_uses);
    for (uint32_t i = 0; i < graph_.size(); ++i) map_.push_back(rewrite(NodeId{i}));
    std::vector<NodeId> taken;
    for (const Output& output : graph_.outputs()) {
      NodeId value = map_[output.value.index];
      const Node& n = out_.node(value);
      const bool shared = step_ == Step::copies && (class_of(n.op) == OpClass::Source || is_view(out_, value) ||
                                                    std::find(taken.begin(), taken.end(), value) != taken.end());
      if (shared) value = copy(value, output.name);
      taken.push_back(value);
      out_.outputs().push_back({output.name, value});
    }
    settle_names(out_, graph_, map_);
    return std::move(out_);
  }

 private:
  NodeId copy(NodeId value, const std::string& why) {
    build_.location = out_.node(value).location;
    build_.hint = out_.node(value).name + "." + why;
    const DType dtype = out_.node(value).type.dtype;
    return dtype == DType::f32 || dtype == DType::i32 ? build_.op(Op::Stop, {value}) : build_.cast(value, dtype);
  }

  NodeId rewrite(NodeId id) {
    Node n = graph_.node(id);
    for (NodeId& o : n.operands)
      if (o.present()) o = map_[o.index];
    build_.location = n.location;
    build_.hint = n.name;
    return step_ == Step::joins ? with_joins(id, n) : with_copies(id, std::move(n));
  }

  NodeId with_joins(NodeId id, const Node& n) {
    if (n.op == Op::After) return has_memory(n.operands[0]) ? out_.append(n) : n.operands[0];
    if (is_view(graph_, id)) return view(n.op, n.operands[0], n.attrs);
    if (n.op == Op::Unslice) return as_concat(n);
    if (n.op == Op::Shift && !is_inner_shift(n)) return shifted_concat(n);
    if (n.op == Op::Cast && is_join(out_.node(n.operands[0])) && only_read_by_cast(id)) return cast_join(n);
    return out_.append(n);
  }

  NodeId with_copies(NodeId id, Node n) {
    if (is_join(n)) prepare_join(id, n);
    if (is_library_call(id)) prepare_matrix(id, n);
    return out_.append(std::move(n));
  }

  /// A view; of an iota, which has no memory, an iota of the view's dimension or a number.
  NodeId view(Op op, NodeId x, const Attrs& attrs) {
    if (out_.node(x).op != Op::Iota) return build_.op(op, {x}, attrs);
    if (op == Op::Rename) return build_.op(Op::Iota, {}, {.dims = {attrs.dims[1]}});
    const NodeId offset = build_.constant(static_cast<double>(attrs.integer));
    if (op == Op::Slice) return build_.Add(build_.op(Op::Iota, {}, {.dims = {attrs.dims[1]}}), offset);
    if (attrs.integer >= 0) return offset;
    return build_.Add(build_.op(Op::Extent, {}, {.dims = {attrs.dims[0]}}), offset);
  }

  bool has_memory(NodeId value) const {
    const Op op = out_.node(value).op;
    return op != Op::Const && op != Op::Iota && op != Op::Extent;
  }

  bool is_library_call(NodeId id) const {
    return options_.library_contractions && widths_.large(id);
  }

  bool only_read_by_cast(NodeId cast) const {
    const NodeId join = graph_.node(cast).operands[0];
    return std::none_of(graph_.nodes().begin(), graph_.nodes().end(),
                        [&](const Node& n) {
                          return &n != &graph_.node(cast) &&
                                 std::find(n.operands.begin(), n.operands.end(), join) != n.operands.end();
                        }) &&
           join_uses_[join.index] == 0;
  }

  /// cast(concat(a, b)) -> concat(cast a, cast b): the rounding then happens where a and b are made.
  NodeId cast_join(const Node& cast) {
    Node join = out_.node(cast.operands[0]);
    for (NodeId& o : join.operands) {
      const Node& operand = out_.node(o);
      // A copy that was made for the join is replaced by the cast.
      const NodeId source = operand.op == Op::Stop ? operand.operands[0] : o;
      build_.hint = operand.name + ".cast";
      o = build_.cast(source, cast.attrs.dtype);
    }
    join.name = cast.name;
    return out_.append(std::move(join));
  }

  NodeId zeros(const Type& type) {
    // broadcast puts each new dim before the fixed ones
    const NodeId filling =
        build_.broadcast(build_.constant(0), std::vector<DimId>(type.dims.rbegin(), type.dims.rend()));
    return type.dtype == DType::f32 ? filling : build_.cast(filling, type.dtype);
  }

  /// Short enough for an inner loop, beside another dimension that makes lanes.
  bool is_inner_shift(const Node& n) const {
    const std::vector<DimId>& dims = n.type.dims;
    const auto fixed = std::count_if(dims.begin(), dims.end(), [&](DimId d) { return !out_.dim(d).is_free(); });
    return fixed >= 2 && out_.dim(n.attrs.dims[0]).size <= kInnerShift;
  }

  /// A shift in memory: what stays, beside zeros.
  NodeId shifted_concat(const Node& n) {
    const DimId whole = n.attrs.dims[0];
    const int64_t size = out_.dim(whole).size, by = std::clamp<int64_t>(n.attrs.integer, -size, size);
    const int64_t kept = size - std::abs(by);
    if (by == 0) return copy(n.operands[0], "part");
    if (kept == 0) return zeros(n.type);
    const DimId part = out_.add_dim(fmt::format("{}.{}", out_.dim(whole).name, kept), kept);
    Node pieces = n;
    pieces.attrs.dims = {part, whole};
    pieces.attrs.integer = std::max<int64_t>(by, 0);
    const Attrs cut{.dims = {whole, part}, .integer = std::max<int64_t>(-by, 0)};
    pieces.operands = {view(Op::Slice, n.operands[0], cut)};
    return as_concat(pieces);
  }

  NodeId as_concat(const Node& n) {
    const NodeId x = n.operands[0];
    const DimId part = n.attrs.dims[0], whole = n.attrs.dims[1];
    const int64_t before = n.attrs.integer, after = out_.dim(whole).size - before - out_.dim(part).size;
    Node join;
    join.op = Op::Concat;
    join.name = n.name;
    join.location = n.location;
    join.attrs.dims = {whole};
    auto fill = [&](int64_t size) {
      if (size == 0) return;
      const DimId gap = out_.add_dim(fmt::format("{}.{}", out_.dim(whole).name, size), size);
      Type type = out_.node(x).type;
      std::replace(type.dims.begin(), type.dims.end(), part, gap);
      build_.hint = n.name + ".zeros";
      join.operands.push_back(zeros(type));
      join.attrs.dims.push_back(gap);
    };
    fill(before);
    join.operands.push_back(copy(x, "part"));
    join.attrs.dims.push_back(part);
    fill(after);
    return out_.append(std::move(join));
  }

  void prepare_join(NodeId id, Node& n) {
    const std::vector<NodeId> originals = graph_.node(id).operands;
    for (size_t i = 0; i < n.operands.size(); ++i) {
      const Node& operand = out_.node(n.operands[i]);
      const bool owned = join_uses_[originals[i].index] == 1 && class_of(operand.op) != OpClass::Source &&
                         !is_view(out_, n.operands[i]) && !is_join(operand) && operand.op != Op::Gather &&
                         operand.op != Op::Scatter && operand.type.dtype == n.type.dtype &&
                         is_matrix_in(originals[i], n, i);
      if (!owned) n.operands[i] = copy(n.operands[i], "part");
    }
  }

  /// Whether a matrix product can write its result as part of the join: rows and columns have one stride each.
  bool is_matrix_in(NodeId original, const Node& join, size_t position) const {
    if (graph_.node(original).op != Op::Dot || !is_library_call(original)) return true;
    const DimId whole = join.attrs.dims[0];
    const DimId part = join.op == Op::Concat ? join.attrs.dims[position + 1] : DimId{};
    const ContractionSize sizes = contraction_dims(graph_, original);
    const std::vector<DimId>& memory = infer_type(out_, join).dims;
    for (const auto* kept : {&sizes.rows, &sizes.columns})
      for (size_t i = 0; i + 1 < kept->size(); ++i) {
        const auto above = std::find(memory.begin(), memory.end(), (*kept)[i] == part ? whole : (*kept)[i]);
        if ((*kept)[i + 1] == part || above + 1 == memory.end() || *(above + 1) != (*kept)[i + 1]) return false;
      }
    return true;
  }

  /// A copy with its dims, and so its memory, in this order.
  NodeId copy_in_order(NodeId value, const std::vector<DimId>& order, const std::string& why) {
    const DType dtype = out_.node(value).type.dtype;
    if (out_.node(value).type.dims == order) return copy(value, why);
    build_.location = out_.node(value).location;
    const std::string name = out_.node(value).name + "." + why;
    build_.hint = name + ".zeros";
    const NodeId filling = zeros({DType::f32, order});
    build_.hint = name;
    const NodeId moved = build_.Add(filling, value);
    check(out_.node(moved).type.dims == order, "a copy has another order of dimensions than was asked for");
    return dtype == DType::f32 || !is_float(dtype) ? moved : build_.cast(moved, dtype);
  }

  void prepare_matrix(NodeId id, Node& n) {
    const ContractionSize sizes = contraction_dims(graph_, id);
    n.attrs.dims = contracted_order(graph_, n);
    for (int side = 0; side < 2; ++side) {
      const std::vector<DimId>& kept = side == 0 ? sizes.rows : sizes.columns;
      const NodeId value = n.operands[static_cast<size_t>(side)];
      const Node& operand = out_.node(value);
      const bool matrix = is_one_stride(out_, value, kept) && is_one_stride(out_, value, n.attrs.dims) &&
                          has_dense_side(out_, value) && operand.op != Op::Const && operand.op != Op::Iota;
      if (!matrix)
        n.operands[static_cast<size_t>(side)] =
            copy_in_order(value, matrix_order(graph_, kept, n.attrs.dims), "matrix");
    }
  }

  const Graph& graph_;
  const FuseOptions& options_;
  const Step step_;
  const Widths widths_;
  Graph out_;
  Builder build_;
  std::vector<NodeId> map_;
  std::vector<int> join_uses_;
};

/// One side of a matrix must be dense: the innermost dimension in memory is one that the value has.
bool has_dense_side(const Graph& graph, NodeId value) {
  DimId innermost{};
  NodeId root = value;
  std::vector<DimId> dims = graph.node(value).type.dims;
  while (is_view(graph, root)) {
    const Node& view = graph.node(root);
    if (view.op == Op::Slice || view.op == Op::Rename) std::replace(dims.begin(), dims.end(), view.attrs.dims[1], view.attrs.dims[0]);
    root = view.operands[0];
  }
  const std::vector<DimId>& memory = graph.node(root).type.dims;
  if (memory.empty()) return true;
  innermost = memory.back();
  return std::find(dims.begin(), dims.end(), innermost) != dims.end();
}

}  // namespace

Graph prepare_fusion(const Graph& graph, const FuseOptions& options) {
  const Graph joined = Preparer(graph, options, Step::joins).run();
  Graph prepared = Preparer(joined, options, Step::copies).run();
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const Node& wanted = graph.node(graph.outputs()[i].value);
    if (prepared.node(prepared.outputs()[i].value).type == wanted.type) continue;
    throw InputError(
        wanted.location,
        fmt::format("output {}: found {}; expected what can be computed: floating-point numbers or u8, whose free "
                    "dimensions come first",
                    graph.outputs()[i].name, type_text(graph, wanted.type)));
  }
  return prepared;
}

bool is_one_stride(const Graph& graph, NodeId value, const std::vector<DimId>& dims) {
  if (dims.size() < 2) return true;
  // The order of dims in the memory of the root, with those that views cut or index marked as gaps.
  std::vector<DimId> order = graph.node(value).type.dims;
  NodeId root = value;
  std::vector<std::pair<DimId, DimId>> renamed;
  std::vector<DimId> cut;
  while (is_view(graph, root)) {
    const Node& view = graph.node(root);
    root = view.operands[0];
    if (view.op == Op::Slice || view.op == Op::Rename) {
      for (DimId& d : order)
        if (d == view.attrs.dims[1]) d = view.attrs.dims[0];
      if (view.op == Op::Slice) cut.push_back(view.attrs.dims[0]);
    }
  }
  const std::vector<DimId>& memory = graph.node(root).type.dims;
  std::vector<DimId> wanted;
  for (size_t i = 0; i < graph.node(value).type.dims.size(); ++i)
    if (std::find(dims.begin(), dims.end(), graph.node(value).type.dims[i]) != dims.end()) wanted.push_back(order[i]);
  // The given order must be the order in memory, and all but the outermost must be whole neighbours.
  for (size_t i = 0; i + 1 < wanted.size(); ++i) {
    const auto here = std::find(memory.begin(), memory.end(), wanted[i]);
    if (here == memory.end() || here + 1 == memory.end() || *(here + 1) != wanted[i + 1]) return false;
    if (std::find(cut.begin(), cut.end(), wanted[i + 1]) != cut.end()) return false;
  }
  std::vector<DimId> given = dims, found;
  for (DimId d : graph.node(value).type.dims)
    if (std::find(dims.begin(), dims.end(), d) != dims.end()) found.push_back(d);
  return given == found;
}

}  // namespace mambac
