// Compiled kernels against the float64 evaluator: a whole Mamba layer and its gradients at shapes that are not round.
#include <gtest/gtest.h>

#include "passes/differentiate.h"
#include "passes/simplify.h"
#include "tests/device_check.h"
#include "tests/mixer.h"

namespace mambac::test {
namespace {

struct Shape {
  int64_t batch, length, channels, states;
};

class MixerOnCpu : public testing::TestWithParam<std::tuple<Shape, bool>> {};

TEST_P(MixerOnCpu, ForwardAgrees) {
  const auto [shape, starts] = GetParam();
  MixerOptions options;
  options.channels = shape.channels;
  options.states = shape.states;
  options.starts = starts;
  const Mixer mixer = make_mixer(options);
  const Bindings bindings{{"B", shape.batch}, {"L", shape.length}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 7);
  EXPECT_EQ(check_on_cpu(simplify(mixer.graph), bindings, values, {.bounds = shape.length < 100}), "");
}

TEST_P(MixerOnCpu, GradientsAgree) {
  const auto [shape, starts] = GetParam();
  MixerOptions options;
  options.channels = shape.channels;
  options.states = shape.states;
  options.starts = starts;
  options.loss = true;
  const Mixer mixer = make_mixer(options);
  const Bindings bindings{{"B", shape.batch}, {"L", shape.length}};
  const Arrays values = draw_values(mixer.graph, bindings, mixer.ranges, 11);
  const Graph training = simplify(differentiate(simplify(mixer.graph), "loss"));
  EXPECT_EQ(check_on_cpu(training, bindings, values, {.bounds = shape.length < 100}), "");
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixerOnCpu,
                         testing::Combine(testing::Values(Shape{1, 1, 1, 1}, Shape{2, 7, 17, 5}, Shape{3, 65, 8, 3},
                                                          Shape{1, 513, 48, 16}, Shape{2, 130, 200, 4}),
                                          testing::Bool()));

}  // namespace
}  // namespace mambac::test
