// One step at a time gives what the whole sequence gives, and a sequence may be cut anywhere.
#include <gtest/gtest.h>

#include <algorithm>

#include "ir/builder.h"
#include "ir/print.h"
#include "ir/step.h"
#include "passes/step_form.h"
#include "tests/mixer.h"
#include "tests/random_graph.h"
#include "tests/split_check.h"

namespace mambac::test {
namespace {

TEST(StepForm, MixerCutAnywhere) {
  Mixer mixer = make_mixer();
  const Bindings bindings{{"B", 2}, {"L", 9}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 5);
  for (int64_t split : {1, 2, 5, 9})
    expect_split(mixer.graph, bindings, values, split, "split " + std::to_string(split));
}

TEST(StepForm, StatesAreNamedAndSmall) {
  Graph step = step_form(make_mixer().graph, DimId{1});
  EXPECT_TRUE(step.find("state.0.taps"));
  EXPECT_TRUE(step.find("state.1.h"));
  for (const Node& node : step.nodes()) EXPECT_FALSE(node.type.has(DimId{1})) << node.name;
  EXPECT_EQ(step.outputs()[0].name, "out");
  EXPECT_EQ(step.outputs()[1].name, "state.0.taps.next");
}

/// What was before this step is the state of the scan, unless it begins with something else.
TEST(StepForm, ADelayOfAScanHasTheStateOfTheScan) {
  for (const bool same_start : {true, false}) {
    Graph g;
    Builder b(g);
    const DimId B = g.add_dim("B", 0), L = g.add_dim("L", 0), D = g.add_dim("D", 3);
    const NodeId x = b.input("x", {DType::f32, {B, L, D}}), start = b.input("start", {DType::f32, {B, D}});
    const NodeId starts = b.input("starts", {DType::f32, {B, L}});
    b.hint = "h";
    const NodeId h = b.scan(b.constant(0.75), x, L, false, start);
    b.hint = "before";
    const NodeId before = b.delay(h, L, false, same_start ? start : NodeId{}, starts);
    g.outputs() = {{"y", b.scan(b.constant(0.5), b.Mul(before, x), L)}};
    const auto states = [](const Graph& graph) {
      return std::count_if(graph.outputs().begin(), graph.outputs().end(),
                           [](const Output& output) { return output.name.starts_with("state."); });
    };
    const int64_t expected = same_start ? 2 : 3;
    EXPECT_EQ(states(step_form(g, L)), expected);
    EXPECT_EQ(states(expose_state(g, L)), expected);
    EXPECT_EQ(initial_state(g, L).outputs().size(), 1u);
    const Bindings bindings{{"B", 2}, {"L", 7}};
    const Arrays values = draw_values(g, bindings, {{"starts", {Range::mask, 0, 0.3}}}, 8);
    for (int64_t split : {1, 3, 7}) expect_split(g, bindings, values, split, same_start ? "same start" : "own start");
  }
}

/// Neither a step nor a part of the sequence has what comes later.
TEST(StepForm, AStartThatIsMadeOfTheStepsIsRefused) {
  Graph g;
  Builder b(g);
  const DimId L = g.add_dim("L", 0), D = g.add_dim("D", 3);
  const NodeId x = b.input("x", {DType::f32, {L, D}});
  const NodeId last = b.at(b.scan(b.constant(0.75), x, L), L, -1);
  g.outputs() = {{"y", b.scan(b.constant(0.5), x, L, false, last)}};
  EXPECT_THROW(step_form(g, L), NoStepForm);
  EXPECT_THROW(expose_state(g, L), NoStepForm);
}

/// A step has its own last one; that of the sequence, which the graph reads at every step, comes later.
TEST(StepForm, TheLastStepAtEveryStepIsRefused) {
  for (const bool through_a_sum : {false, true}) {
    Graph g;
    Builder b(g);
    const DimId L = g.add_dim("L", 0), D = g.add_dim("D", 3);
    const NodeId x = b.input("x", {DType::f32, {L, D}});
    NodeId last = b.at(b.scan(b.constant(0.75), x, L), L, -1);
    if (through_a_sum) last = b.sum(b.Mul(last, last), {D});
    g.outputs() = {{"last", last}};
    EXPECT_NO_THROW(step_form(g, L));
    g.outputs().push_back({"y", b.Mul(x, last)});
    EXPECT_THROW(step_form(g, L), NoStepForm);
  }
}

TEST(StepForm, ALongSequence) {
  Mixer mixer = make_mixer({.width = 2, .channels = 2, .states = 2, .rank = 1});
  const Bindings bindings{{"B", 1}, {"L", 4096}};
  expect_split(mixer.graph, bindings, draw_values(mixer.graph, bindings, mixer.ranges, 6), 2048, "4096 steps");
}

TEST(StepForm, RandomGraphs) {
  int recurrences = 0;
  for (uint64_t seed = 2000; seed < 2200; ++seed) {
    RandomGraph random = random_graph(seed, {.step_form = true});
    Random cut(seed);
    for (const Node& node : random.graph.nodes()) recurrences += is_directional(node.op);
    expect_split(random.graph, random.bindings, random.values, cut.integer(1, random.bindings.at("L")),
                 "seed " + std::to_string(seed));
    if (HasFailure()) {
      ADD_FAILURE() << print(random.graph) << print(step_form(random.graph, *random.graph.find_dim("L")));
      return;
    }
  }
  EXPECT_GE(recurrences, 300);
}

TEST(StepForm, NoStepFormNamesTheOpAndItsLine) {
  Graph g;
  Builder b(g);
  DimId B = g.add_dim("B", 0), L = g.add_dim("L", 0);
  NodeId x = b.input("x", {DType::f32, {B, L}});
  b.location = {std::make_shared<const std::string>("model.mb"), 4, 8};
  b.hint = "backwards";
  g.outputs() = {{"y", b.scan(b.constant(0.5), x, L, true)}};
  try {
    step_form(g, L);
    FAIL() << "a scan from the end has no step form";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("model.mb:4:8"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("backwards"), std::string::npos) << error.what();
  }
}

TEST(Packed, TwoSequencesInOneGiveWhatEachGivesAlone) {
  Mixer mixer = make_mixer({.starts = true});
  const Bindings both{{"B", 1}, {"L", 11}};
  Arrays values = draw_values(mixer.graph, both, mixer.ranges, 7);
  values["starts"].data.assign(11, 0);
  values["starts"].data[4] = 1;
  const Array packed = evaluate(mixer.graph, both, values).at("out");
  const DimId L = *mixer.graph.find_dim("L");
  const Array first = evaluate(mixer.graph, {{"B", 1}, {"L", 4}}, between(mixer.graph, L, values, 0, 4)).at("out");
  const Array second = evaluate(mixer.graph, {{"B", 1}, {"L", 7}}, between(mixer.graph, L, values, 4, 11)).at("out");
  EXPECT_LE(difference(join(first, second, 1), packed, 1e-12, 1e-12), 1);
}

}  // namespace
}  // namespace mambac::test
