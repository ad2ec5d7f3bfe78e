// Training, evaluation and generation by the driver: from text to text, and over kills.
#include <nlohmann/json.hpp>

#include "tests/tools_support.h"

namespace mambac::test {
namespace {

using Json = nlohmann::json;

constexpr const char* kTrain = "mambac train mambabyte:tiny --data train.txt --valid valid.txt --valid-windows 8 "
                               "--batch 4 --context 48 ";

class Driver : public testing::Test {
 protected:
  void SetUp() override {
    folder.write("train.txt", learnable_text(60000));
    folder.write("valid.txt", learnable_text(4000));
  }
  TemporaryFolder folder;
};

TEST_F(Driver, LearnsEvaluatesAndWrites) {
  for (const std::string dtype : {"f32", "bf16"}) {
    const Json trained = Json::parse(succeed(
        folder, kTrain + ("--out run-" + dtype + " --steps 300 --learning-rate 5e-3 --json --dtype " + dtype)));
    EXPECT_EQ(trained.at("step"), 300);
    EXPECT_EQ(trained.at("parameters"), 36416);
    EXPECT_LT(trained.at("valid_bits_per_byte"), 2.0) << dtype;  // from 8; the text itself has about 0.7
    for (const char* file : {"curve.svg", "curve.csv", "best/model.mb", "best/model.safetensors"})
      EXPECT_TRUE(std::filesystem::exists(folder / ("run-" + dtype) / file)) << file;

    const Json scored = Json::parse(succeed(folder, "mambac eval run-" + dtype + " --data valid.txt --json"));
    EXPECT_EQ(scored.at("bytes"), 4000);
    EXPECT_EQ(scored.at("scored_bytes"), 3999);
    EXPECT_NEAR(scored.at("bits_per_byte"), trained.at("best_valid_bits_per_byte"), 0.3);

    const std::string written =
        succeed(folder, "mambac generate run-" + dtype + " --prompt 'the state of ' --bytes 60 --seed 3");
    EXPECT_EQ(written.size(), 60u);
    EXPECT_EQ(written,
              succeed(folder, "mambac generate run-" + dtype + " --prompt 'the state of ' --bytes 60 --seed 3"));
    EXPECT_NE(written,
              succeed(folder, "mambac generate run-" + dtype + " --prompt 'the state of ' --bytes 60 --seed 4"));
  }
}

/// A definition with a loss of its own, which may or may not read what comes next, and give the nats of each byte.
std::string own_loss(const std::string& inputs, const std::string& results) {
  return "free B, L\nmodel own<U = 256, V = 256>(bytes: u8[B, L]" + inputs + ") {\n" +
         "  param table: [U, V] = normal(0, 0.01)\n" +
         "  logits = gather<U>(table, bytes)\n  return logits, " + results + "\n}\n";
}

TEST_F(Driver, TrainsOnTheLossOfTheDefinition) {
  const std::string nll = "cross_entropy<V>(logits, targets)";
  folder.write("own.mb", own_loss(", targets: u8[B, L]", "loss = mean<B>(mean<L>(" + nll + ")), nll = " + nll));
  const std::string options = " --valid valid.txt --batch 4 --context 48 --steps 60 --learning-rate 0.1 --json";
  const Json trained = Json::parse(succeed(folder, "mambac train own.mb --data train.txt --out own" + options));
  EXPECT_LT(trained.at("valid_bits_per_byte"), 3.0);
  const Json scored = Json::parse(succeed(folder, "mambac eval own --data valid.txt --json"));
  EXPECT_NEAR(scored.at("bits_per_byte"), trained.at("best_valid_bits_per_byte"), 0.3);
  EXPECT_EQ(succeed(folder, "mambac generate own --prompt 'the ' --bytes 20").size(), 20u);
  succeed(folder, "mambac dump own.mb --graph step");

  folder.write("alone.mb", own_loss("", "loss = mean<B>(mean<L>(sum<V>(logits * logits)))"));  // reads no targets
  const Json alone = Json::parse(succeed(folder, "mambac train alone.mb --data train.txt --out alone" + options));
  EXPECT_LT(alone.at("valid_bits_per_byte"), 0.02);
  const Outcome outcome = shell(folder, "mambac eval alone --data valid.txt");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.error.find("no 'nll'"), std::string::npos) << outcome.error;
}

/// The start makes byte 255 the likeliest, forever; zeros in its place would make byte 0 the first of equals.
TEST_F(Driver, WritesFromALearnedStart) {
  folder.write("start.mb",
               "free B, L\nmodel start<U = 256, V = 256>(bytes: u8[B, L]) {\n"
               "  param table: [U, V] = zeros\n  param seed: [V] = log_arange\n"
               "  h = scan<L>(1, gather<U>(table, bytes), start = seed)\n  return logits = h\n}\n");
  succeed(folder, "mambac train start.mb --data train.txt --out start --steps 1 --batch 1 --context 8 "
                  "--learning-rate 1e-9");
  const std::string write = "mambac generate start --prompt abcd --bytes 3 --temperature 0 --chunk ";
  for (const char* chunk : {"0", "2"}) EXPECT_EQ(succeed(folder, write + chunk), "\xff\xff\xff") << chunk;
}

TEST_F(Driver, WritesWhatThePositionSays) {
  folder.write("place.mb",
               "free B, L\nmodel place<U = 256, V = 256>(bytes: u8[B, L]) {\n  param table: [U, V] = zeros\n"
               "  position = iota<L> + 65\n  next = 2 * iota<L> - position\n"
               "  return logits = gather<U>(table, bytes) - abs(iota<V> - next - 130)\n}\n");
  succeed(folder, "mambac train place.mb --data train.txt --out place --steps 1 --batch 1 --context 8 "
                  "--learning-rate 1e-9");
  const std::string write = "mambac generate place --prompt abcd --bytes 3 --temperature 0 --chunk ";
  for (const char* chunk : {"0", "2", "3"}) EXPECT_EQ(succeed(folder, write + chunk), "DEF") << chunk;
}

TEST_F(Driver, GeneratesForManyPromptsFromAnywhere) {
  succeed(folder, kTrain + std::string("--out run --steps 30"));
  folder.write("prompt.txt", learnable_text(300));
  // Through the parallel graph or byte by byte: the likeliest bytes are the same.
  const std::string chunks =
      succeed(folder, "mambac generate run --prompt-file prompt.txt --chunk 64 --bytes 20 --temperature 0");
  const std::string single =
      succeed(folder, "mambac generate run --prompt-file - --chunk 0 --bytes 20 --temperature 0 <prompt.txt");
  EXPECT_EQ(chunks, single);
  const Json texts =
      Json::parse(succeed(folder, "mambac generate run --prompt a --prompt 'of the' --prompt '' --bytes 9 --json"));
  ASSERT_EQ(texts.at("texts").size(), 3u);
  EXPECT_EQ(texts.at("bytes"), 27);
  EXPECT_EQ(succeed(folder, "mambac generate run --prompt a --bytes 0"), "");
}

TEST_F(Driver, GoesOnBitByBitAfterAKill) {
  const std::string options = "--steps 120 --evaluations 12 ";
  succeed(folder, kTrain + options + "--out whole");
  const std::string killed =
      "'" MAMBAC_DRIVER "'" + std::string(kTrain).substr(6) + options + "--out killed & child=$!\n";
  // Killed when the first checkpoint is there, in the middle of a later step.
  shell(folder, killed + "while [ ! -e killed/latest ] && kill -0 $child; do sleep 0.01; done; kill -9 $child; wait");
  succeed(folder, kTrain + std::string("--out killed --resume"));  // with the options of the run
  succeed(folder, "cmp whole/latest/model.safetensors killed/latest/model.safetensors");
  succeed(folder, "cmp whole/latest/optimiser.safetensors killed/latest/optimiser.safetensors");
}

TEST_F(Driver, AnInterruptEndsInOrder) {
  const std::string command =
      "'" MAMBAC_DRIVER "'" + std::string(kTrain).substr(6) + "--steps 100000 --out run 2>log & child=$!\n";
  const Outcome outcome = shell(folder, command +
                                            "while ! grep -q step log; do sleep 0.05; kill -0 $child || exit 98; done\n"
                                            "kill -INT $child; wait $child");
  EXPECT_EQ(outcome.code, 130) << outcome.error << contents(folder / "log");
  EXPECT_TRUE(std::filesystem::exists(folder / "run/latest/model.safetensors"));
  EXPECT_NE(contents(folder / "log").find("--resume"), std::string::npos);
}

TEST_F(Driver, ADiskThatIsFullLosesNothing) {
  succeed(folder, kTrain + std::string("--steps 4 --out run"));
  const std::string before = contents(folder / "run/latest/model.safetensors");
  const Outcome outcome = shell(folder, "ulimit -f 16; " + std::string(kTrain) + "--steps 8 --out run --resume");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_NE(outcome.error.find("could not be written"), std::string::npos) << outcome.error;
  EXPECT_EQ(contents(folder / "run/latest/model.safetensors"), before);
  succeed(folder, kTrain + std::string("--steps 8 --out run --resume"));
}

TEST_F(Driver, LayersComputedAgainTakeLessMemoryAndLearnTheSame) {
  std::vector<Json> runs;
  for (const std::string recompute : {"auto", "3"})
    runs.push_back(Json::parse(succeed(folder, kTrain + ("--set layers=4 --steps 60 --json --recompute " + recompute +
                                                         " --out run-" + recompute))));
  EXPECT_LT(runs[1].at("planned_bytes"), runs[0].at("planned_bytes"));
  EXPECT_NEAR(runs[1].at("valid_bits_per_byte"), runs[0].at("valid_bits_per_byte").get<double>(), 0.02);
  EXPECT_NE(contents(folder / "run-3/latest/model.mb").find("train.recompute = \"3\""), std::string::npos);
  EXPECT_NE(contents(folder / "run-auto/latest/model.mb").find("train.recompute = \"0\""), std::string::npos);
}

TEST_F(Driver, MemoryStaysAsPlanned) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep memory of their own";
#endif
  const Json trained = Json::parse(succeed(
      folder, "mambac train mambabyte:small --data train.txt --out run --steps 3 --batch 8 --context 512 --json"));
  const double planned = trained.at("planned_bytes"), used = trained.at("used_bytes");
  EXPECT_NEAR(used / planned, 1, 0.1);
}

}  // namespace
}  // namespace mambac::test
