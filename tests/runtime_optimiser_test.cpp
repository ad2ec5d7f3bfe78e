// The optimiser with AdamW as it is compiled: what is decayed, to the last element.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "frontend/model.h"
#include "passes/pipeline.h"
#include "runtime/optimiser.h"
#include "runtime/program.h"
#include "runtime/rng.h"
#include "tests/fake_executables.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

/// A model whose gradients are 0, so that only the decay changes its parameters.
FakeExecutable without_gradients(const ParameterLayout& layout) {
  FakeExecutable model;
  model.input("bytes", DType::u8, {1, 4}).input("targets", DType::u8, {1, 4}).output("loss", DType::f32, {});
  for (const ParameterSpec& parameter : layout.parameters()) {
    model.input(parameter.name, DType::f32, parameter.shape);
    model.output("grad." + parameter.name, DType::f32, parameter.shape);
  }
  model.work = [](FakeExecutable& self) { *self.at("loss") = 1; };
  return model;
}

TEST(Optimiser, DecaysToTheLastElementBeyondWhatF32Counts) {
  constexpr int64_t kDecayed = (int64_t{1} << 24) + 1024, kOthers = 1040;
  const ParameterLayout layout({{"scale", {kOthers}, {}, false}, {"table", {kDecayed}, {}, true}});
  ASSERT_EQ(layout.decayed(), kDecayed);
  const Model prelude = load_model("prelude");
  std::vector<std::unique_ptr<Program>> programs;
  std::vector<std::unique_ptr<Executable>> executables;
  for (const auto& [block, parameters] : std::vector<std::pair<std::string, int64_t>>{
           {"sum_squares", layout.size()}, {"adamw", kDecayed}, {"adamw", kOthers}}) {
    const Graph graph = instantiate_block(prelude, block, {{"P", parameters}});
    programs.push_back(std::make_unique<Program>(run_pipeline(graph, {}).graph));
    executables.push_back(programs.back()->instantiate({}));
  }
  FakeExecutable gradients = without_gradients(layout);
  TrainSettings settings;
  settings.weight_decay = 0.25;
  Optimiser optimiser(settings, layout, {gradients, *executables[0], executables[1].get(), executables[2].get()});
  const DeviceSpan<float> values = optimiser.arrays().values;
  values.fill([&](float* to) { std::fill_n(to, layout.size(), 1.0f); });

  const TemporaryFolder folder;
  ByteSource data(folder.write("data", "eight by"));
  data.set_window(5);
  Rng rng(1);
  optimiser.run(data, rng, 1, 0.5);
  std::vector<float> trained(static_cast<size_t>(layout.size()));
  values.download(trained.data());
  for (int64_t i = 0; i < layout.size(); ++i)
    ASSERT_EQ(trained[static_cast<size_t>(i)], i < kDecayed ? 0.875f : 1.0f) << i;
}

}  // namespace
}  // namespace mambac
