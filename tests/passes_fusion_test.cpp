// Fusion of recurrences that nobody wrote: it keeps their meaning, forward and backward, and needs as few kernels as
// the rule of tests/strangers.h counts from their text.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "frontend/model.h"
#include "ir/print.h"
#include "passes/pipeline.h"
#include "tests/mixer_fusion.h"
#include "tests/random_graph.h"
#include "tests/strangers.h"

namespace mambac::test {
namespace {

constexpr uint64_t kStrangers = 1000;

/// Kernels that are generated, not library calls.
int generated_kernels(const Graph& fused) {
  std::set<int> kernels;
  for (const Node& node : fused.nodes()) {
    if (node.kernel >= 0 && fused.kernels[static_cast<size_t>(node.kernel)].kind != KernelGroup::library)
      kernels.insert(node.kernel);
  }
  return static_cast<int>(kernels.size());
}

std::vector<Stranger> all_strangers() {
  std::vector<Stranger> all = handwritten_strangers();
  for (uint64_t seed = 0; seed < kStrangers; ++seed) all.push_back(stranger(seed));
  return all;
}

PipelineOptions options_for(bool backward) {
  PipelineOptions options;
  options.kind = backward ? GraphKind::train : GraphKind::eval;
  options.seeds = backward;
  return options;
}

/// The fused graph computes what the source does, with gradients when `backward`.
void expect_same(const Graph& source, Bindings bindings, const Ranges& ranges, bool backward) {
  bindings["L"] = std::min<int64_t>(bindings["L"], 12);
  Arrays values, expected;
  run_pipeline(source, options_for(backward), [&](std::string_view stage, const Graph& graph) {
    if (stage == (backward ? "differentiate" : "source")) {
      values = draw_values(graph, bindings, ranges, 31);
      expected = evaluate(graph, bindings, values);
    }
    if (stage != "fuse") return;
    std::string worst;
    EXPECT_LE(difference(evaluate(graph, bindings, values), expected, 1e-8, 1e-8, &worst), 1) << worst;
  });
}

TEST(Fusion, KeepsTheMeaningOfStrangers) {
  for (const Stranger& s : all_strangers()) {
    for (bool backward : {false, true}) {
      SCOPED_TRACE(s.name + (backward ? " backward: " : " forward: ") + s.text);
      EXPECT_NO_THROW(expect_same(s.graph, s.bindings, s.ranges, backward));
    }
  }
}

TEST(Fusion, KeepsTheMeaningOfRandomGraphs) {
  for (uint64_t seed = 3000; seed < 3300; ++seed) {
    RandomGraph random = random_graph(seed);
    SCOPED_TRACE(seed);
    EXPECT_NO_THROW({
      const PipelineResult fused = run_pipeline(random.graph, options_for(false));
      EXPECT_LE(difference(evaluate(fused.graph, random.bindings, random.values),
                           evaluate(random.graph, random.bindings, random.values), 1e-9, 1e-9),
                1);
    });
  }
}

TEST(Fusion, StrangersLieInAsFewKernelsAsTheRuleCounts) {
  const std::vector<Stranger> all = all_strangers();
  int good = 0, least = 0;
  for (const Stranger& s : all) {
    PipelineResult result;
    ASSERT_NO_THROW(result = run_pipeline(s.graph, options_for(false))) << s.name << ": " << s.text;
    const int kernels = generated_kernels(result.graph);
    least += kernels <= s.fewest_kernels;
    if (kernels <= s.most_kernels) {
      ++good;
      continue;
    }
    std::printf("%s: %d kernels, the rule counts %d: %s\n", s.name.c_str(), kernels, s.most_kernels, s.text.c_str());
    for (const Remark& remark : result.remarks) std::printf("  %s: %s\n", remark.node.c_str(), remark.text.c_str());
  }
  std::printf("%d of %zu strangers lie in as few kernels as the rule counts, %d in the fewest\n", good, all.size(),
              least);
  EXPECT_EQ(good, static_cast<int>(all.size()));
}

// ---- single strangers: which loops they get -------------------------------------------------------------------------

std::vector<KernelGroup> walks_of(const Graph& fused) {
  std::vector<KernelGroup> walks;
  std::copy_if(fused.kernels.begin(), fused.kernels.end(), std::back_inserter(walks),
               [](const KernelGroup& group) { return group.kind == KernelGroup::walk; });
  return walks;
}

std::vector<std::string> names_of(const Graph& graph, const std::vector<DimId>& dims) {
  std::vector<std::string> names;
  for (DimId d : dims) names.push_back(graph.dim(d).name);
  return names;
}

/// The kernels that run recurrences of this name and place whole, or restarted at tiles.
int kernels_with(const Graph& fused, const std::string& name, bool resumed) {
  const Location place = fused.node(*fused.find(name)).location;
  std::set<int> kernels;
  for (const Node& n : fused.nodes())
    if (n.op == Op::Scan && n.name.rfind(name, 0) == 0 && n.name.find("grad") == std::string::npos &&
        n.location.str() == place.str() && operand(n, "resume").present() == resumed)
      kernels.insert(n.kernel);
  return static_cast<int>(kernels.size());
}

TEST(Fusion, APlaneIsWalkedAlongBothSides) {
  const Stranger s = handwritten_stranger("plane-with-states");
  const Graph forward = run_pipeline(s.graph, options_for(false)).graph;
  const std::vector<KernelGroup> walks = walks_of(forward);
  ASSERT_EQ(walks.size(), 2u);
  EXPECT_EQ(forward.dim(walks[0].along).name, "W");
  EXPECT_EQ(names_of(forward, walks[0].outer), (std::vector<std::string>{"B", "L"}));
  EXPECT_EQ(forward.dim(walks[1].along).name, "L");
  EXPECT_EQ(names_of(forward, walks[1].outer), (std::vector<std::string>{"B", "W"}));
  const Graph backward = run_pipeline(s.graph, options_for(true)).graph;
  EXPECT_EQ(walks_of(backward).size(), 4u);  // each side, there and back
  for (const std::string& name : stored_states(backward)) EXPECT_TRUE(name.ends_with(".chunks")) << name;
}

TEST(Fusion, AMatrixMemoryHasItsHeadsOutsideAndItsNormaliserInside) {
  const Stranger s = handwritten_stranger("matrix-memory");
  const PipelineResult result = run_pipeline(s.graph, options_for(false));
  ASSERT_EQ(result.graph.kernels.size(), 1u);
  const KernelGroup& walk = result.graph.kernels[0];
  EXPECT_EQ(result.graph.dim(walk.lane).name, "D");
  EXPECT_EQ(names_of(result.graph, walk.outer), (std::vector<std::string>{"B", "H"}));
  EXPECT_EQ(names_of(result.graph, walk.inner), std::vector<std::string>{"N"});
  for (const Remark& remark : result.remarks)
    ADD_FAILURE() << remark.node << ": " << remark.text;  // nothing stopped it
  const Graph backward = run_pipeline(s.graph, options_for(true)).graph;
  for (const char* name : {"C", "n"})
    for (bool resumed : {false, true}) EXPECT_LE(kernels_with(backward, name, resumed), 1) << name;
}

TEST(Fusion, ProjectionsOntoAndFromHeadsAreLibraryCalls) {
  const Stranger s = handwritten_stranger("heads");
  const Graph forward = run_pipeline(s.graph, options_for(false)).graph;
  EXPECT_EQ(forward.kernels.size(), 7u);  // six products around a walk
  EXPECT_EQ(generated_kernels(forward), 1);
  const std::vector<KernelGroup> walks = walks_of(forward);
  ASSERT_EQ(walks.size(), 1u);
  EXPECT_EQ(names_of(forward, walks[0].outer), (std::vector<std::string>{"B", "H"}));
  const Graph backward = run_pipeline(s.graph, options_for(true)).graph;
  EXPECT_EQ(walks_of(backward).size(), 2u);
  EXPECT_EQ(kernels_with(backward, "h", true), 1);
}

TEST(Fusion, StatesOfFourDirectionsAreAddedUpWhenTheyAreRead) {
  const Stranger s = handwritten_stranger("four-directions");
  for (bool backward : {false, true}) {
    const Graph fused = run_pipeline(s.graph, options_for(backward)).graph;
    EXPECT_EQ(walks_of(fused).size(), 4u) << (backward ? "there and back: each walk has what goes its way" : "");
    for (const std::string& name : stored_states(fused)) EXPECT_TRUE(name.ends_with(".chunks")) << name;
  }
}

TEST(Fusion, WithoutChannelsLanesAreNeighboursThatAreNotWalked) {
  const Stranger s = handwritten_stranger("plane-without-channels");
  for (bool backward : {false, true}) {
    const Graph fused = run_pipeline(s.graph, options_for(backward)).graph;
    for (const KernelGroup& walk : walks_of(fused)) {
      const bool across = fused.dim(walk.along).name == "W";
      EXPECT_EQ(walk.lane, across ? DimId{} : *fused.find_dim("W")) << walk.name;
      EXPECT_EQ(walk.outer.size(), across ? 2u : 1u) << walk.name;
    }
  }
}

TEST(Fusion, TapsAreNoLanesHoweverManyTheyAre) {
  const Stranger s = handwritten_stranger("taps-without-channels");
  const std::vector<KernelGroup> forward = walks_of(run_pipeline(s.graph, options_for(false)).graph);
  ASSERT_EQ(forward.size(), 1u);
  EXPECT_EQ(s.graph.dim(forward[0].lane).name, "D");
  EXPECT_EQ(names_of(s.graph, forward[0].inner), std::vector<std::string>{"K"});
}

// ---- the shipped models -------------------------------------------------------------------------------------------

class ShippedMixers : public testing::TestWithParam<std::tuple<std::string, GraphKind, DType>> {};

TEST_P(ShippedMixers, AreOneKernelBetweenTheirProjections) {
  const auto& [name, kind, storage] = GetParam();
  const Model model = load_model(name);
  PipelineOptions options;
  options.kind = kind;
  options.storage = storage;
  const PipelineResult result =
      run_pipeline(kind == GraphKind::train ? training_graph(model) : instantiate(model), options);
  const Graph& graph = result.graph;
  const std::vector<MixerCore> cores = mixer_cores(graph);
  EXPECT_EQ(cores.size(), name == "mambabyte:353m" ? 53u : 1u);
  for (const MixerCore& core : cores) {
    const int kernel = graph.node(core.scan).kernel;
    for (NodeId id : core.nodes) EXPECT_EQ(graph.node(id).kernel, kernel) << graph.node(id).name;
    std::set<Op> ops;
    for (const Node& node : graph.nodes())
      if (node.kernel == kernel) ops.insert(node.op);
    if (name != "mambabyte:353m") continue;
    // The dt projection, softplus, discretisation, recurrence, read-out and gate (of another projection's result).
    for (Op op : {Op::Dot, Op::Softplus, Op::Exp, Op::Scan, Op::Sum, Op::Sigmoid})
      EXPECT_TRUE(ops.count(op)) << name_of(op);
  }
  EXPECT_EQ(stored_states(graph), std::vector<std::string>());
  for (const Remark& remark : result.remarks) EXPECT_FALSE(remark.text.empty()) << remark.node;
}

INSTANTIATE_TEST_SUITE_P(All, ShippedMixers,
                         testing::Combine(testing::Values("mambabyte:353m", "s5-diagonal", "mingru", "rg-lru"),
                                          testing::Values(GraphKind::train, GraphKind::prefill),
                                          testing::Values(DType::f32, DType::bf16)),
                         [](const auto& info) {
                           std::string text = std::get<0>(info.param) + "_" +
                                              std::string(name_of(std::get<1>(info.param))) + "_" +
                                              name_of(std::get<2>(info.param));
                           for (char& c : text)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return text;
                         });

// ---- one step in few kernels ----------------------------------------------------------------------------------------

/// Kernels of a step that run every time: of values with a free dimension.
int kernels_of_a_step(const std::string& name, int64_t layers, bool few_kernels, DType storage = DType::bf16) {
  Model model = load_model(name);
  if (layers > 0) set(model, {{"layers", layers}});
  PipelineOptions options;
  options.kind = GraphKind::step;
  options.storage = storage;
  options.narrow_parameters = true;
  options.fuse.library_contractions = false;
  options.fuse.few_kernels = few_kernels;
  const Graph graph = run_pipeline(instantiate(model), options).graph;
  std::set<int> kernels;
  for (const Node& node : graph.nodes())
    if (node.kernel >= 0 &&
        std::any_of(node.type.dims.begin(), node.type.dims.end(), [&](DimId d) { return graph.dim(d).is_free(); }))
      kernels.insert(node.kernel);
  return static_cast<int>(kernels.size());
}

/// Norm, product, short convolution, parts of the x projection; their sum, dt projection, states, gate; product and
/// residual. Beside these, the look-up and the head with its norm.
TEST(FewKernels, ALayerOfMambaTakesThree) {
  for (const DType storage : {DType::f32, DType::bf16}) {
    EXPECT_EQ(kernels_of_a_step("mambabyte:353m", 3, true, storage), 3 * 3 + 2);
    EXPECT_EQ(kernels_of_a_step("mambabyte:972m", 2, true, storage), 2 * 3 + 2);
    EXPECT_EQ(kernels_of_a_step("mamba-lm:130m", 2, true, storage), 2 * 3 + 2);
    EXPECT_EQ(kernels_of_a_step("mamba-lm:2.8b", 1, true, storage), 3 + 2);
  }
  EXPECT_EQ(kernels_of_a_step("mambabyte:353m", 3, false), 3 * 7 + 3);
}

/// Products that follow one another need a kernel each where the second one has many results; what lies between them
/// goes along.
TEST(FewKernels, OtherMixersTakeOneForEachProductInARow) {
  EXPECT_EQ(kernels_of_a_step("mingru", 0, true), 2);
  EXPECT_EQ(kernels_of_a_step("rg-lru", 0, true), 3);
  EXPECT_EQ(kernels_of_a_step("s5-diagonal", 0, true), 2);
}

}  // namespace
}  // namespace mambac::test
