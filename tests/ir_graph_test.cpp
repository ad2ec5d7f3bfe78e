#include <algorithm>
#include <set>

#include "ir/cost.h"
#include "ir/op_reference.h"
#include "tests/ir_support.h"

namespace mambac {
namespace {

TEST(OpTable, NamesAreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const OpInfo& op : op_table()) {
    EXPECT_TRUE(names.insert(op.name).second) << op.name;
    EXPECT_EQ(op_from(op.name), op.op);
    EXPECT_EQ(&info(op.op), &op);
    EXPECT_FALSE(op.meaning.empty());
  }
  EXPECT_EQ(op_from("convolution"), std::nullopt);
}

TEST(OpTable, OperandsAndAttributesAreParsed) {
  const OpInfo& scan = info(Op::Scan);
  ASSERT_EQ(scan.operands.size(), 5u);
  EXPECT_EQ(scan.operands[0].name, "decay");
  EXPECT_FALSE(scan.operands[1].optional);
  EXPECT_TRUE(scan.operands[2].optional);
  EXPECT_EQ(scan.operands[4].name, "resume");
  EXPECT_EQ(scan.attributes, (std::vector<std::string_view>{"d", "reverse?"}));
  EXPECT_TRUE(info(Op::Concat).operands[0].variadic);
  EXPECT_TRUE(info(Op::Const).operands.empty());
  EXPECT_TRUE(info(Op::Scatter).gradient_missing);
  EXPECT_TRUE(info(Op::Stop).gradient_none);
  EXPECT_EQ(operand_index(Op::Scan, "starts"), 3);
  EXPECT_EQ(operand_index(Op::Scan, "x"), -1);
}

TEST(OpReference, HasEveryOp) {
  std::string page = op_reference_markdown();
  for (const OpInfo& op : op_table()) {
    expect_contains(page, std::string("`").append(op.name));
  }
  expect_contains(page, "`scan<d, reverse?>(decay, input, start?, starts?, resume?)`");
}

TEST(Graph, NamesAreMadeUnique) {
  Bench t;
  t.b.hint = "x";
  NodeId first = t.b.constant(1), second = t.b.constant(2), third = t.b.constant(3);
  EXPECT_EQ(t.graph.node(first).name, "x");
  EXPECT_EQ(t.graph.node(second).name, "x.1");
  EXPECT_EQ(t.graph.node(third).name, "x.2");
  t.b.hint = "x.1";
  EXPECT_EQ(t.graph.node(t.b.constant(4)).name, "x.3");
  EXPECT_EQ(t.graph.find("x.2"), third);
  EXPECT_EQ(t.graph.find("y"), std::nullopt);
}

TEST(Graph, RemoveDeadKeepsWhatOutputsNeed) {
  Bench t;
  NodeId x = t.in("x", {t.L, t.D});
  NodeId unused = t.in("unused", {t.L});
  t.b.Neg(unused);
  NodeId y = t.b.Exp(x);
  t.graph.outputs() = {{"y", y}};
  t.graph.remove_dead();
  EXPECT_EQ(t.graph.size(), 3u);
  EXPECT_TRUE(t.graph.find("unused"));
  t.graph.remove_dead(false);
  EXPECT_EQ(t.graph.size(), 2u);
  EXPECT_FALSE(t.graph.find("unused"));
  EXPECT_EQ(t.graph.node(t.graph.outputs()[0].value).op, Op::Exp);
  verify(t.graph);
}

TEST(Graph, TilesAndSizes) {
  Bench t;
  EXPECT_EQ(t.graph.dim(t.tiles).name, "L/3");
  EXPECT_EQ(size_of(t.graph, t.tiles, t.bindings), 3);  // ceil(7 / 3)
  EXPECT_EQ(t.graph.add_tiles(t.L, 3), t.tiles);
  EXPECT_EQ(size_of(t.graph, t.K, {}), 4);
  expect_contains(message_of<InputError>([&] { size_of(t.graph, t.L, {}); }), "L");
  expect_contains(message_of<InputError>([&] { size_of(t.graph, t.L, {{"L", 0}}); }), "found size 0");
  EXPECT_EQ(elements_of(t.graph, {DType::f32, {t.B, t.L, t.D}}, t.bindings), 42);
  Bindings huge{{"B", int64_t{1} << 40}, {"L", int64_t{1} << 40}};
  expect_contains(message_of<InputError>([&] { elements_of(t.graph, {DType::f32, {t.B, t.L}}, huge); }), "2^62");
  EXPECT_THROW(t.graph.add_dim("D", 5), InternalError);
  EXPECT_EQ(t.graph.add_dim("D", 3), t.D);
}

TEST(Graph, TypeText) {
  Bench t;
  EXPECT_EQ(type_text(t.graph, {DType::bf16, {t.B, t.D}}), "bf16[B, D]");
  EXPECT_EQ(type_text(t.graph, {}), "f32[]");
}

TEST(Verify, NamesTheNode) {
  Bench t;
  t.b.hint = "broken";
  NodeId y = t.b.Exp(t.in("x", {t.L, t.D}));
  t.graph.node(y).type = {DType::f32, {t.D}};
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "'broken'");
  t.graph.node(y).type = {DType::f32, {t.L, t.D}};
  verify(t.graph);
  t.graph.node(y).operands[0] = y;
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "'broken'");
}

TEST(Verify, NamesAndOutputs) {
  Bench t;
  NodeId x = t.in("x", {t.D});
  t.graph.node(t.b.Exp(x)).name = "x";
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "twice");
  Bench other;
  other.graph.outputs() = {{"y", NodeId{}}};
  expect_contains(message_of<InternalError>([&] { verify(other.graph); }), "'y'");
}

TEST(Verify, KernelsInACycle) {
  Bench t;
  NodeId a = t.b.Exp(t.in("x", {t.D}));
  NodeId middle = t.b.Neg(a);
  NodeId c = t.b.Add(a, middle);
  for (NodeId id : {a, middle, c}) t.graph.node(id).kernel = 0;
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "kernel 0 is not there");
  t.graph.kernels.assign(2, {KernelGroup::rows, "k0", {}, false, t.D, {}, {}});
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "kernel k0 is there twice");
  t.graph.kernels[1].name = "k1";
  verify(t.graph);
  t.graph.node(middle).kernel = 1;
  expect_contains(message_of<InternalError>([&] { verify(t.graph); }), "cycle");
}

/// One dimension in two roles, or in none, is not what its kernel's loops do.
TEST(Verify, RolesOfDimensions) {
  Bench t;
  NodeId x = t.in("x", {t.B, t.L, t.D});
  t.graph.node(t.b.scan(t.b.constant(1), x, t.D)).kernel = 0;
  const auto problem = [&](DimId along, DimId lane, Dims outer, Dims inner) {
    t.graph.kernels = {{KernelGroup::walk, "k0", along, false, lane, std::move(outer), std::move(inner)}};
    return message_of<InternalError>([&] { verify(t.graph); });
  };
  EXPECT_EQ(problem(t.D, {}, {t.B, t.L}, {}), "");
  expect_contains(problem(t.D, t.D, {t.B, t.L}, {}), "two roles");
  expect_contains(problem(t.D, t.L, {t.B, t.L}, {}), "two roles");
  expect_contains(problem(t.D, {}, {t.B}, {t.D, t.L}), "two roles");
  expect_contains(problem(t.D, {}, {t.B}, {}), "L has no role");
  expect_contains(problem(t.L, t.D, {t.B}, {}), "does not walk along D");
  t.graph.node(t.b.op(Op::Window, {x, {}, {}, {}}, {.dims = {t.D, t.K}})).kernel = 0;
  EXPECT_EQ(problem(t.D, {}, {t.B, t.L}, {t.K}), "");
  expect_contains(problem(t.D, t.K, {t.B, t.L}, {}), "taps");
}

/// A recurrence that goes against the walk must resume from stored states; one that goes with it does not.
TEST(Verify, DirectionsOfRecurrences) {
  Bench t;
  const NodeId x = t.in("x", {t.B, t.L, t.D}), decay = t.b.constant(0.5);
  const NodeId h = t.b.scan(decay, x, t.L);
  const NodeId states = t.b.op(Op::ChunkStarts, {h, {}}, {.dims = {t.L, t.tiles}});
  const NodeId again = t.b.op(Op::Scan, {decay, x, {}, {}, states}, {.dims = {t.L}});
  const auto problem = [&](NodeId recurrence, bool reverse) {
    for (NodeId id : {h, again}) t.graph.node(id).kernel = id == recurrence ? 0 : -1;
    t.graph.kernels = {{KernelGroup::walk, "k0", t.L, reverse, t.D, {t.B}, {}}};
    return message_of<InternalError>([&] { verify(t.graph); });
  };
  EXPECT_EQ(problem(h, false), "");
  EXPECT_EQ(problem(again, true), "");
  expect_contains(problem(h, true), "against the walk of kernel k0");
  expect_contains(problem(again, false), "it resumes, and goes the way of kernel k0");
}

/// A walk reads starts at steps to come: what it computes itself, behind a view or not, is not there yet.
TEST(Verify, StartsLieInMemory) {
  Bench t;
  const NodeId x = t.in("x", {t.B, t.L, t.D}), flags = t.b.op(Op::Lt, {t.in("s", {t.B, t.L, t.N}), t.b.constant(0)});
  const NodeId cut = t.b.at(flags, t.N, 0);
  t.graph.node(t.b.scan(t.b.constant(0.5), x, t.L, false, {}, cut)).kernel = 0;
  const auto problem = [&](int of_flags, int of_cut) {
    t.graph.kernels = {{KernelGroup::walk, "k0", t.L, false, t.D, {t.B}, {t.N}},
                       {KernelGroup::rows, "k1", {}, false, t.N, {t.B, t.L}, {}}};
    t.graph.node(flags).kernel = of_flags;
    t.graph.node(cut).kernel = of_cut;
    return message_of<InternalError>([&] { verify(t.graph); });
  };
  EXPECT_EQ(problem(1, -1), "");
  expect_contains(problem(0, -1), "kernel k0 computes its starts");
  expect_contains(problem(0, 0), "kernel k0 computes its starts");
}

TEST(Verify, LibraryCalls) {
  Bench t;
  const NodeId x = t.in("x", {t.B, t.L, t.D}), w = t.in("w", {t.D, t.N});
  const NodeId y = t.b.dot(x, w, {t.D}), z = t.b.dot(t.b.Exp(x), w, {t.D}), e = t.b.Exp(y);
  t.graph.kernels = {{KernelGroup::library, "k0", {}, false, {}, {}, {}}};
  const auto problem = [&](std::vector<NodeId> members) {
    for (NodeId id : {y, z, e}) t.graph.node(id).kernel = std::ranges::find(members, id) != members.end() ? 0 : -1;
    return message_of<InternalError>([&] { verify(t.graph); });
  };
  EXPECT_EQ(problem({y}), "");
  expect_contains(problem({e}), "a library call is a dot");
  expect_contains(problem({y, z}), "another node");
}

TEST(Cost, FollowsTheTable) {
  Bench t;
  NodeId x = t.in("x", {t.B, t.L, t.D}), w = t.in("w", {t.D, t.N});
  NodeId e = t.b.Exp(x);
  NodeId y = t.b.dot(e, w, {t.D});
  NodeId s = t.b.sum(y, {t.N});
  Cost exp = cost_of(t.graph, e, t.bindings), dot = cost_of(t.graph, y, t.bindings),
       sum = cost_of(t.graph, s, t.bindings);
  EXPECT_EQ(exp.exponentials, 42);
  EXPECT_EQ(exp.bytes_read, 42 * 4);
  EXPECT_EQ(exp.bytes_written, 42 * 4);
  EXPECT_EQ(dot.flops, 2 * 2 * 7 * 2 * 3);
  EXPECT_EQ(dot.bytes_read, (42 + 6) * 4);
  EXPECT_EQ(sum.flops, 28);
  Cost all = cost_of(t.graph, t.bindings);
  EXPECT_EQ(all.flops, exp.flops + dot.flops + sum.flops);
  EXPECT_EQ(cost_of(t.graph, x, t.bindings).bytes_written, 0);
  NodeId square = t.b.Mul(x, x);
  EXPECT_EQ(cost_of(t.graph, square, t.bindings).bytes_read, 42 * 4);
}

}  // namespace
}  // namespace mambac
