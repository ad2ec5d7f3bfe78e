// Every mistake gives one clear message and the right exit code.
#include <cmath>

#include "runtime/npy.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

struct Mistake {
  std::string name;
  std::string model;    // text of m.mb; may be empty
  std::string command;
  int code;
  std::vector<std::string> said;  // parts of the message
};

/// For the names of tests.
void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

/// A definition around one statement of its block.
std::string around(const std::string& statement) {
  return "free B, L\nmodel m<E = 4>(x: [B, L, E]) -> [B, L, E] {\n" + statement + "\n}\n";
}

const std::string kDump = "mambac dump m.mb --graph prefill";

const std::vector<Mistake> kMistakes = {
    {"UnknownOp", around("return y = scna<L>(x, x)"), kDump, 1, {"m.mb:3:", "scna", "did you mean 'scan'"}},
    {"WrongDimension", around("return y = sum<K>(x)"), kDump, 1, {"m.mb:3:", "K"}},
    {"UnalignedDims", around("param w: [E, 2] = ones  dim F = 8  param v: [F] = ones  return y: [B, L, E] = x * w * v"),
     kDump, 1, {"m.mb:3:", "expected"}},
    {"UseBeforeDefinition", around("y = x * z\nz = x\nreturn y = y"), kDump, 1, {"m.mb:3:", "'z'"}},
    {"Recursion", "free B\nblock f(x) { return f(x) }\nmodel m(x: [B]) { return y = f(x) }", kDump, 1, {"m.mb:2:", "f"}},
    {"ParameterWithoutInitialiser",
     "free B, L\nmodel m<V = 256, E = 4>(bytes: u8[B, L]) {\n param t: [V, E]\n return logits = dot<E>(gather<V>(t, bytes), t)\n}",
     "mambac train m.mb --data data.txt --out run --steps 1", 1, {"m.mb:3:", "without initialiser", "'t'"}},
    {"SizeBeyondAll", "", "mambac cost mambabyte:tiny --set E=999999999999", 1, {"more than 2^48 elements"}},
    {"RecomputeWithoutGradients", "", "mambac cost mambabyte:tiny --recompute 1", 1, {"prefill", "--graph train"}},
    {"RecomputeOfMoreThanThereIs", "", "mambac cost mambabyte:tiny --graph train --recompute 2", 1,
     {"--recompute", "found 2", "at most 1"}},
    {"StartWithoutItsPlace", around("return y = x"), "mambac dump --start-at m.mb", 1, {"m.mb:", "# mambac after STAGE"}},
    {"StartAfterNoStage", "# mambac after fusion: graph=step dtype=f32\nfree B\nblock m(x: f32[B]) { return y = x }\n",
     "mambac dump --start-at m.mb", 1, {"step graphs", "'fusion'", "fuse"}},
    {"StartWithAKernelThatWalksTheOtherWay",
     "# mambac after fuse: graph=eval dtype=f32\nfree L\nkernel k0_walk = walk<L, reverse>\nblock m(x: f32[L]) {\n"
     "  y: f32[L] = scan<L>(x, x)  in k0\n  return y = y\n}\n",
     "mambac dump --start-at m.mb --stage kernels", 1, {"m.mb:5:3: ", "'y' (scan)", "k0_walk"}},
    {"StartWithKernelsInACircle",
     "# mambac after fuse: graph=eval dtype=f32\nfree L\nkernel k0 = rows outer<L>\nkernel k1 = rows outer<L>\n"
     "block m(x: f32[L]) {\n  a: f32[L] = exp(x)  in k0\n  b: f32[L] = exp(a)  in k1\n  y: f32[L] = exp(b)  in k0\n"
     "  return y = y\n}\n",
     "mambac dump --start-at m.mb --stage kernels", 1, {"m.mb:6:3: ", "'a' (exp)", "in a cycle"}},
    {"StartAndModel", "", "mambac dump mambabyte:tiny --start-at m.mb", 2, {"--start-at", "MODEL"}},
    {"PlaceWithoutOptions", "# mambac after fuse\nfree B\nblock m(x: f32[B]) { return y = x }\n",
     "mambac opt m.mb --passes simplify", 1, {"m.mb:1:1", "STAGE: graph=KIND"}},
    {"UnknownPass", "block m() { return y = 1.0 }\n", "mambac opt m.mb --passes simplify,fusion", 1, {"'fusion'", "fuse"}},
    {"UnknownPassOfAnUnknownGraph", "", "mambac opt nowhere.mb --passes fusion", 1, {"no pass 'fusion'"}},
    {"NoPasses", "block m() { return y = 1.0 }\n", "mambac opt m.mb", 1, {"--passes", "--list-passes"}},
    {"UnknownPipelineOption", "free B\nblock m(x: f32[B]) { return y = x }\n",
     "mambac opt m.mb --passes fuse --options speed=9", 1, {"'speed'", "few_kernels"}},
    {"NegativeRecompute", "", "mambac dump mambabyte:tiny --recompute -1", 1, {"--recompute", "-1"}},
    {"RecomputeOfNothing", "", "mambac train mambabyte:tiny --data t --out run --steps 1 --recompute some", 1,
     {"recompute", "'some'"}},
    {"SizeOverflows", "", "mambac cost mambabyte:tiny --set B=4611686018427387904 L=1024", 1, {"2^62 elements"}},
    {"MoreThanTheMachineHas", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --context 16 --batch 100000000000",
     3, {"memory"}},
    {"NoStepForm", around("return y = scan<L, reverse>(0.5, x)"), "mambac dump m.mb --graph step", 1, {"m.mb:3:", "scan"}},
    {"LossWithDimensions", "free B, L\nmodel m<E = 4>(x: [B, L, E]) {\n  return y = x, loss = sum<E>(x)\n}",
     "mambac dump m.mb --graph train", 1, {"m.mb:2:", "'loss'", "f32[B, L]", "scalar"}},
    {"NothingButALoss", "free B, L\nmodel m<E = 4>(x: [B, L, E]) {\n  return loss = sum<B, L, E>(x)\n}",
     "mambac dump m.mb --graph step", 1, {"m.mb:2:", "no result but its loss"}},
    {"NoSuchModel", "", "mambac cost mambabite", 1, {"'mambabite'", "did you mean 'mambabyte'"}},
    {"NoSuchPreset", "", "mambac cost mambabyte:smal", 1, {"'smal'", "did you mean 'small'"}},
    {"NoSuchSetting", "", "mambac cost mambabyte:tiny --set layer=3", 1, {"'layer'", "did you mean 'layers'"}},
    {"SettingWithoutNumber", "", "mambac cost mambabyte:tiny --set E=big", 1, {"'E=big'", "integer"}},
    {"FewerThanNoBytes", "", "mambac generate run --bytes=-1", 2, {"--bytes", "found -1", "expected 0 or more"}},
    {"NoSuchStage", "", "mambac dump mambabyte:tiny --stage fused", 1, {"'fused'", "did you mean 'fuse'"}},
    {"NoSuchKernel", "", "mambac dump mambabyte:tiny --stage kernels --kernel 5", 1, {"'5'", "k0 to k"}},
    {"NoKernelOfThatNameToDump", around("return y = scan<L>(0.5, x)"), kDump + " --stage kernels --kernel k0_wakl_scan",
     1, {"'k0_wakl_scan'", "did you mean 'k0_walk_scan'", "k0 to k0"}},
    {"KernelOfAGraph", "", "mambac dump mambabyte:tiny --kernel k0", 1, {"--kernel", "stores", "--stage kernels"}},
    {"ScheduleOfAGraph", "", "mambac dump mambabyte:tiny --stage fuse --schedule k0:tile=4", 1,
     {"--schedule", "fuse", "--stage kernels"}},
    {"StageOfAnotherGraph", "", "mambac dump mambabyte:tiny --graph train --stage step", 1, {"--stage", "step", "train"}},
    {"DeviceOfADump", "", "mambac dump mambabyte:tiny --device gpu", 1, {"--device", "'gpu'", "cpu or cuda"}},
    {"MachineCodeForAGpu", "", "mambac dump mambabyte:tiny --stage asm --device cuda", 1, {"--device", "cuda", "asm", "cpu"}},
    {"CudaForTheCpu", "", "mambac dump mambabyte:tiny --stage cuda --device cpu", 1, {"--device", "cpu", "expected cuda"}},
    {"NoSuchGraph", "", "mambac dump mambabyte:tiny --graph trian", 1, {"'trian'", "train"}},
    {"NoSuchType", "", "mambac dump mambabyte:tiny --dtype f8", 1, {"'f8'", "bf16"}},
    {"EmptyData", "", "mambac train mambabyte:tiny --data empty.txt --out run --steps 1", 1, {"empty.txt", "empty"}},
    {"DataShorterThanTheContext", "", "mambac train mambabyte:tiny --data short.txt --out run --steps 1 --context 64", 1,
     {"short.txt", "at least 65"}},
    {"DataThatIsNotThere", "", "mambac train mambabyte:tiny --data nothing.txt --out run --steps 1", 1, {"nothing.txt"}},
    {"AFolderWithoutFiles", "", "mkdir none; mambac train mambabyte:tiny --data none --out run --steps 1", 1, {"none"}},
    {"NoModelOfBytes", "", "mambac train mamba-lm:tiny --data data.txt --out run --steps 1", 1, {"tokens", "bytes: u8[B, L]"}},
    {"NoLengthOfTraining", "", "mambac train mambabyte --data data.txt --out run", 1, {"--minutes or --steps"}},
    {"LearningRateOutOfRange", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --learning-rate -1", 1,
     {"learning_rate"}},
    {"LearningRateWithoutNumber", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --learning-rate fast",
     1, {"learning_rate", "'fast'"}},
    {"FolderThatCannotBe", "", "mambac train mambabyte:tiny --data data.txt --out data.txt/run --steps 1 --batch 1 --context 16",
     3, {"data.txt/run"}},
    {"NoCheckpoint", "", "mkdir run; mambac eval run --data data.txt", 1, {"'run'", "no checkpoint"}},
    {"CheckpointThatIsNoFolder", "", "mambac generate data.txt --prompt a", 1, {"data.txt", "folder"}},
    {"NaN", around("return y = x"), "mambac run m.mb --input x=nan.npy --out r", 1, {"x (nan.npy)", "NaN at [0, 1, 2]"}},
    {"ShapesThatDisagree", "free B\nblock add2(x: [B], y: [B]) { return z = x + y }",
     "mambac run m.mb --input x=one.npy y=two.npy --out r", 1, {"B is 2 in y (two.npy)", "1 in x (one.npy)"}},
    {"WrongRank", around("return y = x"), "mambac run m.mb --input x=one.npy --out r", 1, {"[1]", "f32[B, L, E]"}},
    {"FixedSizeWrong", around("return y = x"), "mambac run m.mb --set E=5 --input x=x.npy --out r", 1, {"E is 4", "5"}},
    {"InputMissing", "free B\nblock add2(x: [B], y: [B]) { return z = x + y }", "mambac run m.mb --input x=one.npy --out r",
     1, {"m.mb:2:20:", "input 'y' is missing", "--input y=FILE.npy", "f32[B]"}},
    {"NoInputAtAll", around("return y = x"), "mambac run m.mb --out r", 1,
     {"m.mb:2:16:", "input 'x' is missing", "--input x=FILE.npy", "f32[B, L, E]"}},
    {"InputUnknown", around("return y = x"), "mambac run m.mb --input x=x.npy z=one.npy --out r", 1,
     {"m.mb:2:7:", "no input 'z'", "'m' has: x"}},
    {"InputInAnotherCase", around("return y = x"), "mambac run m.mb --input X=x.npy --out r", 1,
     {"m.mb:2:7:", "there is no input 'X', did you mean 'x'?"}},
    {"OptionalInputMisspelt", "free B\nblock f(x: [B], start?: [B]) { return y = x }",
     "mambac run m.mb --input x=one.npy strat=one.npy --out r", 1, {"m.mb:2:7:", "'strat', did you mean 'start'?"}},
    {"SeedMisspelt", around("return y = x"), "mambac run m.mb --grad --input x=x.npy seed.Y=x.npy --out r", 1,
     {"'seed.Y', did you mean 'seed.y'?"}},
    {"SizeOfNoInput", "free B, L\nmodel m(x: [B]) { return y = broadcast<L>(x) }",
     "mambac run m.mb --input x=one.npy --out r", 1, {"the size of L follows from no input", "--set L="}},
    {"InputUnreadable", around("return y = x"), "mambac run m.mb --input x=missing.npy --out r", 1, {"missing.npy"}},
    {"InputIsNoArray", around("return y = x"), "mambac run m.mb --input x=data.txt --out r", 1, {"data.txt"}},
    {"NoSuchBlock", around("return y = x"), "mambac run m.mb --block mm --input x=x.npy --out r", 1, {"'mm'"}},
    {"NoSuchDevice", around("return y = x"), "mambac run m.mb --input x=x.npy --out r --device tpu", 2,
     {"--device", "'tpu'", "did you mean 'cpu'", "cpu, reference, cuda-emulated, cuda, and cuda:N"}},
    {"DeviceMisspelt", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --device cuda-emulatde", 2,
     {"'cuda-emulatde'", "did you mean 'cuda-emulated'"}},
    {"DeviceWithoutNumber", "", "mambac eval run --data data.txt --device cuda:", 2, {"'cuda:'", "a GPU by its number"}},
    {"DeviceWithText", "", "mambac generate run --device cuda:one", 2, {"'cuda:one'", "a GPU by its number"}},
    {"DeviceBelowZero", "", "mambac bench scan --device cuda:-1", 2, {"'cuda:-1'", "a GPU by its number"}},
    {"DeviceBeyondNumbers", "", "mambac generate run --device cuda:99999999999", 2, {"'cuda:99999999999'"}},
    {"OnlyRunHasAReference", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --device reference", 2,
     {"'reference'", "there are: cpu, cuda-emulated"}},
    {"ScheduleWithoutKernels", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule width=64", 1,
     {"--schedule", "'width=64'", "PART-OF-KERNEL-NAME:AXIS=NUMBER"}},
    {"NoSuchAxis", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule scan:widht=64", 1,
     {"'widht'", "did you mean 'width'", "tile"}},
    {"AxisWithoutNumber", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule scan:tile=few", 1,
     {"'tile=few'", "AXIS=NUMBER"}},
    {"AxisBelowZero", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule scan:tile=-1", 1,
     {"'tile=-1'", "from 0 to 2147483647"}},
    {"AxisBeyondAll", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule scan:tile=99999999999", 1,
     {"'tile=99999999999'", "from 0 to 2147483647"}},
    {"NegativeSeed", around("return y = x"), "mambac compare m.mb --seed -1", 2, {"--seed", "found -1", "from 0 to 2^64 - 1"}},
    {"SeedBeyondAll", "", "mambac run m.mb --out out --seed 18446744073709551616", 2, {"--seed", "from 0 to 2^64 - 1"}},
    {"ScheduleWithoutDevice", "", "mambac cost mambabyte:tiny --schedule scan:tile=8", 2, {"--device"}},
    {"NoKernelOfThatName", "", "mambac bench scan --rounds 1 --schedule softplus:tile=8", 1,
     {"no kernel has 'softplus' in its name", "scan_fwd"}},
    {"NoKernelOfThatNumber", around("return y = scan<L>(0.5, x)"), kDump + " --stage kernels --schedule k1:tile=8", 1,
     {"no kernel has 'k1' in its name", "k0", "m_fwd_scan_f32"}},
    {"IllegalScheduleByNumber", around("return y = scan<L>(0.5, x)"), kDump + " --stage kernels --schedule k0:tile=0", 1,
     {"kernel m_fwd_scan_f32", "tile=0", "1 or more"}},
    {"IllegalWidth", "", "mambac bench scan --rounds 1 --schedule scan:width=3", 1, {"width=3", "power of two"}},
    {"GpuAxisOnACpu", "", "mambac bench scan --rounds 1 --schedule scan:tiles_ahead=2", 1,
     {"kernel scan_fwd", "tiles_ahead=2", "only kernels for a GPU"}},
    {"TileOfTooManySteps", "", "mambac cost mambabyte:tiny --graph prefill --device cuda:sm_90 --schedule scan:tile=4096",
     1, {"tile=4096", "at most 1024"}},
    {"SwitchThatIsNone", "", "mambac cost mambabyte:tiny --device cuda:sm_90 --schedule scan:staged=7", 1,
     {"'staged=7'", "staged=0 or staged=1"}},
    {"LanesShareNoTimeOnACpu", "",
     "mambac bench scan --rounds 1 --schedule "
     "scan:time_lanes=4,tile=16,states_in_registers=1,staged=1,blocks_per_task=1",
     1, {"kernel scan_fwd", "time_lanes=4", "only kernels for a GPU"}},
    {"TimeLanesOfAnotherKernel", "",
     "mambac cost mambabyte:tiny --graph prefill --device cuda:sm_90 --schedule scan:time_lanes=3,pieces=1", 1,
     {"kernel mamba_fwd", "time_lanes=3", "power of two"}},
    {"AlgorithmOfAGeneratedKernel", "", "mambac bench scan --rounds 1 --schedule scan:algorithm=1", 1,
     {"--schedule: kernel scan_fwd", "algorithm=1", "only matrix products by a library"}},
    {"AlgorithmOfALookUp", "", "mambac dump mambabyte:tiny --stage kernels --schedule gather:algorithm=1", 1,
     {"kernel mambabyte_fwd_gather", "algorithm=1", "only matrix products by a library"}},
    {"AlgorithmThatNoLibraryHas", "", "mambac dump mambabyte:tiny --stage kernels --schedule dot:algorithm=16", 1,
     {"kernel mamba", "_dot_", "algorithm=16", "at most 15"}},
    {"AlgorithmThatThisLibraryLacks", "", "mambac explain mambabyte:tiny --graph prefill dot --schedule dot:algorithm=15", 1,
     {"algorithm=15: oneDNN", "0: ", "slices"}},
    {"AxisThatALibraryLacks", "", "mambac dump mambabyte:tiny --stage kernels --schedule dot:tile=8", 1,
     {"'dot' names calls of a library alone", "'tile'", "expected algorithm"}},
    {"IllegalSchedule", "", "mambac bench scan --rounds 1 --schedule scan:tile=0", 1, {"tile=0", "1 or more"}},
    {"NoGpu", "", "MAMBAC_CUDA_DRIVER=/none mambac train mambabyte:tiny --data data.txt --out run --steps 1 --device cuda:7", 3,
     {"CUDA driver", "/none"}},
    {"ModelIsNoText", "\x01\x02\x03", kDump, 1, {"m.mb:1:1"}},
    {"NoSuchRow", "", "mambac bench scann", 1, {"'scann'", "did you mean 'scan'"}},
    {"NoCommand", "", "mambac", 2, {"subcommand"}},
    {"NoSuchCommand", "", "mambac trian", 2, {"'trian'", "did you mean 'train'"}},
    {"NoSuchOption", "", "mambac cost mambabyte:tiny --jsn", 2, {"--jsn"}},
    {"MissingOption", "", "mambac train mambabyte:tiny", 2, {"--data"}},
    {"TwoLengths", "", "mambac train mambabyte:tiny --data data.txt --out run --steps 1 --minutes 1", 2, {"--steps", "--minutes"}},
    {"OutputCannotBeWritten", "", "mambac cost mambabyte:tiny >/dev/full", 3, {"output"}},
};

class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, OneMessageAndTheRightCode) {
  const TemporaryFolder folder;
  const Mistake& mistake = GetParam();
  folder.write("m.mb", mistake.model);
  folder.write("data.txt", learnable_text(4000));
  folder.write("empty.txt", "");
  folder.write("short.txt", "too short");
  const std::vector<float> zeros(1000, 0.0f);
  std::vector<float> nan(24, 0.0f);
  nan[6] = std::nanf("");
  write_npy(folder / "x.npy", ElementType::f32, std::vector<int64_t>{2, 3, 4}, zeros.data());
  write_npy(folder / "nan.npy", ElementType::f32, std::vector<int64_t>{2, 3, 4}, nan.data());
  write_npy(folder / "one.npy", ElementType::f32, std::vector<int64_t>{1}, zeros.data());
  write_npy(folder / "two.npy", ElementType::f32, std::vector<int64_t>{2}, zeros.data());
  const Outcome outcome = shell(folder, mistake.command);
  EXPECT_EQ(outcome.code, mistake.code) << outcome.error;
  size_t messages = 0;
  for (size_t at = 0; (at = outcome.error.find("mambac: ", at)) != std::string::npos; ++at) ++messages;
  EXPECT_EQ(messages, 1u) << outcome.error;
  for (const std::string& part : mistake.said)
    EXPECT_NE(outcome.error.find(part), std::string::npos) << "expected '" << part << "' in: " << outcome.error;
  EXPECT_EQ(outcome.error.find("internal"), std::string::npos) << outcome.error;
}

INSTANTIATE_TEST_SUITE_P(All, Mistakes, testing::ValuesIn(kMistakes),
                         [](const testing::TestParamInfo<Mistake>& mistake) { return mistake.param.name; });

/// A checkpoint of which one file was damaged.
TEST(DamagedCheckpoint, IsRefusedWithAReason) {
  const TemporaryFolder folder;
  folder.write("data.txt", learnable_text(4000));
  succeed(folder, "mambac train mambabyte:tiny --data data.txt --out good --steps 1 --batch 1 --context 16");
  struct Damage {
    const char* command;
    const char* said;
  };
  const std::string weights = "bad/latest/model.safetensors";
  for (const Damage& damage : {Damage{"truncate -s 1000 ", "safetensors"}, Damage{"truncate -s 0 ", "safetensors"},
                               Damage{"truncate -s +4 ", "safetensors"},
                               Damage{"printf '\\377\\377\\377\\377\\377\\377\\377\\177' | dd conv=notrunc status=none of=", "header"},
                               Damage{"rm ", "checkpoint"}}) {
    for (const char* use : {"mambac eval bad --data data.txt", "mambac generate bad --prompt a"}) {
      const Outcome outcome = shell(folder, "rm -rf bad; cp -r good bad; " + (damage.command + weights) + "; " + use);
      EXPECT_EQ(outcome.code, 1) << damage.command << outcome.error;
      EXPECT_NE(outcome.error.find(damage.said), std::string::npos) << damage.command << outcome.error;
    }
  }
}

TEST(Help, TeachesWithExamples) {
  const TemporaryFolder folder;
  for (const std::string command : {"dump", "cost", "run", "train", "eval", "generate", "bench", "doctor",
                                    "cache", "compare", "diff", "explain", "opt", "reduce"}) {
    const std::string help = succeed(folder, "mambac " + command + " --help");
    EXPECT_NE(help.find("mambac " + command), std::string::npos) << command;
    EXPECT_LT(help.find("mambac " + command), help.find("Usage")) << command;
  }
  EXPECT_EQ(succeed(folder, "mambac --version").rfind("mambac ", 0), 0u);
}

TEST(Doctor, SaysWhatItLookedFor) {
  const TemporaryFolder folder;
  const std::string report = succeed(folder, "mambac doctor --json");
  for (const char* key : {"\"cpu\"", "\"llvm\"", "\"gemm\"", "\"cuda\"", "\"attempts\"", "libcuda.so.1"})
    EXPECT_NE(report.find(key), std::string::npos) << key;
}

TEST(Bench, RunsARowAndNamesAll) {
  const TemporaryFolder folder;
  const std::string list = succeed(folder, "mambac bench --list");
  for (const char* row : {"scan", "layer-forward", "layer-forward-backward", "train-130m", "prefill-130m", "decode-f32",
                          "decode-bf16"})
    EXPECT_NE(list.find(row), std::string::npos) << row;
  const std::string report = succeed(folder, "mambac bench scan --rounds 1 --kernels --json");
  for (const char* key : {"\"name\": \"scan\"", "median_s", "floor_s", "ratio", "bound", "kernels"})
    EXPECT_NE(report.find(key), std::string::npos) << key;
}

TEST(Bench, OnOtherDevicesThereAreTimesAndNoFloors) {
  const TemporaryFolder folder;
  const std::string report = succeed(folder, "mambac bench --model mambabyte:tiny --graph step --set B=2 --rounds 1 --kernels "
                                             "--json --device cuda-emulated");
  for (const char* key : {"\"name\": \"mambabyte:tiny\"", "median_s", "kernels"})
    EXPECT_NE(report.find(key), std::string::npos) << key;
  for (const char* key : {"floor_s", "ratio", "at_most", "bound"})
    EXPECT_EQ(report.find(key), std::string::npos) << key;
}

}  // namespace
}  // namespace mambac::test
