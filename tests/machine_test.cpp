#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "runtime/cpu_info.h"
#include "runtime/cuda/libraries.h"
#include "runtime/libraries.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

/// The value of the first line of /proc/cpuinfo that begins with the key.
std::string from_proc(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) return line.substr(line.find(':') + 1);
  }
  return "";
}

TEST(CpuInfo, AgreesWithTheKernel) {
  const CpuInfo& cpu = cpu_info();
  std::string flags = from_proc("flags") + " ";
  if (!std::ifstream("/proc/cpuinfo")) GTEST_SKIP() << "there is no /proc/cpuinfo to compare with";
  ASSERT_GE(flags.size(), 10u) << "an x86 processor has flags";
  const char* names[] = {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "amx_bf16"};
  auto features = cpu.features();
  for (const char* name : names) {
    bool expected = flags.find(" " + std::string(name) + " ") != std::string::npos;
    EXPECT_EQ(std::count(features.begin(), features.end(), name), expected ? 1 : 0) << name;
  }
  EXPECT_NE(from_proc("model name").find(cpu.model), std::string::npos) << cpu.model;
}

TEST(CpuInfo, SizesAreSensible) {
  const CpuInfo& cpu = cpu_info();
  EXPECT_GE(cpu.processors, 1);
  EXPECT_EQ(cpu.lanes(), cpu.avx512f ? 16 : cpu.avx2 ? 8 : 4);
  if (cpu.l1_data_bytes > 0 && cpu.l2_bytes > 0) {
    EXPECT_LT(cpu.l1_data_bytes, cpu.l2_bytes);
  }
}

TEST(Libraries, SaysWhereOneWasFound) {
  LibraryProbe probe = probe_library("mathematics", {"libmambac-absent.so.9", "libm.so.6"}, {});
  ASSERT_TRUE(probe.found());
  EXPECT_TRUE(std::filesystem::exists(probe.path)) << probe.path;
  ASSERT_EQ(probe.attempts.size(), 2u);
  EXPECT_EQ(probe.attempts[0].name, "libmambac-absent.so.9");
  EXPECT_NE(probe.attempts[0].answer, "");
  EXPECT_EQ(probe.attempts[1].answer, "");
}

TEST(Libraries, ListsEveryPlaceWhenNoneIsThere) {
  LibraryProbe probe = probe_library("nothing", {"liba-absent.so", "libb-absent.so"}, {"/nowhere", "/no/where"});
  EXPECT_FALSE(probe.found());
  ASSERT_EQ(probe.attempts.size(), 6u);
  EXPECT_EQ(probe.attempts[2].name, "/nowhere/liba-absent.so");
  for (const LibraryAttempt& attempt : probe.attempts) EXPECT_NE(attempt.answer, "") << attempt.name;
}

TEST(Libraries, AFileThatIsNoLibraryIsReported) {
  const TemporaryFolder folder;
  folder.write("libbroken.so", "this is text");
  LibraryProbe probe = probe_library("broken", {"libbroken.so"}, {folder.path().string()});
  EXPECT_FALSE(probe.found());
  ASSERT_EQ(probe.attempts.size(), 2u);
  EXPECT_NE(probe.attempts[1].answer.find("libbroken.so"), std::string::npos);
}

TEST(Libraries, CudaIsLookedForWithoutFailing) {
  setenv("CUDA_HOME", "/nowhere/cuda", 1);
  const std::vector<LibraryProbe> probes{cuda::find_driver(), cuda::find_nvrtc(), cuda::find_cublaslt()};
  unsetenv("CUDA_HOME");
  for (const LibraryProbe& probe : probes) {
    ASSERT_FALSE(probe.attempts.empty()) << probe.purpose;
    if (probe.found()) continue;
    bool looked = std::any_of(probe.attempts.begin(), probe.attempts.end(),
                              [](const LibraryAttempt& a) { return a.name.rfind("/nowhere/cuda/lib64/", 0) == 0; });
    EXPECT_TRUE(looked) << probe.purpose;
  }
}

TEST(Libraries, OnlyTheProfilerThatTheEnvironmentNamesIsTried) {
  setenv("NVTX_INJECTION64_PATH", "/nowhere/profiler.so", 1);
  EXPECT_EQ(cuda::find_nvtx().attempts.at(0).name, "/nowhere/profiler.so");
  unsetenv("NVTX_INJECTION64_PATH");
  EXPECT_TRUE(cuda::find_nvtx().attempts.empty());
}

}  // namespace
}  // namespace mambac
