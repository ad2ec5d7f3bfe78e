// 'doctor' and 'cache' as a user runs them, with a library that answers like CUDA and with none.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runtime/cuda/kernel_cache.h"
#include "tests/cuda_support.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

constexpr const char* kFake = "export MAMBAC_CUDA_DRIVER='" MAMBAC_FAKE_CUDA "' MAMBAC_NVRTC='" MAMBAC_FAKE_CUDA
                              "' MAMBAC_CUBLASLT='" MAMBAC_FAKE_CUDA "' NVTX_INJECTION64_PATH='" MAMBAC_FAKE_CUDA "'; ";

TEST(Doctor, WithoutCuda) {
  const TemporaryFolder folder;
  const std::string none = "export MAMBAC_CUDA_DRIVER=/no/driver MAMBAC_NVRTC=/no/nvrtc MAMBAC_CUBLASLT=/no/cublas; ";
  const std::string text = succeed(folder, none + "mambac doctor");
  EXPECT_TRUE(says(text, "CUDA driver: not found", "    /no/driver: ")) << text;
  EXPECT_TRUE(says(text, "install the driver", "    /no/nvrtc: ")) << text;
  EXPECT_TRUE(says(text, "(NVTX): not found; run under a profiler", "or set $NVTX_INJECTION64_PATH to its path\n"))
      << text;
  const Json report = Json::parse(succeed(folder, none + "mambac doctor --json"));
  EXPECT_TRUE(report["cuda"]["devices"].empty());
  EXPECT_FALSE(report["cuda"]["libraries"][0]["found"]);
  EXPECT_EQ(report["cuda"]["libraries"][1]["attempts"][0]["name"], "/no/nvrtc");
}

TEST(Doctor, WithDevices) {
  const TemporaryFolder folder;
  const std::string two = std::string(kFake) + "export FAKE_CUDA_DEVICES=2; ";
  const std::string text = succeed(folder, two + "mambac doctor");
  EXPECT_TRUE(says(text, "cuda:1      Fake GPU, compute capability 9.0, 132 multiprocessors", " free)")) << text;
  EXPECT_TRUE(says(text, "version CUDA 13.0", "version 13.1.0")) << text;
  EXPECT_TRUE(says(text, MAMBAC_FAKE_CUDA, "GPU-00102030-")) << text;
  EXPECT_TRUE(says(text, "CUDA annotations (NVTX): " MAMBAC_FAKE_CUDA)) << text;
  const Json report = Json::parse(succeed(folder, two + "mambac doctor --json"));
  ASSERT_EQ(report["cuda"]["devices"].size(), 2u);
  const Json& device = report["cuda"]["devices"][1];
  EXPECT_EQ(device["device"], "cuda:1");
  EXPECT_EQ(device["architecture"], "sm_90");
  EXPECT_EQ(device["memory_bytes"], 1 << 30);
  EXPECT_EQ(device["free_bytes"], 1 << 30);
}

TEST(Doctor, ProblemsAreReportedNotFatal) {
  const TemporaryFolder folder;
  std::string text = succeed(folder, std::string(kFake) + "FAKE_CUDA_DEVICES=0 mambac doctor");
  EXPECT_TRUE(says(text, "cannot be used", "CUDA_ERROR_NO_DEVICE")) << text;
  text = succeed(folder, std::string(kFake) + "FAKE_CUDA_FAIL=cuDevicePrimaryCtxRetain=46 mambac doctor");
  EXPECT_TRUE(says(text, "cuda:0      Fake GPU", "cannot open the device")) << text;
  text = succeed(folder, "MAMBAC_CUDA_DRIVER='" MAMBAC_FAKE_CUDA_OLD "' mambac doctor");
  EXPECT_TRUE(says(text, "cannot be used", "cuGraphInstantiateWithFlags")) << text;
  text = succeed(folder, std::string(kFake) + "FAKE_CUDA_FAIL=InitializeInjectionNvtx2=1 mambac doctor");
  EXPECT_TRUE(says(text, "cannot be used: CUDA annotations (NVTX): '", "refuses to be attached")) << text;
}

class CacheCommand : public testing::Test {
 protected:
  TemporaryFolder folder;
  const std::string here = "export MAMBAC_CACHE=\"$PWD/cache\"; ";

  void fill() {
    const cuda::Nvrtc nvrtc(fake_library());
    cuda::KernelCache cache(folder / "cache" / "kernels-1");
    const std::string source = "extern \"C\" __global__ void add_one(float* data, int n) {}\n";
    cache.compile(nvrtc, {source, "k.cu", "sm_90", {}});
    cache.compile(nvrtc, {source, "k.cu", "sm_80", {}});
    cache.compile(nvrtc, {source, "k.cu", "sm_90", {"--maxrregcount=64"}});
    cache.compile(nvrtc, {source + "// other\n", "k.cu", "sm_90", {}});
  }
  Json listed() { return Json::parse(succeed(folder, here + "mambac cache list --json")); }
  std::string key_of(const std::string& what) {
    const Json all = listed();
    for (const Json& entry : all["entries"])
      if (Json::parse(succeed(folder, here + "mambac cache explain --json " + std::string(entry["key"])))["options"] ==
          what)
        return entry["key"];
    ADD_FAILURE() << what;
    return "";
  }
};

TEST_F(CacheCommand, ListsExplainsAndClears) {
  EXPECT_EQ(listed()["entries"].size(), 0u);
  fill();
  const Json all = listed();
  ASSERT_EQ(all["entries"].size(), 4u);
  EXPECT_EQ(all["entries"][0]["kernels"][0]["registers"], 32);
  const std::string text = succeed(folder, here + "mambac cache list");
  EXPECT_TRUE(says(text, "sm_80", "add_one")) << text;
  EXPECT_TRUE(says(text, "4 entries, ", "kernels-1")) << text;

  const std::string key =
      key_of("-arch=sm_90 -std=c++17 -default-device --fmad=true --ptxas-options=-v --maxrregcount=64");
  const std::string explained = succeed(folder, here + "mambac cache explain " + key.substr(0, 12));
  EXPECT_TRUE(says(explained, "another options", "another architecture, options")) << explained;
  EXPECT_TRUE(says(explained, "another options, source", "add_one: 32 registers, 8 B spilled")) << explained;
  EXPECT_EQ(succeed(folder, here + "mambac cache explain --source " + key),
            "extern \"C\" __global__ void add_one(float* data, int n) {}\n");

  Outcome outcome = shell(folder, here + "mambac cache explain nothing");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(says(outcome.error, "found 'nothing', expected the beginning of a key")) << outcome.error;
  outcome = shell(folder, here + "mambac cache explain ''");
  EXPECT_TRUE(says(outcome.error, "expected more of a key", key.substr(0, 12))) << outcome.error;

  EXPECT_TRUE(says(succeed(folder, here + "mambac cache clear"), "4 entries removed"));
  EXPECT_EQ(listed()["entries"].size(), 0u);
}

TEST_F(CacheCommand, VerifyRemovesWhatIsDamaged) {
  fill();
  const Json all = listed();
  const std::string key = all["entries"][1]["key"], other = all["entries"][2]["key"];
  const auto path = [&](const std::string& name) { return "cache/kernels-1/" + name + ".kernel"; };
  const std::string bytes = contents(folder / path(key));
  folder.write(path(key), bytes.substr(0, bytes.size() - 3));
  const std::string list = succeed(folder, here + "mambac cache list");
  EXPECT_TRUE(says(list, "damaged")) << list;
  Outcome outcome = shell(folder, here + "mambac cache explain " + key);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(says(outcome.error, "mambac cache verify")) << outcome.error;
  folder.write(path(std::string(32, '0')), contents(folder / path(other)));
  const std::string text = succeed(folder, here + "mambac cache verify");
  EXPECT_TRUE(says(text, key + " has ", "removed")) << text;
  EXPECT_TRUE(says(text, "has the name of another key", "3 entries are good, 2 were damaged")) << text;
  EXPECT_EQ(Json::parse(succeed(folder, here + "mambac cache verify --json"))["good"], 3);
}

TEST_F(CacheCommand, TeachesAndNeedsAPlace) {
  const std::string help = succeed(folder, "mambac cache --help");
  EXPECT_LT(help.find("mambac cache list"), help.find("Usage")) << help;
  EXPECT_EQ(shell(folder, "mambac cache").code, 2);
  Outcome outcome = shell(folder, "mambac cache lis");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(says(outcome.error, "there is no command 'lis'", "'list'")) << outcome.error;
  outcome = shell(folder, "unset MAMBAC_CACHE XDG_CACHE_HOME HOME; mambac cache list");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_TRUE(says(outcome.error, "$HOME")) << outcome.error;
  folder.write("file", "no folder");
  outcome = shell(folder, "MAMBAC_CACHE=file mambac cache list");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_TRUE(says(outcome.error, "'file' is no folder")) << outcome.error;
}

}  // namespace
}  // namespace mambac::test
