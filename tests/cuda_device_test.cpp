// The CUDA device as programs see it, against a library that answers like CUDA and runs kernels on the host: nothing of
// its memory can be touched by the host, and nothing it is told is done before something waits for it.
#include "runtime/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <regex>

#include "ir/builder.h"
#include "runtime/atomic_file.h"
#include "runtime/cpu_device.h"
#include "runtime/cuda/driver_errors.h"
#include "runtime/cuda/kernel_cache.h"
#include "runtime/cuda/staging.h"
#include "tests/cuda_support.h"
#include "tests/device_check.h"
#include "tests/temporary_folder.h"

namespace mambac::test {
namespace {

constexpr int64_t kIn = 64, kOut = 48;

/// A product, and a kernel of its result.
Graph small_graph(DType x_type = DType::f32, DType w_type = DType::f32, DType product_type = DType::f32,
                  const std::string& rows = "L") {
  Graph graph;
  Builder b(graph);
  const DimId L = graph.add_dim(rows, 0), E = graph.add_dim("E", kIn), D = graph.add_dim("D", kOut);
  const NodeId x = b.input("x", {x_type, {L, E}});
  const NodeId w = b.param("w", {w_type, {D, E}}, {"w", {Initialiser::normal, 0, 1}, true});
  const NodeId product = b.op(Op::Dot, {x, w}, {.dims = {E}, .dtype = product_type});
  graph.outputs() = {{"product", product}, {"y", b.Sigmoid(b.cast(product, DType::f32))}};
  Remarks remarks;
  return fuse(graph, {}, remarks);
}

class CudaDevice : public testing::Test {
 protected:
  TemporaryFolder folder;
  const Variable driver{"MAMBAC_CUDA_DRIVER", MAMBAC_FAKE_CUDA}, nvrtc{"MAMBAC_NVRTC", MAMBAC_FAKE_CUDA},
      cublaslt{"MAMBAC_CUBLASLT", MAMBAC_FAKE_CUDA}, cache{"MAMBAC_CACHE", folder.path().string()};
  std::unique_ptr<Device> device = make_cuda_device(0);
};

// ---- memory ---------------------------------------------------------------------------------------------------------

TEST_F(CudaDevice, CopiesOfAnySizeArriveWhole) {
  for (const size_t count :
       {size_t{1}, size_t{1000}, cuda::Staging::kPieceBytes, 11 * cuda::Staging::kPieceBytes + 5}) {
    const auto memory = device->allocate(static_cast<int64_t>(count));
    std::vector<unsigned char> sent(count), found(count);
    for (size_t i = 0; i < count; ++i) sent[i] = static_cast<unsigned char>(i * 7 + i / 1000);
    const std::vector<unsigned char> wanted = sent;
    device->upload(memory->data(), sent.data(), count);
    std::fill(sent.begin(), sent.end(), 0);  // the host may use its memory again
    device->download(found.data(), memory->data(), count);
    EXPECT_TRUE(found == wanted) << count << " bytes";
  }
}

TEST_F(CudaDevice, ZerosAndCopiesStayOnTheDevice) {
  const std::vector<float> sent{1, 2, 3, 4};
  const auto from = device->allocate(16), to = device->allocate_zeroed(16);
  device->upload(from->data(), sent.data(), 16);
  device->copy(static_cast<char*>(to->data()) + 4, from->data(), 8);
  device->zero(from->data(), 12);
  std::vector<float> moved(4), rest(4);
  device->download(moved.data(), to->data(), 16);
  device->download(rest.data(), from->data(), 16);
  EXPECT_EQ(moved, (std::vector<float>{0, 1, 2, 0}));
  EXPECT_EQ(rest, (std::vector<float>{0, 0, 0, 4}));
}

TEST_F(CudaDevice, MemoryIsAlignedAndNotTheHosts) {
  const auto memory = device->allocate(100), none = device->allocate(0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % 64, 0u);
  EXPECT_NE(none->data(), nullptr);
  EXPECT_DEATH(*static_cast<volatile char*>(memory->data()) = 1, "");
}

TEST_F(CudaDevice, EverythingIsGivenBack) {
  device.reset();
  const long before = counts().objects;
  device = make_cuda_device(0);
  const Program program(small_graph(), {}, *device);
  {
    CpuSession session(program, {{"L", 5}});
    EXPECT_GT(counts().objects, before);
  }
  const long idle = counts().objects;
  { CpuSession again(program, {{"L", 5}}); }
  EXPECT_EQ(counts().objects, idle);
}

TEST_F(CudaDevice, APlanThatDoesNotFitSaysWhatItNeeds) {
  const Program program(small_graph(DType::bf16, DType::bf16), {}, *device);
  const Variable little("FAKE_CUDA_MEMORY", "1000");
  try {
    program.instantiate({{"L", 50}});
    FAIL() << "expected an exception";
  } catch (const cuda::OutOfDeviceMemory& failure) {
    EXPECT_EQ(failure.exit_code(), kExitEnvironment);
    EXPECT_GT(failure.asked(), failure.free());
    EXPECT_TRUE(says(failure.what(), "the plan for L=50 needs", "of 1.00 kB are free")) << failure.what();
    EXPECT_TRUE(says(failure.what(), "of scratch memory", "cuda:0 (Fake GPU)")) << failure.what();
  }
}

TEST_F(CudaDevice, APlanThatDoesNotFitNamesABatchThatDoes) {
  Graph graph = small_graph(DType::f32, DType::f32, DType::f32, "B");
  std::erase_if(graph.outputs(), [](const Output& output) { return output.name == "product"; });  // in the arena then
  const Program program(std::move(graph), {}, *device);
  const auto message_with = [&](const char* bytes) {
    const Variable little("FAKE_CUDA_MEMORY", bytes);
    return message_of<cuda::OutOfDeviceMemory>([&] { program.instantiate({{"B", 5000}}); });
  };
  const std::string message = message_with("200000");
  std::smatch batch;
  ASSERT_TRUE(std::regex_search(message, batch, std::regex("; B=([0-9]+) would fit$"))) << message;
  EXPECT_GT(std::stoll(batch[1]), 1);
  const Variable little("FAKE_CUDA_MEMORY", "200000");
  EXPECT_NO_THROW(program.instantiate({{"B", std::stoll(batch[1])}}));
  const std::string hopeless = message_with("10");
  EXPECT_TRUE(hopeless.ends_with("; not even B=1 would fit")) << hopeless;
}

// ---- kernels --------------------------------------------------------------------------------------------------------

TEST_F(CudaDevice, EqualKernelsAreCompiledOnceInAProcessAndOnceOnDisk) {
  const Graph graph = small_graph();
  const long before = counts().compilations;
  const Program first(graph, {}, *device), second(graph, {}, *device);
  EXPECT_EQ(counts().compilations, before + 1);
  const auto other = make_cuda_device(0);
  const Program third(graph, {}, *other);
  EXPECT_EQ(counts().compilations, before + 1);
}

TEST_F(CudaDevice, KernelsSayWhatTheyTake) {
  const Program program(small_graph(), {}, *device);
  size_t kernels = 0;
  for (const auto& kernel : program.compiled()) {
    if (!kernel) continue;
    ++kernels;
    ASSERT_EQ(kernel->uses().size(), 1u);
    EXPECT_EQ(kernel->uses()[0].registers, 32);
    EXPECT_EQ(kernel->uses()[0].spill_stores, 8);
  }
  EXPECT_EQ(kernels, 1u);
}

TEST_F(CudaDevice, KeptMachineCodeThatTheDriverRefusesIsMadeAgain) {
  const Graph graph = small_graph();
  { const Program program(graph, {}, *device); }
  const auto files = cuda::KernelCache(cuda::KernelCache::default_folder()).files();
  ASSERT_EQ(files.size(), 1u);
  cuda::KernelEntry entry;
  ASSERT_EQ(cuda::KernelCache::read(files[0], entry), "");
  entry.cubin = "of another machine";
  write_file(files[0].path, entry.encode());
  const long before = counts().compilations;
  EXPECT_NO_THROW(Program(graph, {}, *device));
  EXPECT_EQ(counts().compilations, before + 1);
}

TEST_F(CudaDevice, WhereNothingCanBeKeptOneNoticeSaysSo) {
  const Variable nowhere("MAMBAC_CACHE", "/dev/null/cache");
  std::vector<std::string> notices;
  const auto other = make_cuda_device(0, [&](const std::string& notice) { notices.push_back(notice); });
  const Program program(small_graph(), {}, *other);
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_TRUE(says(notices[0], "/dev/null/cache")) << notices[0];
}

// ---- products -------------------------------------------------------------------------------------------------------

class CudaProducts : public CudaDevice, public testing::WithParamInterface<std::tuple<DType, DType, DType>> {};

TEST_P(CudaProducts, OfAnyTypesAgree) {
  const auto [x, w, product] = GetParam();
  const Graph graph = small_graph(x, w, product);
  const Bindings bindings{{"L", 7}};
  Arrays values = draw_values(graph, bindings, {}, 3);
  for (double& value : values.at("x").data) value = round_to(x, value);
  for (double& value : values.at("w").data) value = round_to(w, value);
  const bool narrow = product == DType::bf16;
  EXPECT_EQ(
      compare_on_cpu(graph, bindings, values, evaluate(graph, bindings, values),
                     {.relative = narrow ? 1e-2 : 1e-5, .absolute = narrow ? 1e-2 : 1e-5, .device = device.get()}),
      "");
}

/// The library's algorithms need workspaces of 1, 3, 4 and 5 KiB (tests/fake_cublaslt.cpp).
TEST_F(CudaDevice, TheScheduleChoosesTheAlgorithm) {
  const Graph graph = small_graph();
  const auto with = [&](int algorithm) {
    return Program(
        graph,
        [=, this](const Graph& fused, int number) {
          Schedule schedule = device->schedule(fused, number);
          if (library_node(fused, number).present()) schedule.algorithm = algorithm;
          return schedule;
        },
        *device);
  };
  const auto bytes = [&](int algorithm) { return with(algorithm).instantiate({{"L", 7}})->planned_bytes(); };
  EXPECT_EQ(bytes(1) - bytes(0), 2u << 10);
  EXPECT_EQ(bytes(3) - bytes(0), 4u << 10);
  const Program second = with(2);
  ASSERT_EQ(graph.kernels[0].kind, KernelGroup::library);
  EXPECT_EQ(second.schedule(0).algorithm, 2);
  const Arrays values = draw_values(graph, {{"L", 7}}, {}, 3);
  EXPECT_EQ(run_on_cpu(second, {{"L", 7}}, values).at("y").data, run_on_cpu(with(0), {{"L", 7}}, values).at("y").data);
  const std::string message = message_of<InputError>([&] { bytes(4); });
  EXPECT_TRUE(says(message, "algorithm=4: cuBLASLt 13.1.0 has 4 for")) << message;
  EXPECT_THROW(with(Schedule::kLastAlgorithm + 1), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Types, CudaProducts,
                         testing::Combine(testing::Values(DType::f32, DType::bf16),
                                          testing::Values(DType::f32, DType::bf16),
                                          testing::Values(DType::f32, DType::bf16)));

// ---- captured runs --------------------------------------------------------------------------------------------------

/// Ports of an executable of small_graph in device memory.
class Ports {
 public:
  Ports(Device& device, Executable& executable) : device_(device), executable_(executable) {
    for (const auto* ports : {&executable.inputs(), &executable.outputs()})
      for (const Port& port : *ports) bind(port.name, add(port));
  }

  size_t add(const Port& port) {
    memory_.push_back(device_.allocate(port.elements * static_cast<int64_t>(bytes_of(port.dtype))));
    return memory_.size() - 1;
  }
  void bind(const std::string& name, size_t number) {
    executable_.bind(name, memory_[number]->data());
    if (name == "y") y_ = number;
  }
  void upload(size_t number, float value) {
    const std::vector<float> all(memory_[number]->bytes() / sizeof(float), value);
    device_.upload(memory_[number]->data(), all.data(), memory_[number]->bytes());
  }
  bool lie_apart_from(const void* address, size_t bytes) const {
    const auto begin = reinterpret_cast<uintptr_t>(address);
    return std::ranges::all_of(memory_, [&](const auto& memory) {
      const auto own = reinterpret_cast<uintptr_t>(memory->data());
      return own + memory->bytes() <= begin || begin + bytes <= own;
    });
  }
  /// The first element of y after a run.
  float run() {
    upload(y_, NAN);
    executable_.run();
    float y = 0;
    device_.download(&y, memory_[y_]->data(), sizeof y);
    return y;
  }

 private:
  Device& device_;
  Executable& executable_;
  std::vector<std::unique_ptr<DeviceMemory>> memory_;
  size_t y_ = 0;
};

float sigmoid_of_product(float x, float w) {
  return 1 / (1 + std::exp(-x * w * static_cast<float>(kIn)));
}

class CapturedRuns : public CudaDevice {
 protected:
  const Program program{small_graph(), {}, *device};
  const std::unique_ptr<Executable> executable = program.instantiate({{"L", 3}});
  Ports ports{*device, *executable};
  const size_t x = 0, w = 1;  // as their ports

  /// Runs with this x and says how many launches of graphs that took.
  long graphs_for(float value) {
    ports.upload(x, value);
    const long before = counts().graph_launches;
    EXPECT_NEAR(ports.run(), sigmoid_of_product(value, 0.01F), 1e-5);
    return counts().graph_launches - before;
  }
};

TEST_F(CapturedRuns, FromTheSecondWithTheSamePointersOnAreOneLaunch) {
  ASSERT_EQ(executable->inputs()[0].name, "x");
  ports.upload(w, 0.01F);
  EXPECT_EQ(graphs_for(0.5F), 0);
  EXPECT_EQ(graphs_for(-0.5F), 1);
  EXPECT_EQ(graphs_for(2.0F), 1);
  const long objects = counts().objects;
  EXPECT_EQ(graphs_for(1.0F), 1);
  EXPECT_EQ(counts().objects, objects) << "a run leaves something behind";
}

TEST_F(CapturedRuns, OtherPointersAreOtherCaptures) {
  ports.upload(w, 0.01F);
  const Port& y = executable->outputs()[1];
  ASSERT_EQ(y.name, "y");
  std::vector<size_t> places;
  for (int i = 0; i < 2; ++i) places.push_back(ports.add(y));
  const auto run_at = [&](int place, float value) {
    ports.bind("y", places[static_cast<size_t>(place)]);
    return graphs_for(value);
  };
  EXPECT_EQ(run_at(0, 1), 0);
  EXPECT_EQ(run_at(1, 2), 0);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(run_at(i % 2, static_cast<float>(i)), 1);  // as a state changes places
  // The captures of sets that were used longest ago make room.
  for (int i = 0; i < 4; ++i) {
    ports.bind("y", ports.add(y));
    EXPECT_EQ(graphs_for(1), 0);
  }
  EXPECT_EQ(run_at(0, 1), 0);
}

TEST_F(CudaDevice, TimedRunsLaunchOneByOne) {
  const Program program(small_graph(), {}, *device);
  const auto executable = program.instantiate({{"L", 3}});
  Ports ports(*device, *executable);
  const long before = counts().graph_launches;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(executable->run_timed().size(), program.graph().kernels.size());
  EXPECT_EQ(counts().graph_launches, before);
}

/// A matrix-vector product of a step, and what follows it.
Graph step_graph() {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), E = graph.add_dim("E", kIn), D = graph.add_dim("D", kOut);
  const NodeId x = b.input("x", {DType::f32, {B, E}});
  const NodeId w = b.param("w", {DType::f32, {D, E}}, {"w", {Initialiser::normal, 0, 1}, true});
  graph.outputs() = {{"y", b.Sigmoid(b.op(Op::Dot, {x, w}, {.dims = {E}}))}};
  FuseOptions options = gpu_fuse_options();
  options.library_contractions = false;
  Remarks remarks;
  return fuse(graph, options, remarks);
}

TEST_F(CudaDevice, KernelsOfAStepBeginEarly) {
  const Program program(step_graph(), {}, *device);
  ASSERT_TRUE(program.lowered()[0].kernel.schedule.begins_early);
  CpuSession session(program, {{"B", 2}});
  const long before = counts().early_launches;
  const Arrays values = draw_values(program.graph(), {{"B", 2}}, {}, 1);
  for (int i = 0; i < 3; ++i) session.run(values);  // captured, too
  EXPECT_EQ(counts().early_launches, before + 3);
}

// ---- failures -------------------------------------------------------------------------------------------------------

TEST_F(CudaDevice, ALostDeviceIsCalledLost) {
  const Program program(small_graph(), {}, *device);
  for (const char* told : {"cuEventSynchronize=719", "cuLaunchKernelEx=214"}) {
    CpuSession session(program, {{"L", 3}});
    const Arrays values = draw_values(program.graph(), {{"L", 3}}, {}, 1);
    const Variable fail("FAKE_CUDA_FAIL", told);
    const std::string message = message_of<cuda::LostDevice>([&] { session.run(values); });
    EXPECT_TRUE(says(message, "cuda:0 (Fake GPU)", "the device is lost to this process")) << message;
  }
}

TEST_F(CudaDevice, AKernelThatStraysIsReportedWhenTheHostWaits) {
  const Program program(small_graph(), {}, *device);
  const auto executable = program.instantiate({{"L", 300}});
  Ports ports(*device, *executable);
  // No port lies where the kernel strays.
  std::vector<std::unique_ptr<DeviceMemory>> little;
  do little.push_back(device->allocate(64));
  while (!ports.lie_apart_from(little.back()->data(), 300 * kOut * sizeof(float)));
  executable->bind("y", little.back()->data());
  EXPECT_NO_THROW(executable->run());
  const std::string message = message_of<InternalError>([&] { device->synchronize(); });
  EXPECT_TRUE(says(message, "CUDA_ERROR_ILLEGAL_ADDRESS", "which has 16")) << message;
  EXPECT_TRUE(says(message, "cuda:0 (Fake GPU)", "every later call fails")) << message;
  EXPECT_THROW(device->synchronize(), InternalError);
}

TEST_F(CudaDevice, WhatIsMissingIsNamed) {
  {
    const Variable nowhere("MAMBAC_CUBLASLT", "/nowhere/libcublasLt.so");
    const std::string message = message_of<EnvironmentError>([] { make_cuda_device(0); });
    EXPECT_TRUE(says(message, "/nowhere/libcublasLt.so", "cuBLASLt")) << message;
  }
  const std::string message = message_of<InputError>([] { make_cuda_device(7); });
  EXPECT_TRUE(says(message, "cuda:7", "cuda:0, the only one there is")) << message;
  const Variable two("FAKE_CUDA_DEVICES", "2");
  EXPECT_EQ(cuda_device_names(),
            (std::vector<std::string>{"cuda:0 (Fake GPU, 1.07 GB)", "cuda:1 (Fake GPU, 1.07 GB)"}));
  const Variable none("MAMBAC_CUDA_DRIVER", "/nowhere/libcuda.so.1");
  EXPECT_TRUE(cuda_device_names().empty());
}

TEST_F(CudaDevice, ATextThatNvrtcRefusesIsABugWithItsLog) {
  const Variable fail("FAKE_CUDA_FAIL", "nvrtcCompileProgram=6");
  const std::string message = message_of<InternalError>([&] { Program(small_graph(), {}, *device); });
  EXPECT_TRUE(says(message, "cannot compile", "sm_90")) << message;
}

}  // namespace
}  // namespace mambac::test
