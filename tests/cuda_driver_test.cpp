// The driver as far as it can be had without one: against a library that answers like it.
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "runtime/cuda/libraries.h"
#include "runtime/cuda/memory.h"
#include "runtime/cuda/nvrtc.h"
#include "runtime/cuda/stream.h"
#include "tests/cuda_support.h"
#include "tests/temporary_folder.h"

namespace mambac::cuda {
namespace {

using test::counts;
using test::fake_library;
using test::says;
using test::Variable;

constexpr const char* kImage = "FAKECUBIN sm_90\nadd_one(float* data, int n)";

TEST(Loading, NoDriverNamesEveryPlace) {
  const Variable path("MAMBAC_CUDA_DRIVER", "/nowhere/libcuda.so.1");
  const std::string message = message_of<EnvironmentError>([] { Driver driver(find_driver()); });
  EXPECT_TRUE(says(message, "/nowhere/libcuda.so.1: ", "$MAMBAC_CUDA_DRIVER")) << message;
  EXPECT_TRUE(says(message, "CUDA driver", "install the driver")) << message;
}

TEST(Loading, BothMajorVersionsAreLookedFor) {
  const Variable home("CUDA_HOME", "/nowhere/cuda");
  const Variable nvrtc("MAMBAC_NVRTC", nullptr), cublaslt("MAMBAC_CUBLASLT", nullptr);
  std::string tried;
  for (const LibraryProbe& probe : {find_nvrtc(), find_cublaslt()})
    for (const LibraryAttempt& attempt : probe.attempts) tried += attempt.name + "\n";
  EXPECT_TRUE(says(tried, "libnvrtc.so.13\n", "libcublasLt.so.13\n")) << tried;
  if (!find_nvrtc().found()) {
    EXPECT_TRUE(says(tried, "libnvrtc.so.12\n", "/nowhere/cuda/lib64/libnvrtc.so.12\n")) << tried;
  }
}

TEST(Loading, TheVariableWins) {
  const Variable driver("MAMBAC_CUDA_DRIVER", MAMBAC_FAKE_CUDA);
  const Variable nvrtc("MAMBAC_NVRTC", MAMBAC_FAKE_CUDA);
  EXPECT_EQ(find_driver().path, MAMBAC_FAKE_CUDA);
  EXPECT_EQ(Nvrtc(find_nvrtc()).version(), "13.0");
}

TEST(Loading, AMissingFunctionIsNamed) {
  const std::string message = message_of<EnvironmentError>([] { Driver driver(fake_library(MAMBAC_FAKE_CUDA_OLD)); });
  EXPECT_TRUE(says(message, "cuGraphInstantiateWithFlags", MAMBAC_FAKE_CUDA_OLD)) << message;
  EXPECT_TRUE(says(message, "too old")) << message;
}

TEST(Loading, NoDevice) {
  const Variable none("FAKE_CUDA_DEVICES", "0");
  const std::string message = message_of<EnvironmentError>([] { Driver driver(fake_library()); });
  EXPECT_TRUE(says(message, "CUDA_ERROR_NO_DEVICE", "nvidia-smi")) << message;
  EXPECT_TRUE(says(message, "up to CUDA 13.0")) << message;
}

TEST(Loading, ADriverOlderThanTheSystem) {
  const Variable fail("FAKE_CUDA_FAIL", "cuInit=803");
  const std::string message = message_of<EnvironmentError>([] { Driver driver(fake_library()); });
  EXPECT_TRUE(says(message, "too old", "803")) << message;
}

TEST(Loading, OnlyNewDriversBeginKernelsEarly) {
  for (const auto& [told, early] : {std::pair{"12020", false}, {"12030", true}}) {
    const Variable version("FAKE_CUDA_VERSION", told);
    const Driver driver(fake_library());
    EXPECT_EQ(Device(driver, 0).begins_kernels_early(), early) << told;
  }
}

TEST(Loading, ADriverOlderThanTheCompiler) {
  const Variable version("FAKE_CUDA_VERSION", "12020");
  const Driver driver(fake_library());
  const Nvrtc nvrtc(fake_library());
  const std::string message = message_of<EnvironmentError>([&] { check_driver_takes(driver, nvrtc); });
  EXPECT_TRUE(says(message, "12.2", "13.0")) << message;
  EXPECT_TRUE(says(message, "too old", "$MAMBAC_NVRTC to an NVRTC of CUDA 12")) << message;
  const Variable older("FAKE_NVRTC_MAJOR", "12");
  EXPECT_NO_THROW(check_driver_takes(driver, Nvrtc(fake_library())));
}

TEST(Devices, AreDescribed) {
  const Variable two("FAKE_CUDA_DEVICES", "2");
  const Driver driver(fake_library());
  EXPECT_EQ(driver.device_count(), 2);
  const DeviceInfo info = driver.describe(1);
  EXPECT_EQ(info.name, "Fake GPU");
  EXPECT_EQ(info.architecture(), "sm_90");
  EXPECT_EQ(info.multiprocessors, 132);
  EXPECT_EQ(info.memory, size_t{1} << 30);
  EXPECT_EQ(info.uuid, "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1");
  const std::string message = message_of<InputError>([&] { driver.describe(2); });
  EXPECT_TRUE(says(message, "cuda:2", "cuda:0 to cuda:1")) << message;
}

struct Fake {
  Driver driver{fake_library()};
  Device device{driver, 0};
};

TEST(Work, CopiesKernelsAndGraphs) {
  const long before = counts().objects;
  {
    const Fake fake;
    Stream stream(fake.device);
    const DeviceMemory memory(fake.device, 4 * sizeof(float)), other(fake.device, 4 * sizeof(float));
    const PinnedMemory pinned(fake.device, 4 * sizeof(float));
    const Module module(fake.device, kImage, "a test");
    const Kernel kernel = module.kernel("add_one");
    auto* numbers = static_cast<float*>(pinned.data());
    std::iota(numbers, numbers + 4, 1.0F);
    stream.copy_to_device(memory.address(), numbers, memory.bytes());

    DevicePointer data = memory.address();
    int n = 3;
    void* arguments[] = {&data, &n};
    stream.launch(kernel, {}, arguments);
    const Graph graph = stream.capture([&] {
      stream.launch(kernel, {}, arguments);
      stream.launch(kernel, {}, arguments);
    });
    for (int i = 0; i < 3; ++i) stream.launch(graph);
    stream.copy_on_device(other.address(), memory.address(), memory.bytes());
    stream.fill(memory.address(), 0, memory.bytes());
    stream.copy_to_host(numbers, other.address(), other.bytes());
    stream.synchronize();
    EXPECT_EQ(std::vector<float>(numbers, numbers + 4), (std::vector<float>{8, 9, 10, 4}));
    EXPECT_GT(counts().objects, before);
  }
  EXPECT_EQ(counts().objects, before);
}

TEST(Work, EventsAndResources) {
  const Fake fake;
  Stream stream(fake.device);
  const Event begin(fake.device, true), end(fake.device, true);
  stream.record(begin);
  stream.record(end);
  stream.wait(end);
  end.synchronize();
  EXPECT_TRUE(end.reached());
  EXPECT_NEAR(seconds_between(begin, end), 1.5e-3, 1e-9);
  {
    const Variable fail("FAKE_CUDA_FAIL", "cuEventQuery=600");
    EXPECT_FALSE(end.reached());
  }
  const Module module(fake.device, kImage, "a test");
  const Kernel kernel = module.kernel("add_one");
  EXPECT_EQ(kernel.resources().registers, 10 + kFunctionRegisters);
  EXPECT_EQ(kernel.resources().local_bytes, 10 + kFunctionLocalBytes);
  EXPECT_EQ(kernel.blocks_per_multiprocessor(256, 0), 8);
  EXPECT_NO_THROW(kernel.allow_dynamic_shared(200000));
  const std::string message = message_of<EnvironmentError>([&] { kernel.allow_dynamic_shared(300000); });
  EXPECT_TRUE(says(message, "add_one", "shared memory")) << message;
}

TEST(Work, ACaptureThatThrowsLeavesNothing) {
  const Fake fake;
  Stream stream(fake.device);
  const long before = counts().objects;
  EXPECT_THROW(stream.capture([] { throw InputError("stop"); }), InputError);
  EXPECT_EQ(counts().objects, before);
  EXPECT_NO_THROW(stream.capture([] {}));  // the stream can be captured again
}

TEST(Work, MovedMemoryIsGivenBackOnce) {
  const Fake fake;
  const long before = counts().device_bytes;
  {
    DeviceMemory memory(fake.device, 1000);
    DeviceMemory other = std::move(memory);
    other = DeviceMemory(fake.device, 500);
    EXPECT_EQ(other.bytes(), 500u);
    EXPECT_EQ(counts().device_bytes, before + 500);
  }
  EXPECT_EQ(counts().device_bytes, before);
}

TEST(Failures, OutOfDeviceMemorySaysWhatIsFree) {
  const Variable memory("FAKE_CUDA_MEMORY", "1000000");
  const Fake fake;
  const DeviceMemory some(fake.device, 250000);
  try {
    const DeviceMemory more(fake.device, 900000);
    FAIL() << "expected an exception";
  } catch (const OutOfDeviceMemory& failure) {
    EXPECT_EQ(failure.exit_code(), kExitEnvironment);
    EXPECT_EQ(failure.asked(), 900000u);
    EXPECT_EQ(failure.free(), 750000u);
    EXPECT_EQ(failure.total(), 1000000u);
    EXPECT_TRUE(says(failure.what(), "reserve 900 kB", "750 kB of 1.00 MB")) << failure.what();
    EXPECT_TRUE(says(failure.what(), "cuda:0 (Fake GPU)")) << failure.what();
  }
  EXPECT_EQ(counts().device_bytes, 250000);
}

TEST(Failures, MemoryOfTheHostIsNotTakenForTheDevices) {
  const Fake fake;
  const Variable fail("FAKE_CUDA_FAIL", "cuMemHostAlloc=2");
  const std::string message = message_of<EnvironmentError>([&] { PinnedMemory memory(fake.device, 1 << 20); });
  EXPECT_TRUE(says(message, "host", "ulimit -l")) << message;
}

TEST(Failures, ALostDeviceIsCalledLost) {
  const long before = counts().objects;
  {
    const Fake fake;
    Stream stream(fake.device);
    const DeviceMemory memory(fake.device, 64);
    for (const char* told : {"cuStreamSynchronize=719", "cuStreamSynchronize=214"}) {
      const Variable fail("FAKE_CUDA_FAIL", told);
      const std::string message = message_of<LostDevice>([&] { stream.synchronize(); });
      EXPECT_TRUE(says(message, "cuda:0 (Fake GPU)", "lost")) << message;
      EXPECT_TRUE(says(message, "finish the work", "dmesg")) << message;
    }
  }
  EXPECT_EQ(counts().objects, before);
}

TEST(Failures, NothingThrowsWhileALostDeviceIsLeft) {
  const Fake fake;
  auto memory = std::make_unique<DeviceMemory>(fake.device, 64);
  const Variable fail("FAKE_CUDA_FAIL", "cuCtxSetCurrent=719");
  EXPECT_THROW(fake.device.enter(), LostDevice);
  memory.reset();
}

TEST(Failures, AKernelThatStraysIsABug) {
  const Fake fake;
  Stream stream(fake.device);
  const Variable fail("FAKE_CUDA_FAIL", "cuStreamSynchronize=700");
  const std::string message = message_of<InternalError>([&] { stream.synchronize(); });
  EXPECT_TRUE(says(message, "CUDA_ERROR_ILLEGAL_ADDRESS")) << message;
}

TEST(Failures, RefusedMachineCodeSaysBothVersions) {
  const Fake fake;
  std::string message =
      message_of<RefusedImage>([&] { Module(fake.device, "FAKECUBIN sm_100\n", "k5.cu by NVRTC 13.0 for sm_100"); });
  EXPECT_TRUE(says(message, "NVRTC 13.0 for sm_100", "CUDA_ERROR_NO_BINARY_FOR_GPU")) << message;
  EXPECT_TRUE(says(message, "compute capability 9.0", "up to CUDA 13.0")) << message;
  message = message_of<RefusedImage>([&] { Module(fake.device, "damaged", "k5.cu"); });
  EXPECT_TRUE(says(message, "CUDA_ERROR_INVALID_IMAGE", "no such image")) << message;
}

TEST(Failures, ABusyDeviceIsNotOpened) {
  const Driver driver(fake_library());
  const Variable fail("FAKE_CUDA_FAIL", "cuDevicePrimaryCtxRetain=46");
  const std::string message = message_of<EnvironmentError>([&] { Device(driver, 0); });
  EXPECT_TRUE(says(message, "open the device", "46")) << message;
}

}  // namespace
}  // namespace mambac::cuda
