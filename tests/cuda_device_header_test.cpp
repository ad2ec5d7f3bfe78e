// The device header through NVRTC, where there is one: all kernels of tests/cuda_kernels.h for all architectures,
// without a warning, and the instructions that its functions become.
#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>

#include "codegen/cuda/device_header.h"
#include "runtime/cuda/libraries.h"
#include "tests/cuda_kernels.h"
#include "tests/nvrtc_support.h"

namespace mambac::test {
namespace {

/// NVRTC's functions; that one is missing is a failure.
struct Nvrtc {
  using Program = struct OpaqueProgram*;
#define MAMBAC_FUNCTION(name, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
#include "runtime/cuda/nvrtc_functions.def"
#undef MAMBAC_FUNCTION

  Nvrtc() {
    const LibraryProbe library = cuda::find_nvrtc();
    const auto get = [&]<class F>(const char* name, F& function) {
      function = reinterpret_cast<F>(require_symbol(library, name));
    };
#define MAMBAC_FUNCTION(name, ...) get(#name, name);
#include "runtime/cuda/nvrtc_functions.def"
#undef MAMBAC_FUNCTION
  }
};

const Nvrtc& nvrtc() {
  static const Nvrtc functions;
  return functions;
}

struct Compiled {
  int status = 0;
  std::string log, ptx;
  size_t cubin_bytes = 0;
};

/// architecture: "sm_90" for machine code, "compute_90" for PTX.
Compiled compile(const std::string& kernels, const std::string& architecture) {
  const std::string text = std::string(cuda_device_header()) + kernels, option = "--gpu-architecture=" + architecture;
  Nvrtc::Program program = nullptr;
  nvrtc().nvrtcCreateProgram(&program, text.c_str(), "kernels.cu", 0, nullptr, nullptr);
  const char* options[] = {option.c_str(), "--std=c++17"};
  Compiled result;
  result.status = nvrtc().nvrtcCompileProgram(program, 2, options);
  size_t bytes = 0;
  nvrtc().nvrtcGetProgramLogSize(program, &bytes);
  std::vector<char> log(bytes + 1);
  nvrtc().nvrtcGetProgramLog(program, log.data());
  result.log = log.data();
  if (result.status == 0 && architecture[0] == 'c') {
    nvrtc().nvrtcGetPTXSize(program, &bytes);
    std::vector<char> ptx(bytes + 1);
    nvrtc().nvrtcGetPTX(program, ptx.data());
    result.ptx = ptx.data();
  }
  if (result.status == 0) nvrtc().nvrtcGetCUBINSize(program, &result.cubin_bytes);
  nvrtc().nvrtcDestroyProgram(&program);
  return result;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

class DeviceHeader : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = test::without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
  }
  /// PTX of a kernel with this body.
  std::string ptx(const std::string& body, const std::string& architecture = "compute_80") {
    const Compiled result = compile(
        "MB_KERNEL(32, 1) k(MB_IN(float) x, MB_IN(mb_bf16) h, MB_OUT(float) y, MB_OUT(mb_bf16) z) {\n"
        "  const int i = mb_lane();\n" +
            body + "\n}\n",
        architecture);
    EXPECT_EQ(result.status, 0) << result.log;
    return result.ptx;
  }
};

TEST_F(DeviceHeader, CompilesForAllArchitecturesWithoutAWarning) {
  std::string kernels;
  for (const char* text : kCudaKernels) kernels += text;
  for (const char* architecture : {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"}) {
    const Compiled result = compile(kernels, architecture);
    EXPECT_EQ(result.status, 0) << architecture << ": " << result.log;
    EXPECT_EQ(result.log, "") << architecture;
    EXPECT_GT(result.cubin_bytes, 1000u) << architecture;
  }
}

TEST_F(DeviceHeader, AnExponentialIsAProductAndOneSpecialInstruction) {
  const std::string text = ptx("mb_store(y, i, mb_exp(mb_load(x, i)));");
  EXPECT_EQ(count(text, "ex2.approx.ftz.f32"), 1u) << text;
  EXPECT_EQ(count(text, "mul.f32"), 1u) << text;
  EXPECT_EQ(count(text, "fma."), 0u) << text;
}

TEST_F(DeviceHeader, ExponentialsByPolynomialTakeNoSpecialInstruction) {
  const std::string text = ptx("mb_store(y, i, mb_exp2_poly(mb_load(x, i)));");
  EXPECT_EQ(count(text, "ex2."), 0u) << text;
  EXPECT_EQ(count(text, "fma.rn.f32"), 5u) << text;
}

TEST_F(DeviceHeader, OfPowersThatAreWrittenOutOneInSoManyIsAPolynomial) {
  const std::string text =
      ptx("_Pragma(\"unroll\") for (int s = 0; s < 8; ++s)"
          "  mb_store(y, i + s, mb_exp2_mixed<4>(mb_load(x, i + s), s));");
  EXPECT_EQ(count(text, "ex2.approx.ftz.f32"), 6u) << text;
  EXPECT_EQ(count(text, "fma.rn.f32"), 10u) << text;
}

TEST_F(DeviceHeader, BlocksGoThroughTheWidestAccesses) {
  const std::string floats = ptx("float v[16]; mb_load_block<16>(v, x, i * 16); mb_store_block<16>(y, i * 16, v);");
  EXPECT_EQ(count(floats, "ld.global.nc.v4"), 4u) << floats;
  EXPECT_EQ(count(floats, "st.global.v4"), 4u) << floats;
  EXPECT_EQ(count(floats, "ld.global"), 4u) << floats;
  const std::string halves = ptx("float v[8]; mb_load_block<8>(v, h, i * 8); mb_store_block<8>(z, i * 8, v);");
  EXPECT_EQ(count(halves, "ld.global.nc.v4"), 1u) << halves;
  EXPECT_EQ(count(halves, "ld.global"), 1u) << halves;
  EXPECT_EQ(count(halves, "cvt.rn.bf16x2.f32"), 4u) << halves;
  EXPECT_EQ(count(halves, "st.global.v4"), 1u) << halves;
}

TEST_F(DeviceHeader, AReduceScatterTakesAShuffleLessThanItHasValues) {
  const std::string text =
      ptx("float v[16]; mb_load_block<16>(v, x, i * 16); mb_reduce_scatter<16, 32>(v);"
          "mb_store(y, i, v[0]);");
  EXPECT_EQ(count(text, "shfl.sync.bfly"), 16u) << text;  // 15, and one for the other half of the warp
  EXPECT_EQ(count(text, ".local"), 0u) << text;
}

TEST_F(DeviceHeader, SumsAndScansOfAWarpAreWrittenOut) {
  const std::string text = ptx("mb_store(y, i, mb_sum<32>(mb_load(x, i)) + mb_amax<8>(mb_load(h, i)));");
  EXPECT_EQ(count(text, "shfl.sync.bfly"), 8u) << text;
  const std::string scan =
      ptx("float a = mb_load(x, i), b = mb_load(h, i); mb_scan_pairs<16>(a, b); mb_store(y, i, a + b);");
  EXPECT_EQ(count(scan, "shfl.sync.up"), 8u) << scan;
  for (const std::string* kernel : {&text, &scan}) EXPECT_EQ(count(*kernel, ".local"), 0u) << *kernel;
}

TEST_F(DeviceHeader, CopiesAreAsynchronousFromAmpereOn) {
  const std::string body =
      "MB_SHARED(float, s, 128); mb_copy_async16(s, i * 4, x, i * 4); mb_copy_commit();"
      "mb_copy_wait<0>(); __syncthreads(); mb_store(y, i, mb_load(s, 127 - i));";
  EXPECT_EQ(count(ptx(body, "compute_80"), "cp.async.cg.shared.global"), 1u);
  EXPECT_EQ(count(ptx(body, "compute_75"), "cp.async"), 0u);
}

}  // namespace
}  // namespace mambac::test
