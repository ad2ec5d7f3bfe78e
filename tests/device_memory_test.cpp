// Memory of devices: ways from and to the host, and that everything that lies there goes by them.
#include <gtest/gtest.h>

#include <numeric>

#include "ir/builder.h"
#include "ir/round_up.h"
#include "passes/fuse.h"
#include "runtime/checkpoint.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/emulated_device.h"
#include "runtime/program.h"
#include "runtime/state.h"
#include "tests/protected_device.h"
#include "tests/temporary_folder.h"

namespace mambac::test {
namespace {

/// Its parameter is the name of a device.
class DeviceMemoryOf : public testing::TestWithParam<std::string> {
 protected:
  DeviceMemoryOf() {
    if (GetParam() == "cuda-emulated") owned_ = emulated_cuda_device();
    if (GetParam() == "protected") owned_ = protected_device();
  }
  Device& device() const { return owned_ ? *owned_ : cpu_device(); }
  bool on_host() const { return GetParam() == "cpu"; }

 private:
  std::unique_ptr<Device> owned_;
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceMemoryOf, testing::Values("cpu", "cuda-emulated", "protected"),
                         [](const auto& info) { return info.param == "cuda-emulated" ? "emulated" : info.param; });

std::vector<int> counted(int64_t size, int first = 0) {
  std::vector<int> numbers(static_cast<size_t>(size));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

std::vector<int> downloaded(const DeviceSpan<int>& from) {
  std::vector<int> numbers(static_cast<size_t>(from.size()));
  from.download(numbers.data());
  return numbers;
}

TEST(CpuMemory, WhatIsAGoodPartOfAHugePageHasWholeOnes) {
  constexpr int64_t kHugePage = int64_t{1} << 21;
  for (const int64_t bytes : {int64_t{600000}, kHugePage, int64_t{3000001}, 4 * kHugePage}) {
    const auto memory = cpu_device().allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % kHugePage, 0u) << bytes;
    EXPECT_EQ(memory->bytes(), static_cast<size_t>(bytes));
    char* values = static_cast<char*>(memory->data());
    EXPECT_EQ(values[0], 0);
    values[round_up(bytes, kHugePage) - 1] = 1;  // all of it is there
  }
}

TEST_P(DeviceMemoryOf, PartsGoUpAndDown) {
  const DeviceArray<int> array(device(), 100);
  array.upload(counted(100).data());
  array.part(10, 20).upload(counted(20, 500).data());
  std::vector<int> expected = counted(100);
  std::iota(expected.begin() + 10, expected.begin() + 30, 500);
  EXPECT_EQ(downloaded(array), expected);
  EXPECT_EQ(downloaded(array.part(25, 10)), std::vector<int>(expected.begin() + 25, expected.begin() + 35));
  array.part(50, 50).zero();
  std::fill(expected.begin() + 50, expected.end(), 0);
  EXPECT_EQ(downloaded(array), expected);
  EXPECT_EQ(downloaded(array.part(100, 0)), std::vector<int>());
  EXPECT_THROW(array.part(90, 11), InternalError);
  EXPECT_THROW(array.part(-1, 2), InternalError);
}

TEST_P(DeviceMemoryOf, FillsZerosAndCopiesBeyondOnePiece) {
  const int64_t size = (int64_t{9} << 20) / 4 + 3;  // of pieces of 4 MiB, two and a bit
  const auto zeroed = DeviceArray<int>::zeroed(device(), size);
  EXPECT_EQ(downloaded(zeroed), std::vector<int>(static_cast<size_t>(size), 0));
  const DeviceArray<int> filled(device(), size);
  filled.fill([&](int* to) { std::iota(to, to + size, 7); });
  zeroed.copy(filled);
  EXPECT_EQ(downloaded(zeroed), counted(size, 7));
  std::vector<int> read;
  int pieces = 0;
  device().read(filled.data(), filled.bytes(), [&](const void* piece, size_t bytes) {
    read.insert(read.end(), static_cast<const int*>(piece), static_cast<const int*>(piece) + bytes / sizeof(int));
    ++pieces;
  });
  EXPECT_EQ(read, counted(size, 7));
  EXPECT_EQ(pieces, on_host() ? 1 : 3);
}

TEST_P(DeviceMemoryOf, ArraysMoveWithTheirMemory) {
  DeviceArray<int> array(device(), 5);
  array.upload(counted(5).data());
  int* const place = array.data();
  DeviceArray<int> moved(std::move(array));
  DeviceArray<int> other;
  other = std::move(moved);
  EXPECT_EQ(other.data(), place);
  EXPECT_EQ(downloaded(other), counted(5));
}

TEST_P(DeviceMemoryOf, MirrorsAreOneWithTheHostsMemoryOrACopyOfIt) {
  const MirroredArray<int> array(device(), 8);
  EXPECT_EQ(array.host() == array.on_device().data(), on_host());
  EXPECT_EQ(downloaded(array.on_device()), std::vector<int>(8, 0));
  for (int i = 0; i < 8; ++i) array.host()[i] = 10 + i;
  array.upload();
  EXPECT_EQ(downloaded(array.on_device()), counted(8, 10));
  array.on_device().upload(counted(8, 90).data());
  array.download(2, 3);
  if (!on_host()) {
    EXPECT_EQ(std::vector<int>(array.host(), array.host() + 8), (std::vector<int>{10, 11, 92, 93, 94, 15, 16, 17}));
  }
  array.download();
  EXPECT_EQ(std::vector<int>(array.host(), array.host() + 8), counted(8, 90));
}

/// A file of two tensors, one of them in another type than it is wanted in.
std::filesystem::path weights_file(const TemporaryFolder& folder) {
  std::vector<float> wide(40), narrow(7);
  std::iota(wide.begin(), wide.end(), 1.0F);
  std::iota(narrow.begin(), narrow.end(), -3.0F);
  std::vector<uint16_t> halves(7);
  from_f32(narrow.data(), 7, ElementType::bf16, halves.data());
  write_safetensors(
      folder / "weights",
      {{"wide", ElementType::f32, {8, 5}, wide.data()}, {"narrow", ElementType::bf16, {7}, halves.data()}}, {});
  return folder / "weights";
}

TEST_P(DeviceMemoryOf, ParametersAndCheckpointsGoThroughFiles) {
  const TemporaryFolder folder;
  const ParameterLayout layout(
      {{"wide", {8, 5}, {Initialiser::normal, 0, 1}, true}, {"narrow", {7}, {Initialiser::uniform, -1, 1}, false}});
  const auto arrays = [&](std::vector<DeviceArray<float>>& owned, Device& where) {
    for (int i = 0; i < 3; ++i) owned.push_back(DeviceArray<float>::zeroed(where, layout.size()));
    return TrainingArrays{owned[0], owned[1], owned[2]};
  };
  std::vector<DeviceArray<float>> written, read, expected;
  const TrainingArrays from = arrays(written, device()), to = arrays(read, device()),
                       host = arrays(expected, cpu_device());
  layout.load(SafetensorsFile(weights_file(folder)), from.values);
  for (const TrainingArrays& each : {from, host}) {
    layout.initialise(1, each.first_moment);
    layout.initialise(2, each.second_moment);
  }
  TrainingRecord record;
  record.step = 3;
  write_checkpoint(folder / "run", record, layout, from, {});
  EXPECT_EQ(read_latest_checkpoint(folder / "run", layout, to)->step, 3);
  const auto floats = [](const DeviceSpan<float>& array) {
    std::vector<float> values(static_cast<size_t>(array.size()));
    array.download(values.data());
    return values;
  };
  EXPECT_EQ(floats(layout.part(0, to.values))[39], 40.0F);
  EXPECT_EQ(floats(layout.part(1, to.values)), (std::vector<float>{-3, -2, -1, 0, 1, 2, 3}));
  EXPECT_EQ(floats(to.first_moment), floats(host.first_moment));
  EXPECT_EQ(floats(to.second_moment), floats(host.second_moment));
}

/// next = state + sum<N>(weight).
Graph small_step() {
  Graph graph;
  Builder build(graph);
  const DimId d = graph.add_dim("D", 5), n = graph.add_dim("N", 8);
  const NodeId state = build.input("state.h", {DType::f32, {d}});
  const NodeId weight = build.param("wide", {DType::f32, {n, d}}, {"wide", {Initialiser::ones}, true});
  graph.outputs().push_back({"state.h.next", build.Add(state, build.sum(weight, {n}))});
  return graph;
}

TEST_P(DeviceMemoryOf, StatesAndWeightsServeExecutables) {
  const TemporaryFolder folder;
  Remarks remarks;
  const Program program(fuse(small_step(), {}, remarks), {}, device());
  const auto step = program.instantiate({});
  EXPECT_EQ(&step->device(), &device());
  const Weights weights(SafetensorsFile(weights_file(folder)), weight_ports(*step), device());
  weights.bind(*step);
  State state(device(), step->inputs());
  const auto advance = [&](State& which) {
    which.bind(*step);
    step->run();
    which.advance();
  };
  const auto value = [&](const State& which, Device& where) {
    which.save(folder / "state");
    State other(where, step->inputs());
    other.restore(folder / "state");
    other.save(folder / "again");
    EXPECT_EQ(contents(folder / "state"), contents(folder / "again"));
    std::vector<float> values(5);
    SafetensorsFile(folder / "again").read("state.h", std::vector<int64_t>{5}, ElementType::f32, values.data());
    return values[0];
  };
  const float sum = 1 + 6 + 11 + 16 + 21 + 26 + 31 + 36;  // the first column
  advance(state);
  State copy = state.clone();
  advance(state);
  EXPECT_EQ(value(state, device()), 2 * sum);
  EXPECT_EQ(value(copy, cpu_device()), sum);
  advance(copy);
  advance(copy);
  EXPECT_EQ(value(copy, device()), 3 * sum);
  state.reset();
  EXPECT_EQ(value(state, cpu_device()), 0);
}

TEST_P(DeviceMemoryOf, MemoryOfAnotherDeviceIsNotBound) {
  if (on_host()) return;
  Remarks remarks;
  const Program program(fuse(small_step(), {}, remarks), {}, device());
  const auto step = program.instantiate({});
  const DeviceArray<float> memory(cpu_device(), 5);
  EXPECT_THROW(bind_memory(*step, "state.h", memory), InternalError);
  State state(cpu_device(), step->inputs());
  EXPECT_THROW(state.bind(*step), InternalError);
}

// ---- the device whose memory is closed
// --------------------------------------------------------------------------------

TEST(ProtectedDevice, EndsWhoeverTouchesItsMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto device = protected_device();
  const DeviceArray<float> array(*device, 4);
  float value = 0;
  EXPECT_DEATH(value = *static_cast<volatile float*>(array.data()), "");
  EXPECT_DEATH(*static_cast<volatile float*>(array.data()) = value, "");
}

TEST(ProtectedDevice, RefusesMemoryOfTheHost) {
  const auto device = protected_device();
  Remarks remarks;
  const Program program(fuse(small_step(), {}, remarks), {}, *device);
  const auto step = program.instantiate({});
  const DeviceArray<float> weight(*device, 40), state(*device, 5);
  bind_memory(*step, "wide", weight);
  bind_memory(*step, "state.h", state);
  float host[5];
  step->bind("state.h.next", host);
  EXPECT_THROW(step->run(), InternalError);
  EXPECT_THROW(state.upload(weight.data()), InternalError);
  EXPECT_THROW(state.download(weight.data()), InternalError);
  EXPECT_THROW(device->upload(host, host, sizeof host), InternalError);
}

}  // namespace
}  // namespace mambac::test
