// CUDA C++ to machine code: the assembler's report, errors (against a library that answers like NVRTC), and the real
// one where it is installed.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "ir/error.h"
#include "runtime/cuda/libraries.h"
#include "runtime/cuda/nvrtc.h"
#include "tests/cuda_support.h"
#include "tests/nvrtc_support.h"
#include "tests/temporary_folder.h"

namespace mambac::cuda {
namespace {

using test::fake_library;
using test::says;
using test::Variable;

const CompileRequest kSmall{"extern \"C\" __global__ void add_one(float* data, int n) {}\n", "k.cu", "sm_90", {}};

TEST(Report, IsTakenOutOfTheLog) {
  std::string log =
      "k.cu(5): warning #177-D: variable \"unused\" was declared but never referenced\n"
      "\n"
      "ptxas info    : 0 bytes gmem, 256 bytes cmem[3]\n"
      "ptxas info    : Compiling entry function 'k2' for 'sm_80'\n"
      "ptxas info    : Function properties for k2\n"
      "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 8 registers, used 0 barriers, 4096 bytes smem, 364 bytes cmem[0], 16 bytes cmem[2]\n"
      "ptxas info    : Compile time = 1.583 ms\n"
      "ptxas info    : Compiling entry function 'k' for 'sm_80'\n"
      "ptxas info    : Function properties for k\n"
      "ptxas         .     5008 bytes stack frame, 5516 bytes spill stores, 20268 bytes spill loads\n"
      "ptxas info    : Used 64 registers, used 1 barriers, 5168 bytes cumulative stack size\n"
      "ptxas info    : Function properties for _Z1ffi\n"
      "ptxas         .     160 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads\n";
  const std::vector<KernelUse> uses = take_kernel_uses(log);
  const std::vector<KernelUse> expected{
      {"k2", 8, 0, 0, 0, 4096, 380}, {"k", 64, 5516, 20268, 5168, 0, 0}, {"_Z1ffi", 0, 4, 0, 160, 0, 0}};
  EXPECT_EQ(uses, expected);
  EXPECT_EQ(log, "k.cu(5): warning #177-D: variable \"unused\" was declared but never referenced");
  std::vector<KernelUse> again;
  EXPECT_TRUE(parse_kernel_uses(kernel_uses_text(uses), again));
  EXPECT_EQ(again, expected);
  EXPECT_FALSE(parse_kernel_uses("k 8 0\n", again));
}

TEST(Compiling, GivesCodeReportAndWarnings) {
  const Nvrtc nvrtc(fake_library());
  const Compilation made = nvrtc.compile(kSmall);
  EXPECT_EQ(made.cubin, "FAKECUBIN sm_90\n" + kSmall.source);
  ASSERT_EQ(made.kernels.size(), 1u);
  EXPECT_EQ(made.kernels[0], (KernelUse{"add_one", 32, 8, 12, 16, 128, 360}));
  EXPECT_TRUE(says(made.log, "warning #177-D")) << made.log;
  EXPECT_FALSE(says(made.log, "ptxas")) << made.log;
}

TEST(Compiling, ArchitecturesAreCheckedAgainstTheLibrarysOwn) {
  const Nvrtc nvrtc(fake_library());
  for (const char* wrong : {"sm_40", "sm_", "90", "sm_90x", "compute_90", ""}) {
    CompileRequest request = kSmall;
    request.architecture = wrong;
    const std::string message = message_of<InputError>([&] { nvrtc.compile(request); });
    EXPECT_TRUE(says(message, "sm_75, sm_80, sm_90", std::string("'") + wrong + "'")) << message;
  }
  CompileRequest special = kSmall;
  special.architecture = "sm_90a";
  EXPECT_EQ(nvrtc.compile(special).cubin.substr(0, 16), "FAKECUBIN sm_90a");
  EXPECT_EQ(nvrtc.architecture_for(9, 0), "sm_90");
  EXPECT_EQ(nvrtc.architecture_for(8, 9), "sm_80");
  EXPECT_EQ(nvrtc.architecture_for(12, 1), "sm_120");
  const std::string message = message_of<EnvironmentError>([&] { nvrtc.architecture_for(7, 0); });
  EXPECT_TRUE(says(message, "7.0", "sm_75")) << message;
}

TEST(Compiling, WhoIsToBlame) {
  const Nvrtc nvrtc(fake_library());
  CompileRequest wrong = kSmall;
  wrong.source = "#error\n";
  std::string message = message_of<InternalError>([&] { nvrtc.compile(wrong); });
  EXPECT_TRUE(says(message, "k.cu(1): error", "NVRTC 13.0")) << message;
  const Variable fail("FAKE_CUDA_FAIL", "nvrtcCompileProgram=7");
  message = message_of<EnvironmentError>([&] { nvrtc.compile(kSmall); });
  EXPECT_TRUE(says(message, "libnvrtc-builtins.so.13.0", MAMBAC_FAKE_CUDA)) << message;
}

class RealNvrtc : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(RealNvrtc, CompilesForAllArchitectures) {
  const Nvrtc nvrtc(find_nvrtc());
  int compiled = 0;
  for (const int architecture : {75, 80, 86, 89, 90, 100, 103, 120}) {
    const auto& known = nvrtc.architectures();
    if (std::find(known.begin(), known.end(), architecture) == known.end()) continue;
    const Compilation made =
        nvrtc.compile({"extern \"C\" __global__ void small(float* x, int n) {\n"
                       "  __shared__ float s[32];\n"
                       "  const int i = blockIdx.x * 32 + threadIdx.x;\n"
                       "  s[threadIdx.x] = x[i];\n"
                       "  __syncthreads();\n"
                       "  if (i < n) x[i] = s[31 - threadIdx.x];\n"
                       "}\n",
                       "small.cu",
                       "sm_" + std::to_string(architecture),
                       {}});
    EXPECT_EQ(made.cubin.substr(1, 3), "ELF");
    EXPECT_EQ(made.log, "");
    ASSERT_EQ(made.kernels.size(), 1u) << architecture;
    const KernelUse& use = made.kernels[0];
    EXPECT_EQ(use.name, "small");
    EXPECT_GT(use.registers, 0);
    EXPECT_LT(use.registers, 40);
    EXPECT_EQ(use.shared, 128);
    EXPECT_EQ(use.spill_stores + use.spill_loads + use.stack, 0);
    ++compiled;
  }
  EXPECT_GT(compiled, 0);
}

TEST_F(RealNvrtc, SpillsAreReported) {
  // 96 numbers that all live across a barrier, in at most 32 registers.
  const std::string source =
      "extern \"C\" __global__ void spills(float* x) {\n"
      "  float a[96];\n"
      "#pragma unroll\n"
      "  for (int i = 0; i < 96; ++i) a[i] = x[i * 256 + threadIdx.x];\n"
      "  __syncthreads();\n"
      "#pragma unroll\n"
      "  for (int i = 0; i < 96; ++i) x[i * 256 + threadIdx.x] = a[95 - i];\n"
      "}\n";
  const Nvrtc nvrtc(find_nvrtc());
  const Compilation capped = nvrtc.compile({source, "spills.cu", "sm_90", {"--maxrregcount=32"}});
  ASSERT_EQ(capped.kernels.size(), 1u);
  EXPECT_EQ(capped.kernels[0].registers, 32);
  EXPECT_GT(capped.kernels[0].spill_stores, 200);
  EXPECT_GT(capped.kernels[0].spill_loads, 200);
  EXPECT_GT(capped.kernels[0].stack, 200);
  const Compilation free = nvrtc.compile({source, "spills.cu", "sm_90", {}});
  ASSERT_EQ(free.kernels.size(), 1u);
  EXPECT_GT(free.kernels[0].registers, 96);
  EXPECT_EQ(free.kernels[0].spill_stores, 0);
}

TEST_F(RealNvrtc, ErrorsShowTheLine) {
  const Nvrtc nvrtc(find_nvrtc());
  const CompileRequest wrong{"extern \"C\" __global__ void k(float* x) {\n  x[0] = missing;\n}\n", "k.cu", "sm_90", {}};
  const std::string message = message_of<InternalError>([&] { nvrtc.compile(wrong); });
  EXPECT_TRUE(says(message, "k.cu(2): error", "x[0] = missing;")) << message;
}

TEST_F(RealNvrtc, AnArchitectureWithoutASpecialFormIsTheUsersMistake) {
  const Nvrtc nvrtc(find_nvrtc());
  const std::string message = message_of<InputError>([&] { nvrtc.compile({kSmall.source, "k.cu", "sm_75a", {}}); });
  EXPECT_TRUE(says(message, "k.cu for sm_75a", "arch")) << message;
}

TEST_F(RealNvrtc, ManyAtATime) {
  const Nvrtc nvrtc(find_nvrtc());
  std::vector<Compilation> made(8);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < made.size(); ++i)
      threads.emplace_back([&, i] {
        const std::string name = "k" + std::to_string(i);
        made[i] = nvrtc.compile({"extern \"C\" __global__ void " + name + "(float* x) { x[threadIdx.x] += 1.0f; }\n",
                                 name + ".cu",
                                 "sm_90",
                                 {}});
      });
  }
  for (size_t i = 0; i < made.size(); ++i) {
    ASSERT_EQ(made[i].kernels.size(), 1u);
    EXPECT_EQ(made[i].kernels[0].name, "k" + std::to_string(i));
  }
}

TEST_F(RealNvrtc, EqualSourcesGiveEqualBytes) {
  const Nvrtc nvrtc(find_nvrtc());
  EXPECT_EQ(nvrtc.compile(kSmall).cubin, nvrtc.compile(kSmall).cubin);
}

}  // namespace
}  // namespace mambac::cuda
