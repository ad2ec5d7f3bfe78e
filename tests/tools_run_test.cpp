// `mambac run`: the generated code against the interpreter, through files.
#include <cmath>
#include <cstring>

#include "runtime/npy.h"
#include "runtime/rng.h"
#include "tests/tools_support.h"

namespace mambac::test {
namespace {

void write_random(const TemporaryFolder& folder, const std::string& name, const std::vector<int64_t>& shape,
                  uint64_t seed) {
  int64_t elements = 1;
  for (int64_t size : shape) elements *= size;
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(elements));
  for (float& value : values) value = static_cast<float>(rng.normal());
  write_npy(folder / name, ElementType::f32, shape, values.data());
}

std::vector<double> read_values(const std::filesystem::path& path, std::vector<int64_t>* shape) {
  const NpyArray npy = read_npy(path);
  *shape = npy.shape;
  std::vector<double> values(static_cast<size_t>(npy.elements));
  for (size_t i = 0; i < values.size(); ++i) {
    if (npy.type == ElementType::f64) {
      std::memcpy(&values[i], npy.data.data() + 8 * i, 8);
    } else {
      float value;
      std::memcpy(&value, npy.data.data() + 4 * i, 4);
      values[i] = static_cast<double>(value);
    }
  }
  return values;
}

/// All files of both folders agree within the tolerances.
void expect_agreement(const TemporaryFolder& folder, double relative, double absolute, size_t files) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "truth")) {
    const std::string name = entry.path().filename().string();
    std::vector<int64_t> shape, expected_shape;
    const std::vector<double> expected = read_values(entry.path(), &expected_shape);
    const std::vector<double> found = read_values(folder / "found" / name, &shape);
    ASSERT_EQ(shape, expected_shape) << name;
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_LE(std::abs(found[i] - expected[i]), absolute + relative * std::abs(expected[i])) << name << " at " << i;
    ++count;
  }
  EXPECT_EQ(count, files);
}

TEST(Run, MixerAndItsGradientsAgreeWithTheReference) {
  const TemporaryFolder folder;
  write_random(folder, "x.npy", {2, 19, 24}, 1);
  write_random(folder, "h0.npy", {2, 48, 5}, 2);
  write_random(folder, "seed.npy", {2, 19, 24}, 3);
  const std::string command =
      "mambac run mamba --block mixer --set E=24 N=5 --input x=x.npy h0=h0.npy --input seed.out=seed.npy --grad ";
  succeed(folder, command + "--out found");
  succeed(folder, command + "--out truth --device reference");
  expect_agreement(folder, 6e-4, 2e-3, 13);  // 2 results, 9 parameters, x and h0
}

TEST(Run, TheEmulatedDeviceAgreesWithTheReference) {
  const TemporaryFolder folder;
  write_random(folder, "x.npy", {2, 11, 8}, 1);
  const std::string command = "mambac run mamba --block mixer --set E=8 N=3 --input x=x.npy --grad ";
  succeed(folder, command + "--out found --device cuda-emulated");
  succeed(folder, command + "--out truth --device reference");
  expect_agreement(folder, 6e-4, 2e-3, 12);
}

/// A device would read something else. The interpreter says the same of them.
TEST(Run, IndicesFromOutsideAreChecked) {
  const TemporaryFolder folder;
  folder.write("m.mb",
               "free B\nmodel m<D = 3, V = 5, K = 2>(i: i32[B, K]) {\n  param t: [V, D] = normal(0, 1)\n"
               "  return y = gather<V>(t, at<K, 1>(i)), z = lt(gather<V>(t, at<K, 0>(i)), 0.1)\n}\n");
  const std::vector<int64_t> shape{2, 2};
  const std::vector<int32_t> good{4, 0, 1, 2}, low{0, 0, -1, 0}, high{0, 4, 1, 5};
  for (const auto& [name, values] : {std::pair{"good", good}, {"low", low}, {"high", high}})
    write_npy(folder / (std::string(name) + ".npy"), ElementType::i32, shape, values.data());
  for (const std::string device : {"", "--device cuda-emulated", "--device reference"}) {
    const std::string command = "mambac run m.mb --out out " + device + " --input i=";
    succeed(folder, command + "good.npy");
    for (const auto& [name, said] : {std::pair{"low", "m.mb:4:48: gather 'z.gather': found index -1, expected 0 to 4"},
                                     {"high", "m.mb:4:14: gather 'y': found index 5, expected 0 to 4"}}) {
      const Outcome outcome = shell(folder, command + name + ".npy");
      EXPECT_EQ(outcome.code, 1) << device;
      EXPECT_NE(outcome.error.find(said), std::string::npos) << device << outcome.error;
    }
  }
}

TEST(Run, Bf16StaysNear) {
  const TemporaryFolder folder;
  write_random(folder, "x.npy", {1, 33, 32}, 4);
  succeed(folder, "mambac run mamba --block mixer --set E=32 --input x=x.npy --grad --dtype bf16 --out found");
  succeed(folder, "mambac run mamba --block mixer --set E=32 --input x=x.npy --grad --out truth --device reference");
  expect_agreement(folder, 3e-2, 5e-2, 12);
}

TEST(Run, ParametersMayBeGiven) {
  const TemporaryFolder folder;
  folder.write("scale.mb", R"(free B
block scale<E = 3>(x: [B, E]) -> [B, E] { param w: [E] = ones as "scale.weight"  return y = x * w })");
  write_random(folder, "x.npy", {4, 3}, 5);
  write_random(folder, "w.npy", {3}, 6);
  for (const char* name : {"w", "scale.weight"}) {
    succeed(folder, std::string("mambac run scale.mb --input x=x.npy ") + name + "=w.npy --out result");
    std::vector<int64_t> shape;
    const auto x = read_values(folder / "x.npy", &shape), w = read_values(folder / "w.npy", &shape);
    const auto y = read_values(folder / "result" / "y.npy", &shape);
    EXPECT_EQ(shape, (std::vector<int64_t>{4, 3}));
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_FLOAT_EQ(static_cast<float>(y[i]), static_cast<float>(x[i] * w[i % 3]));
  }
}

TEST(Run, TheSameBytesEachTimeAndForAnyNumberOfThreads) {
  const TemporaryFolder folder;
  write_random(folder, "x.npy", {3, 70, 24}, 7);
  const std::string command = "mambac run mamba --block mixer --set E=24 --input x=x.npy --grad --out ";
  succeed(folder, command + "a");
  succeed(folder, "export OMP_NUM_THREADS=1; " + command + "b");
  succeed(folder, "export OMP_NUM_THREADS=3; " + command + "c");
  succeed(folder, "cmp a/out.npy b/out.npy && for f in a/*; do cmp $f b/${f#a/} && cmp $f c/${f#a/} || exit 1; done");
}

}  // namespace
}  // namespace mambac::test
