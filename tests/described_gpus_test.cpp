// Descriptions of GPUs: those that are shipped, a file of one's own, and damaged ones.
#include <gtest/gtest.h>

#include <algorithm>

#include "ir/error.h"
#include "tests/temporary_folder.h"
#include "tools/device_files.h"
#include "tools/gpus.h"

namespace mambac::tools {
namespace {

TEST(DescribedGpus, AreAllRead) {
  for (const char* name : {"h100", "h200", "a100", "l40s", "rtx4090", "b200"})
    EXPECT_TRUE(std::ranges::count(gpus(), name, &Gpu::name)) << name;
  for (const Gpu& gpu : gpus()) {
    EXPECT_TRUE(gpu.architecture.starts_with("sm_")) << gpu.name;
    EXPECT_EQ(gpus_for(gpu.architecture, gpu.name).size(), 1u);
    // Numbers of one device hang together: a decimal point that slipped shows.
    EXPECT_GT(gpu.flops_per_second(), 1.9e13) << gpu.name;
    EXPECT_LT(gpu.flops_per_second(), 1.2e14) << gpu.name;
    EXPECT_GT(gpu.narrow_products, 1.9 * gpu.flops_per_second()) << gpu.name;
    EXPECT_GT(gpu.l2_bytes_per_second, 1.2 * gpu.bytes_per_second) << gpu.name;
    EXPECT_GT(gpu.memory_latency, 1.5 * gpu.l2_latency) << gpu.name;
    EXPECT_LT(gpu.memory_latency, 1e-6) << gpu.name;
    EXPECT_GE(gpu.shared_bytes, 100 << 10) << gpu.name;
  }
  EXPECT_EQ(gpus_for("sm_90", "").size(), 2u);
  EXPECT_TRUE(gpus_for("sm_75", "").empty());
}

std::string shipped_text(const std::string& name) {
  return std::string(find_embedded(device_files(), name + ".json")->text);
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

TEST(DescribedGpus, MayBeFiles) {
  const TemporaryFolder folder;
  const std::string path = folder.write("mine.json", replaced(shipped_text("h200"), "132", "66")).string();
  const std::vector<Gpu> found = gpus_for("sm_90", path);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, path);
  EXPECT_EQ(found[0].multiprocessors, 66);
}

TEST(DescribedGpus, SayWhatIsDamaged) {
  const std::string good = shipped_text("h200");
  const TemporaryFolder folder;
  const auto message = [&](const std::string& text) {
    const std::string path = folder.write("damaged.json", text).string();
    const std::string found = message_of<InputError>([&] { gpus_for("sm_90", path); });
    EXPECT_NE(found.find("--gpu: "), std::string::npos) << found;
    EXPECT_NE(found.find(path), std::string::npos) << found;
    return found;
  };
  struct Damage {
    const char *what, *with, *said;
  };
  for (const Damage& damage : {Damage{"{", "", "no JSON"},
                               {"\"clock\": 1.98e9,", "", "\"clock\" in the sources"},
                               {"1.98e9", "\"fast\"", "\"clock\" in the sources"},
                               {"1.98e9", "-1", "clock: -1"},
                               {"1.98e9", "0", "clock: 0"},
                               {"1.98e9", "[]", "clock: []"},
                               {"132", "132.5", "multiprocessors: 132.5"},
                               {"132", "1e12", "multiprocessors"},
                               {"\"sm_90\"", "90", "no architecture"},
                               {"\"clock\", ", "", "no source of clock"},
                               {"\"warps\"", "\"wraps\"", "\"warps\" in the sources"},
                               {"\"kind\": \"gpu\"", "\"kind\": \"tpu\"", "kind tpu"},
                               {"\"kind\": \"gpu\",", "", "no kind"},
                               {"\"clock\", ", "", "no source of clock"},
                               {"\"sources\"", "\"origins\"", "origins"},
                               {"[\"l2_bytes\"]", "[\"l2\"]", "\"l2\" in the sources"},
                               {"\"warps\": 64,", "\"warps\": 64, \"cores\": 5,", "found cores"}}) {
    const std::string found = message(replaced(good, damage.what, damage.with));
    EXPECT_NE(found.find(damage.said), std::string::npos) << damage.said << "\n" << found;
  }
  EXPECT_NE(message("[1]").find("expected an object"), std::string::npos);
  EXPECT_NE(message_of<InputError>([&] { gpus_for("sm_90", (folder / "none.json").string()); }).find("none.json"),
            std::string::npos);
  const std::string unknown = message_of<InputError>([] { gpus_for("sm_90", "h300"); });
  EXPECT_NE(unknown.find("h100 or h200"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("did you mean"), std::string::npos) << unknown;
}

}  // namespace
}  // namespace mambac::tools
