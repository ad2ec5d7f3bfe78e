// Kernels on the emulation device: their results, and that whatever a kernel does wrong is reported.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "runtime/cuda/emulator.h"
#include "runtime/element_type.h"
#include "tests/cuda_kernels.h"
#include "tests/temporary_folder.h"

namespace mambac::test {
namespace {

using Arguments = std::vector<EmulatedArgument>;

template <class T>
EmulatedBuffer buffer(std::vector<T>& v) {
  return {v.data(), static_cast<int64_t>(v.size())};
}

std::vector<float> draw(size_t count, float low = -1, float high = 1) {
  std::mt19937 engine(static_cast<unsigned>(count));
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> v(count);
  for (float& x : v) x = distribution(engine);
  return v;
}

std::vector<uint16_t> narrow(const std::vector<float>& v, ElementType type) {
  std::vector<uint16_t> bits(v.size());
  from_f32(v.data(), static_cast<int64_t>(v.size()), type, bits.data());
  return bits;
}

std::vector<float> widen(const std::vector<uint16_t>& bits, ElementType type) {
  std::vector<float> v(bits.size());
  to_f32(type, bits.data(), static_cast<int64_t>(bits.size()), v.data());
  return v;
}

void launch(const std::string& text, const std::string& kernel, int64_t blocks, int threads, const Arguments& arguments,
            const EmulationOptions& options) {
  EmulatedModule::compile(text)->launch(kernel, blocks, threads, arguments, options);
}

void expect_near(const std::vector<double>& expected, const std::vector<float>& values) {
  ASSERT_EQ(expected.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i)
    ASSERT_NEAR(expected[i], values[i], 1e-5 * std::max(1.0, std::fabs(expected[i]))) << "element " << i;
}

// ---- each kernel against plain loops --------------------------------------------------------------------------------

void square(const std::string& text, const EmulationOptions& options) {
  std::vector<float> x = draw(1000);
  std::vector<uint16_t> y(x.size());
  launch(text, "square", 16, 64, {buffer(x), buffer(y), int64_t{1000}}, options);
  for (float& v : x) v *= v;
  EXPECT_EQ(y, narrow(x, ElementType::bf16));
}

void reduce(const std::string& text, const EmulationOptions& options) {
  const size_t rows = 3, length = 1000;
  std::vector<float> x = draw(rows * length), sums(rows), maxima(rows), eighths(rows * 128);
  launch(text, "reduce", rows, 128,
         {buffer(x), buffer(sums), buffer(maxima), buffer(eighths), static_cast<int64_t>(length)}, options);
  std::vector<double> sum(rows), maximum(rows, -9), eighth(rows * 128);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < length; ++i) {
      const double v = x[r * length + i];
      sum[r] += v;
      maximum[r] = std::max(maximum[r], v);
      for (size_t k = 0; k < 4; ++k) eighth[r * 128 + i % 128 / 4 * 4 + k] += v;
    }
  }
  expect_near(sum, sums);
  expect_near(maximum, maxima);
  expect_near(eighth, eighths);
}

void transpose(const std::string& text, const EmulationOptions& options) {
  const size_t rows = 64, columns = 96;
  std::vector<float> x = draw(rows * columns), y(x.size()), expected(x.size());
  launch(text, "transpose", 3, 128, {buffer(x), buffer(y), int64_t{64}, int64_t{96}}, options);
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) expected[c * rows + r] = x[r * columns + c];
  EXPECT_EQ(expected, y);
}

void scan(const std::string& text, const EmulationOptions& options) {
  const size_t length = 48, channels = 128;
  std::vector<uint16_t> x = narrow(draw(length * channels), ElementType::bf16);
  std::vector<float> c = draw(length * 4), y(length * channels);
  launch(text, "scan", 2, 64, {buffer(x), buffer(c), buffer(y), int64_t{48}, int64_t{128}}, options);
  const std::vector<float> wide = widen(x, ElementType::bf16);
  std::vector<double> expected(y.size());
  for (size_t d = 0; d < channels; ++d) {
    double h[4] = {};
    for (size_t t = 0; t < length; ++t) {
      for (size_t n = 0; n < 4; ++n) {
        h[n] = std::exp(-0.125 * static_cast<double>(n + 1)) * h[n] + wide[t * channels + d] * c[t * 4 + n];
        expected[t * channels + d] += h[n];
      }
    }
  }
  expect_near(expected, y);
}

void staged(const std::string& text, const EmulationOptions& options) {
  const size_t tiles = 5;
  std::vector<float> x = draw(tiles * 256), y(tiles * 64);
  launch(text, "staged", 1, 64, {buffer(x), buffer(y), static_cast<int64_t>(tiles)}, options);
  std::vector<double> expected(y.size());
  for (size_t lane = 0; lane < 64; ++lane) {
    double sum = 0;
    for (size_t t = 0; t < tiles; ++t) {
      for (size_t i = 0; i < 4; ++i) sum += x[t * 256 + (lane + 64 * i + 5) % 256];
      expected[t * 64 + lane] = sum;
    }
  }
  expect_near(expected, y);
}

void scatter(const std::string& text, const EmulationOptions& options) {
  std::vector<float> x = draw(64 * 32), warps(64), halves(64), squares(64);
  launch(text, "scatter", 1, 64, {buffer(x), buffer(warps), buffer(halves), buffer(squares)}, options);
  const auto sums = [&](size_t values, size_t width) {
    std::vector<double> sum(64);
    for (size_t l = 0; l < 64; ++l)
      for (size_t i = 0; i < width; ++i) sum[l] += x[(l / width * width + i) * 32 + l % values];
    return sum;
  };
  expect_near(sums(8, 32), warps);
  expect_near(sums(8, 16), halves);
  expect_near(sums(32, 32), squares);
}

void pairs(const std::string& text, const EmulationOptions& options) {
  const size_t count = 256;
  std::vector<float> a = draw(count, 0.5f, 1), b = draw(count), whole(count), eights(count), before(2 * count);
  launch(text, "pairs", 2, 128, {buffer(a), buffer(b), buffer(whole), buffer(eights), buffer(before)}, options);
  std::vector<double> all(count), eight(count), previous(2 * count);
  const auto walk = [&](size_t width, std::vector<double>& from_three, size_t offset, double fill) {
    double three = 3, zero = fill;
    for (size_t i = 0; i < count; ++i) {
      if (i % width == 0) three = 3, zero = fill;
      previous[2 * i + offset] = zero;
      if (i % width == 0) zero = 0;
      three = a[i] * three + b[i];
      zero = a[i] * zero + b[i];
      from_three[i] = three;
    }
  };
  walk(128, all, 0, -1);
  walk(8, eight, 1, -2);
  expect_near(all, whole);
  expect_near(eight, eights);
  expect_near(previous, before);
}

void types(const std::string& text, const EmulationOptions& options) {
  const size_t count = 512;
  std::vector<float> x = draw(count, 0, 255), y(count);
  for (size_t i = 0; i < 64; ++i) x[i] = std::ldexp(x[i], -static_cast<int>(i) / 2);  // down to denormal halves
  std::vector<uint16_t> b(count), h(count);
  std::vector<int32_t> whole(count);
  std::vector<uint8_t> u(count);
  launch(text, "types", 1, 32, {buffer(x), buffer(b), buffer(h), buffer(whole), buffer(u), buffer(y)}, options);
  EXPECT_EQ(b, narrow(x, ElementType::bf16));
  EXPECT_EQ(h, narrow(x, ElementType::f16));
  const std::vector<float> bf16 = widen(b, ElementType::bf16), f16 = widen(h, ElementType::f16);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_EQ(whole[i], static_cast<int32_t>(x[i]));
    EXPECT_EQ(u[i], static_cast<uint8_t>(x[i]));
    const float integer = std::trunc(x[i]);
    EXPECT_NEAR(y[i], f16[(i + 16) % count] + bf16[i] + integer + integer, 1e-4) << i;
  }
}

struct Example {
  const char* name;
  const char* text;
  void (*run)(const std::string& text, const EmulationOptions& options);
};
constexpr Example kExamples[] = {
    {"square", kSquare, square}, {"reduce", kReduce, reduce}, {"transpose", kTranspose, transpose},
    {"scan", kScan, scan},       {"staged", kStaged, staged}, {"scatter", kScatter, scatter},
    {"pairs", kPairs, pairs},    {"types", kTypes, types}};

class EmulatedKernel : public testing::TestWithParam<Example> {};

TEST_P(EmulatedKernel, GivesTheResultsOfPlainLoopsInEveryOrderOfThreads) {
  for (uint64_t seed = 1; seed <= 5; ++seed)
    for (bool compared : {false, true}) ASSERT_NO_THROW(GetParam().run(GetParam().text, {seed, compared}));
}

TEST_P(EmulatedKernel, WithoutAnyOneOfItsBarriersIsReported) {
  const std::string text = GetParam().text, barrier = "__syncthreads();";
  for (size_t at = text.find(barrier); at != std::string::npos; at = text.find(barrier, at + 1)) {
    std::string less = text;
    less.erase(at, barrier.size());
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const std::string message = message_of<DeviceFault>([&] { GetParam().run(less, {seed, false}); });
      // A thread that comes too early finds another's element as it was: from before, or from nobody.
      EXPECT_TRUE(message.find("a barrier is missing") != std::string::npos ||
                  message.find("which nothing wrote") != std::string::npos)
          << message << less;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, EmulatedKernel, testing::ValuesIn(kExamples),
                         [](const auto& info) { return std::string(info.param.name); });

// ---- elementary functions -------------------------------------------------------------------------------------------

struct Function {
  const char* name;
  double (*meaning)(double x, double z);
  double relative;  // error, beside the one of exponentials: |x| * 8e-8
};
constexpr double kUlp = 1.2e-7;
const Function kFunctions[] = {
    {"exp", [](double x, double) { return std::exp(x); }, 2 * kUlp},
    {"exp2", [](double x, double) { return std::exp2(x); }, kUlp},
    {"exp2_poly", [](double x, double) { return std::exp2(x); }, 2 * kUlp},
    {"log", [](double x, double) { return std::log(x); }, 2 * kUlp},
    {"sqrt", [](double x, double) { return std::sqrt(x); }, kUlp},
    {"rsqrt", [](double x, double) { return 1 / std::sqrt(x); }, 2 * kUlp},
    {"sigmoid", [](double x, double) { return 1 / (1 + std::exp(-x)); }, 4 * kUlp},
    {"tanh", [](double x, double) { return std::tanh(x); }, 4 * kUlp},
    {"softplus", [](double x, double) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }, 4 * kUlp},
    {"sin", [](double x, double) { return std::sin(x); }, 0},
    {"cos", [](double x, double) { return std::cos(x); }, 0},
    {"abs", [](double x, double) { return std::fabs(x); }, 0},
    {"max", [](double x, double z) { return std::isnan(x) || std::isnan(z) ? NAN : std::max(x, z); }, 0},
    {"min", [](double x, double z) { return std::isnan(x) || std::isnan(z) ? NAN : std::min(x, z); }, 0},
    {"div", [](double x, double z) { return x / z; }, kUlp},
};

bool agrees(const Function& f, float x, float z, float value) {
  const double expected = f.meaning(x, z), smallest = std::numeric_limits<float>::min();
  if (std::isnan(expected)) return std::isnan(value);
  if (std::isinf(static_cast<float>(expected))) return value == static_cast<float>(expected);
  if (std::fabs(expected) < 1.01 * smallest) return std::fabs(value) < 1.02 * smallest;
  const bool wave = f.name == std::string("sin") || f.name == std::string("cos");
  if (wave) return std::fabs(x) > 8000 || std::fabs(value - expected) < 3e-7;
  const double of_exponential = f.relative > kUlp ? std::fabs(x) * 8e-8 : 0;
  return std::fabs(value - expected) <= std::fabs(expected) * (f.relative + of_exponential);
}

std::vector<float> wide_range() {
  std::vector<float> x = draw(40000, -100, 100);
  for (float v : draw(20000)) x.push_back(v);
  for (int exponent = -126; exponent < 128; ++exponent)
    for (float v : draw(100, 1, 2)) x.push_back(std::ldexp(exponent % 2 ? -v : v, exponent));
  for (float v : {0.f, -0.f, INFINITY, -INFINITY, NAN, 1.f, -1.f, 127.99999f, 128.f, -126.f, -127.f, -1e30f, 1e30f})
    x.push_back(v);
  for (float v : {-20.f, 1e-4f, -80.f, 88.7f, 0.625f, 0.6249999f, 0.99999994f}) x.push_back(v);
  return x;
}

TEST(EmulatedFunctions, AgreeWithDoublePrecision) {
  std::vector<float> x = wide_range(), z = x;
  std::shuffle(z.begin(), z.end(), std::mt19937(1));
  std::vector<float> y(x.size() * std::size(kFunctions));
  launch(kElementary, "elementary", 64, 32, {buffer(x), buffer(z), buffer(y), static_cast<int64_t>(x.size())}, {});
  for (size_t f = 0; f < std::size(kFunctions); ++f) {
    int wrong = 0;
    for (size_t i = 0; i < x.size() && wrong < 3; ++i) {
      const float value = y[f * x.size() + i];
      if (agrees(kFunctions[f], x[i], z[i], value)) continue;
      ++wrong;
      ADD_FAILURE() << kFunctions[f].name << " of " << x[i] << ", " << z[i] << " gives " << value << ", not "
                    << kFunctions[f].meaning(x[i], z[i]);
    }
  }
}

// ---- faults ---------------------------------------------------------------------------------------------------------

/// The fault of a kernel of 64 threads with this body, x and y of 64 elements, 2 blocks.
std::string fault_of(const std::string& body, bool check_global_races = false) {
  std::vector<float> x(64), y(64);
  return message_of<DeviceFault>([&] {
    launch("MB_KERNEL(64, 1) wrong(MB_IN(float) x, MB_OUT(float) y, mb_long B) {\n" + body + "\n}\n", "wrong", 2, 64,
           {buffer(x), buffer(y), int64_t{7}}, {3, check_global_races});
  });
}

void expect_fault(const std::string& body, const std::string& part, bool check_global_races = false) {
  const std::string message = fault_of(body, check_global_races);
  EXPECT_EQ(message.find("wrong: block "), 0u) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message << "\nof: " << body;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST(EmulatedFaults, ElementsThatDoNotExist) {
  expect_fault("if (mb_lane() == 5) mb_load(x, 59 + mb_lane());",
               "thread 5, line 2: reaches element 64 of 'x', which has 64");
  expect_fault("mb_store(y, mb_lane() - 1, 0.f);", "thread 0, line 2: reaches element -1 of 'y'");
  expect_fault("float v[8]; mb_load_block<8>(v, x, 64);", "reaches element 64 of 'x'");
  expect_fault("MB_SHARED(float, s, 8);\nif (mb_lane() < 9) s[mb_lane()] = 1.f;",
               "line 3: reaches element 8 of 's', which has 8");
  expect_fault("MB_LOCAL(float, a, 4);\n\nfor (int i = 0; i < 5; ++i) a[i] = 1.f;",
               "line 4: reaches element 4 of 'a', which has 4");
  expect_fault("MB_LOCAL(float, a, 12); mb_load_block<8>(a + 8, x, 0);", "reaches element 12 of 'a'");
}

TEST(EmulatedFaults, ReadsOfWhatNothingWrote) {
  expect_fault(
      "MB_SHARED(float, s, 65); s[mb_lane()] = 1.f; __syncthreads();\nmb_store(y, mb_lane(), s[mb_lane() + 1]);",
      "thread 63, line 3: reads element 64 of 's', which nothing wrote");
  expect_fault("MB_LOCAL(float, a, 4);\na[0] = 1.f;\nmb_store(y, mb_lane(), a[1]);",
               "line 4: reads element 1 of 'a', which nothing wrote");
  // What another block, or a copy of this one's, left in the same memory does not count.
  expect_fault(
      "MB_SHARED(float, s, 64); if (mb_lane() % 2) s[mb_lane()] = 1.f; __syncthreads(); mb_store(y, mb_lane(), "
      "s[mb_lane()]);",
      "which nothing wrote");
}

const char* const kCopy = "MB_SHARED(float, s, 256);\nmb_copy_async16(s, mb_lane() * 4, x, mb_lane() % 16 * 4);\n";

TEST(EmulatedFaults, AsynchronousCopies) {
  const std::string copy = kCopy;
  expect_fault(copy + "mb_copy_commit(); mb_store(y, mb_lane(), s[mb_lane() * 4]);", "which nothing wrote");
  expect_fault(copy + "mb_copy_wait<0>(); mb_store(y, mb_lane(), s[mb_lane() * 4]);", "which nothing wrote");
  expect_fault(copy + "mb_copy_commit(); mb_copy_wait<1>(); mb_store(y, mb_lane(), s[mb_lane() * 4]);",
               "which nothing wrote");
  expect_fault(copy + "mb_copy_commit(); mb_copy_wait<0>(); mb_store(y, mb_lane(), s[255 - mb_lane()]);", "");
  expect_fault(copy + "s[mb_lane() * 4] = 1.f;", "while a copy to it is under way");
  expect_fault("MB_SHARED(float, s, 256); mb_copy_async16(s, mb_lane() * 4, x, mb_lane());", "multiple of 16 bytes");
  expect_fault("MB_SHARED(float, s, 256); mb_copy_async16(s, mb_lane() * 4 + 4, x, 0);", "reaches element 256 of 's'");
}

TEST(EmulatedFaults, BlocksOfElementsThatAreNotAligned) {
  expect_fault("float v[4]; mb_load_block<4>(v, x, 2);", "element 2 of 'x' does not lie at a multiple of 16 bytes");
  expect_fault("float v[2] = {0.f, 0.f}; mb_store_block<2>(y, 1 + 2 * mb_lane(), v);",
               "does not lie at a multiple of 8 bytes");
}

TEST(EmulatedFaults, ThreadsThatDoNotComeTogether) {
  expect_fault("if (mb_lane() != 7)\n__syncthreads();",
               "waits for all threads of its block at __syncthreads (line 3), but thread 7 has left the kernel");
  expect_fault("if (mb_lane() == 9) return;\nmb_sum<32>(1.f);",
               "waits for all threads of its warp at mb_sum<32> (line 3), but thread 9 has left");
  expect_fault("if (mb_lane() < 32) __syncthreads();\nelse __syncthreads();",
               "(line 2), but thread 32 is at __syncthreads (line 3)");
  expect_fault("if (mb_lane() < 40) __syncthreads(); else mb_sum<32>(1.f);", "but thread");
  expect_fault("if (mb_lane() % 2) mb_sum<2>(1.f);\nelse mb_sum<4>(1.f);", "is at mb_sum<");
  expect_fault("mb_sum<128>(1.f);", "mb_sum over 128 threads in a block of 64");
}

TEST(EmulatedFaults, RacesInSharedMemory) {
  expect_fault("MB_SHARED(float, s, 1);\ns[0] = 1.f;", "writes element 0 of 's', which thread");
  expect_fault(
      "MB_SHARED(float, s, 64); s[mb_lane()] = 1.f; __syncthreads(); float v = s[0] + s[mb_lane()];\nif (mb_lane() == "
      "63) s[0] = v;",
      "line 3: writes element 0 of 's', which other threads read since the last barrier");
  // A sum over the block does not order the caller's own accesses.
  expect_fault(
      "MB_SHARED(float, s, 64); s[mb_lane()] = 1.f; mb_sum<64>(1.f); mb_store(y, mb_lane(), s[63 - mb_lane()]);",
      "a barrier is missing");
}

TEST(EmulatedFaults, RacesInBuffers) {
  const std::string own = "mb_store(y, mb_lane(), 1.f);", left = "mb_load(y, (mb_lane() + 1) % 64);";
  expect_fault("if (mb_task() == 0) {" + own + left + "}", "of 'y', which thread", true);
  expect_fault(own, "of 'y', which block", true);
  expect_fault("if (mb_task() == 0) mb_store(y, 0, 1.f); else if (mb_lane() == 0) mb_load(y, 0);", "of 'y', which",
               true);
  std::vector<float> x(64), y(64);
  EXPECT_NO_THROW(launch(
      "MB_KERNEL(64, 1) right(MB_OUT(float) y) { if (mb_task() == 0) {" + own + "__syncthreads();" + left + "} }",
      "right", 2, 64, {buffer(y)}, {1, true}));
}

TEST(EmulatedFaults, TooMuchSharedMemory) {
  expect_fault("MB_SHARED(float, a, 8192); MB_SHARED(float, b, 8192); a[mb_lane()] = 1.f; b[mb_lane()] = 1.f;",
               "shared memory of 65536 bytes, 'b' being the last; there are 49152");
}

TEST(EmulatedFaults, AfterOneTheDeviceGoesOn) {
  fault_of("if (mb_lane()) __syncthreads();");
  square(kSquare, {1, false});
  transpose(kTranspose, {1, false});
}

// ---- texts ----------------------------------------------------------------------------------------------------------

TEST(EmulatedModule, SeveralKernelsInOneTextAndComments) {
  const std::string text = std::string("// MB_KERNEL(1, 1) none(\n/* MB_KERNEL */") + kSquare + kReduce;
  const auto module = EmulatedModule::compile(text);
  EXPECT_EQ(module->kernels(), (std::vector<std::string>{"square", "reduce"}));
  square(text, {});
  reduce(text, {});
}

TEST(EmulatedModule, LaunchesThatDoNotFitAreRefused) {
  std::vector<float> x(64);
  std::vector<uint16_t> y(64);
  const auto refusal = [&](const std::string& kernel, int threads, const Arguments& arguments) {
    return message_of<InternalError>([&] { launch(kSquare, kernel, 1, threads, arguments, {}); });
  };
  EXPECT_EQ(refusal("cube", 64, {}), "the text has no kernel 'cube'");
  EXPECT_EQ(refusal("square", 64, {buffer(x)}), "square has 3 parameters and was given 1 arguments");
  EXPECT_EQ(refusal("square", 64, {buffer(x), int64_t{1}, int64_t{1}}),
            "square: parameter 'y' is a buffer, the argument is not");
  EXPECT_NE(refusal("square", 128, {buffer(x), buffer(y), int64_t{1}}).find("blocks of 64 threads"), std::string::npos);
}

TEST(EmulatedModule, ATextThatDoesNotCompileNamesItsLine) {
  const std::string message = message_of<InternalError>(
      [] { EmulatedModule::compile("\nMB_KERNEL(32, 1) bad(mb_long B) {\n  nonsense();\n}\n"); });
  EXPECT_NE(message.find("kernels.cu:3"), std::string::npos) << message;
  EXPECT_NE(message.find("nonsense"), std::string::npos) << message;
}

TEST(EmulatedModule, LibrariesAreKeptInAFolder) {
  const TemporaryFolder folder;
  const std::string text = std::string(kSquare) + "// for the folder\n";
  EmulatedModule::compile(text, folder.path());
  EmulatedModule::compile(text, folder.path());
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    files += entry.path().extension() == ".so";
  EXPECT_EQ(files, 1u);
}

TEST(EmulatedModule, WithoutACompilerSaysWhatItLookedFor) {
  const char* before = std::getenv("CXX");
  const std::string saved = before ? before : "";
  setenv("CXX", "no-such-compiler -O3", 1);
  const std::string message =
      message_of<EnvironmentError>([] { EmulatedModule::compile("// never built\n" + std::string(kSquare)); });
  before ? setenv("CXX", saved.c_str(), 1) : unsetenv("CXX");
  EXPECT_NE(message.find("$CXX names 'no-such-compiler -O3'"), std::string::npos) << message;
}

}  // namespace
}  // namespace mambac::test
