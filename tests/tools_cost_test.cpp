// The figures of `mambac cost` against the papers', and against each other.
#include <nlohmann/json.hpp>

#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

struct Size {
  const char* model;
  int64_t parameters;
  double flops_per_byte;
};

/// Parameters as in the released files; FLOPs per byte as SpaceByte (arXiv 2404.14408) counts them.
TEST(Cost, SaysWhatThePapersSay) {
  const TemporaryFolder folder;
  for (const Size& size : {Size{"mambabyte:353m", 353945600, 713.0}, Size{"mambabyte:353m-hub", 373950464, 753.4},
                           Size{"mambabyte:972m", 973934080, 1955.8}, Size{"mambabyte:1.6b", 1606095360, 3222.4}}) {
    const Json cost =
        Json::parse(succeed(folder, std::string("mambac cost ") + size.model + " --set B=1 L=8192 --json"));
    EXPECT_EQ(cost.at("parameters"), size.parameters) << size.model;
    EXPECT_NEAR(cost.at("flops_per_byte").get<double>() / 1e6, size.flops_per_byte, 0.05) << size.model;
  }
  const Json exact = Json::parse(succeed(folder, "mambac cost mambabyte:353m --json"));
  EXPECT_EQ(exact.at("flops_per_byte"), 713025536);
}

TEST(Cost, ThePositionsDoNotChangeTheCountPerByte) {
  const TemporaryFolder folder;
  const Json one = Json::parse(succeed(folder, "mambac cost mambabyte:tiny --set B=1 L=16 --json"));
  const Json many = Json::parse(succeed(folder, "mambac cost mambabyte:tiny --set B=3 L=160 --json"));
  EXPECT_EQ(one.at("flops_per_byte"), many.at("flops_per_byte"));
  EXPECT_EQ(one.at("parameters"), many.at("parameters"));
  EXPECT_GT(many.at("flops"), one.at("flops"));
  EXPECT_GT(many.at("planned_bytes"), one.at("planned_bytes"));
}

TEST(Cost, LayersComputedAgainTakeLessMemoryAndMoreWork) {
  const TemporaryFolder folder;
  const std::string command = "mambac cost mambabyte:tiny --set layers=8 B=4 L=2048 --graph train --json --recompute ";
  const Json all = Json::parse(succeed(folder, command + "0")), few = Json::parse(succeed(folder, command + "7"));
  EXPECT_LT(few.at("planned_bytes").get<double>(), 0.5 * all.at("planned_bytes").get<double>());
  EXPECT_GT(few.at("flops"), all.at("flops"));
}

TEST(Cost, KernelsSumUpToTheWhole) {
  const TemporaryFolder folder;
  for (const char* graph : {"train", "prefill", "step", "eval"}) {
    const Json cost =
        Json::parse(succeed(folder, std::string("mambac cost mambabyte:tiny --json --graph ") + graph));
    for (const char* key : {"flops", "exponentials", "bytes_read", "bytes_written"}) {
      int64_t sum = 0;
      for (const Json& kernel : cost.at("kernels")) sum += kernel.at(key).get<int64_t>();
      EXPECT_EQ(cost.at(key), sum) << graph << " " << key;
    }
  }
}

/// A layer of B 1, L 1, by hand: with N states the walk's exponentials are D N (decay) and what its activations need.
TEST(Cost, CountsAWalkByHand) {
  const TemporaryFolder folder;
  folder.write("walk.mb", R"(free B, L
model walk<D = 6, N = 5>(dt: [B, L, D], u: [B, L, D], a: [D, N], b: [B, L, N], c: [B, L, N]) -> [B, L, D] {
  return y = sum<N>(scan<L>(exp(dt * a), dt * b * u) * c)
})");
  const Json cost = Json::parse(succeed(folder, "mambac cost walk.mb --set B=2 L=7 --json"));
  const int64_t states = 2 * 7 * 6 * 5;
  EXPECT_EQ(cost.at("flops_per_byte"), 6 * 6 * 5);
  EXPECT_EQ(cost.at("exponentials"), states);
}

}  // namespace
}  // namespace mambac::test
