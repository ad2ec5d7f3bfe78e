// Emitted machine code against the C library (elementary functions) and against the interpreter of loop IR.
#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>

#include "codegen/loop_interpret.h"
#include "codegen_emit_support.h"
#include "ir/error.h"

using namespace mambac;
using namespace mambac::loop;
using mambac::test::jits;
using mambac::test::short_name;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kTiny = std::numeric_limits<float>::min();

// ---- elementary functions -------------------------------------------------------------------------------------------

/// z[i] = op(x[i], y[i], c[i]) for one vector or one element per task.
Kernel pointwise_kernel(Op op, int width, bool lanes) {
  Kernel kernel;
  kernel.name = std::string(name_of(op));
  kernel.schedule.width = width;
  kernel.sizes = {"count"};
  kernel.buffers = {{"x"}, {"y"}, {"c"}, {"z", DType::f32, true}};
  Stage stage;
  stage.name = "all";
  stage.tasks = lanes ? (test::size_of(0) + (width - 1)) / width : test::size_of(0);
  StageBuilder b(stage);
  const Int at = lanes ? b.task() * width : b.task();
  const Int stride = lanes ? constant(1) : nullptr;
  const Int valid = lanes ? min(constant(width), test::size_of(0) - at) : nullptr;
  std::vector<Value> args;
  for (size_t i = 0; i < info(op).operands.size(); i++) args.push_back(b.load(static_cast<int>(i), at, stride, valid));
  b.store(3, at, b.apply(op, args), stride, valid);
  kernel.stages.push_back(std::move(stage));
  return kernel;
}

double exact(Op op, double x, double y, double c) {
  switch (op) {
    case Op::Neg: return -x;
    case Op::Abs: return std::fabs(x);
    case Op::Exp: return std::exp(x);
    case Op::Log: return std::log(x);
    case Op::Sqrt: return std::sqrt(x);
    case Op::Rsqrt: return 1 / std::sqrt(x);
    case Op::Sigmoid: return 1 / (1 + std::exp(-x));
    case Op::Tanh: return std::tanh(x);
    case Op::Softplus: return std::isnan(x) ? x : std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
    case Op::Sin: return std::sin(x);
    case Op::Cos: return std::cos(x);
    case Op::Stop: return x;
    case Op::Add: return x + y;
    case Op::Sub: return x - y;
    case Op::Mul: return x * y;
    case Op::Div: return x / y;
    case Op::Max: return std::isnan(x) || std::isnan(y) ? NAN : std::fmax(x, y);
    case Op::Min: return std::isnan(x) || std::isnan(y) ? NAN : std::fmin(x, y);
    case Op::Lt: return x < y;
    case Op::Le: return x <= y;
    case Op::Eq: return x == y;
    case Op::Select: return x != 0 ? y : c;
    default: ADD_FAILURE() << "no exact value for " << name_of(op); return 0;
  }
}

/// Relative error that is allowed at x; sin and cos: absolute.
double tolerance(Op op, double x) {
  switch (op) {
    case Op::Exp: return 2.4e-7 + 8e-8 * std::fabs(x);  // of the fast form
    case Op::Sigmoid:
    case Op::Softplus: return 6e-7 + 8e-8 * std::fmax(0, -x);
    case Op::Log:
    case Op::Tanh: return 3e-7;
    case Op::Sin:
    case Op::Cos: return 2e-7;
    default: return 1.2e-7;
  }
}

std::vector<float> arguments(Op op, unsigned seed) {
  std::vector<float> list = {0.f, -0.f, 1.f, -1.f, kInf, -kInf, kNan, 87.f, 88.72f, 88.73f, -87.3f, -87.4f, -104.f,
                             1e4f, -1e4f, 3e38f, -3e38f, 1e30f, -1e30f, 1e-30f, -1e-30f, 0.625f, -0.625f, 0.5f, 2.f};
  const bool periodic = op == Op::Sin || op == Op::Cos;
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> exponent(-20.f, periodic ? 13.f : 20.f), sign(-1.f, 1.f), near(-20.f, 20.f);
  for (int i = 0; i < 3000; i++) list.push_back(std::copysign(std::exp2(exponent(random)), sign(random)));
  for (int i = 0; i < 3000; i++) list.push_back(near(random));
  if (periodic) std::erase_if(list, [](float x) { return std::isfinite(x) && std::fabs(x) > 8192; });
  return list;
}

void expect_close(Op op, float x, float y, float c, float found) {
  const double want = exact(op, x, y, c);
  const auto want32 = static_cast<float>(want);
  const auto where = testing::Message() << name_of(op) << "(" << x << ", " << y << ", " << c << ") = " << found
                                        << ", exactly " << want;
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(found)) << where;
  } else if (std::isinf(want32)) {
    // Just below the overflow the fast exp may be infinite or the largest number.
    EXPECT_TRUE(found == want32 || std::fabs(found) > 3.4e38) << where;
  } else if (std::fabs(want) < kTiny) {
    EXPECT_LE(std::fabs(found), kTiny) << where;
  } else if (op == Op::Sin || op == Op::Cos) {
    EXPECT_NEAR(found, want, tolerance(op, x)) << where;
  } else {
    EXPECT_LE(std::fabs(found - want), tolerance(op, x) * std::fabs(want)) << where;
  }
}

std::vector<Op> pointwise_ops() {
  std::vector<Op> ops;
  for (const OpInfo& row : op_table())
    if (row.op_class == OpClass::Pointwise && row.op != Op::Cast) ops.push_back(row.op);
  return ops;
}

class Pointwise : public testing::TestWithParam<Op> {};

TEST_P(Pointwise, AgreesWithTheCLibrary) {
  const Op op = GetParam();
  const std::vector<float> x = arguments(op, 1);
  std::vector<float> y = arguments(op, 2), c = arguments(op, 3), z(x.size());
  for (size_t i = 0; i < 8; i++) y[i] = x[7 - i];
  for (size_t i = 100; i < 200; i++) y[i] = x[i];
  const auto count = static_cast<int64_t>(x.size());
  for (Jit* jit : jits())
    for (int width : {4, 8, 16})
      for (bool lanes : {true, false}) {
        if (!lanes && width != 16) continue;
        SCOPED_TRACE(testing::Message() << short_name(*jit) << " width " << width << (lanes ? " lanes" : " uniform"));
        std::fill(z.begin(), z.end(), -7.f);
        test::run(*jit, pointwise_kernel(op, width, lanes), {(void*)x.data(), y.data(), c.data(), z.data()}, {count});
        for (size_t i = 0; i < x.size(); i++) expect_close(op, x[i], y[i], c[i], z[i]);
        if (HasFailure()) return;
      }
}

INSTANTIATE_TEST_SUITE_P(Emit, Pointwise, testing::ValuesIn(pointwise_ops()),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(Emit, ExpOfZeroIsOneExactly) {
  for (Jit* jit : jits())
    for (int width : {4, 16}) {
      std::vector<float> x(16, 0.f), z(16);
      test::run(*jit, pointwise_kernel(Op::Exp, width, true), {x.data(), x.data(), x.data(), z.data()}, {16});
      for (float v : z) EXPECT_EQ(v, 1.f);
    }
}

/// exp(x * decay) with the decay loaded outside of the loop over x.
TEST(Emit, ExpOfAProductWithAnInvariantFactor) {
  Kernel kernel;
  kernel.name = "decays";
  kernel.buffers = {{"x"}, {"decay"}, {"z", DType::f32, true}};
  Stage stage;
  stage.name = "all";
  stage.tasks = constant(1);
  StageBuilder b(stage);
  const Value decay = b.load(1, constant(0), constant(1));
  const Int i = b.open_for(constant(0), constant(64));
  const Value x = b.load(0, i * 16, constant(1));
  b.store(2, i * 16, b.apply(Op::Exp, {b.apply(Op::Mul, {x, decay})}), constant(1));
  b.close();
  kernel.stages.push_back(std::move(stage));
  std::vector<float> xs(1024), decays(16), z(1024);
  for (int k = 0; k < 16; k++) decays[static_cast<size_t>(k)] = -0.5f * static_cast<float>(k);
  for (int k = 0; k < 1024; k++) xs[static_cast<size_t>(k)] = 0.01f * static_cast<float>(k - 100);
  for (Jit* jit : jits()) {
    test::run(*jit, kernel, {xs.data(), decays.data(), z.data()});
    for (size_t k = 0; k < 1024; k++) {
      const double t = static_cast<double>(xs[k]) * decays[k % 16];
      if (t > -87) {
        EXPECT_NEAR(z[k], std::exp(t), std::exp(t) * (2.4e-7 + 2e-7 * std::fabs(t))) << short_name(*jit);
      }
    }
  }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

/// Bit patterns of an element type: finite numbers of every size, and for floats infinities, NaN and (f16) denormals.
std::vector<uint8_t> patterns(DType dtype, int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(static_cast<size_t>(count) * bytes_of(dtype));
  for (int64_t i = 0; i < count; i++) {
    const auto at = static_cast<size_t>(i) * bytes_of(dtype);
    uint32_t bits = random();
    const uint32_t exponent = dtype == DType::f32 ? 0x7f800000 : dtype == DType::bf16 ? 0x7f80 : 0x7c00;
    const bool denormal = dtype != DType::f16 && (bits & exponent) == 0;
    const bool special = (bits & exponent) == exponent;
    if (is_float(dtype) && (denormal || (special && i % 2))) bits = 0;
    std::memcpy(&bytes[at], &bits, bytes_of(dtype));
  }
  return bytes;
}

/// Copies with conversion, one vector per task: to[at] = from[at] at a stride, for the lanes below valid.
Kernel copy_kernel(DType from, DType to, int width, const Int& stride, const Int& valid) {
  Kernel kernel;
  kernel.name = "copy";
  kernel.schedule.width = width;
  kernel.sizes = {"stride", "valid"};
  kernel.buffers = {{"from", from}, {"to", to, true}};
  Stage stage;
  stage.name = "all";
  stage.tasks = constant(20);
  StageBuilder b(stage);
  const Int at = b.task() * (4 * width);
  b.store(1, at, b.load(0, at, stride, valid), stride, valid);
  kernel.stages.push_back(std::move(stage));
  return kernel;
}

bool is_nan(DType dtype, const uint8_t* at) {
  uint32_t bits = 0;
  std::memcpy(&bits, at, bytes_of(dtype));
  switch (dtype) {
    case DType::f32: return (bits & 0x7fffffff) > 0x7f800000;
    case DType::bf16: return (bits & 0x7fff) > 0x7f80;
    case DType::f16: return (bits & 0x7fff) > 0x7c00;
    default: return false;
  }
}

void expect_same(DType dtype, const std::vector<uint8_t>& want, const std::vector<uint8_t>& found) {
  const size_t size = bytes_of(dtype);
  for (size_t at = 0; at < want.size(); at += size) {
    if (is_nan(dtype, &want[at])) {
      ASSERT_TRUE(is_nan(dtype, &found[at])) << "element " << at / size;
    } else {
      ASSERT_EQ(std::memcmp(&want[at], &found[at], size), 0)
          << "element " << at / size << ": bytes " << int(found[at + size - 1]) << " " << int(found[at]) << ", not "
          << int(want[at + size - 1]) << " " << int(want[at]);
    }
  }
}

class Memory : public testing::TestWithParam<std::tuple<DType, DType>> {};

TEST_P(Memory, LoadsAndStoresAsTheInterpreterDoes) {
  const auto [from, to] = GetParam();
  const std::vector<Int> strides = {nullptr, constant(1), constant(3), constant(0), test::size_of(0)};
  const std::vector<Int> valids = {nullptr,      constant(16), constant(4), constant(3),
                                   constant(0), constant(-2), test::size_of(1)};
  const int64_t elements = 20 * 4 * 16 + 64;
  // f32 patterns are cut so that all stored types can hold them.
  std::vector<uint8_t> source = patterns(from, elements, 5);
  if (from == DType::f32)
    for (int64_t i = 0; i < elements; i++) {
      std::mt19937 random(static_cast<unsigned>(i));
      const float fraction = std::uniform_real_distribution<float>(0.5f, 1.f)(random);
      float v = std::ldexp(fraction, static_cast<int>(random() % 40) - 22);
      if (to == DType::u8 || to == DType::i32) v = static_cast<float>(i % 200);
      if (to == DType::bf16 || to == DType::f16) v = i % 97 == 0 ? kInf : i % 89 == 0 ? kNan : i % 2 ? -v : v;
      std::memcpy(&source[static_cast<size_t>(i) * 4], &v, 4);
    }
  for (Jit* jit : jits())
    for (int width : {4, 16})
      for (const Int& stride : strides)
        for (const Int& valid : valids) {
          if (!stride && valid) continue;
          if (stride && is_constant(stride) && stride->value == 0 && !valid) continue;
          const Kernel kernel = copy_kernel(from, to, width, stride, valid);
          for (int64_t count : {0, 5, 99}) {
            std::vector<uint8_t> want(static_cast<size_t>(elements) * bytes_of(to), 0x2a), found = want;
            const std::vector<int64_t> sizes = {2, count};
            void* const buffers[] = {source.data(), want.data()};
            interpret(kernel, buffers, sizes.data());
            test::run(*jit, kernel, {source.data(), found.data()}, sizes);
            SCOPED_TRACE(testing::Message() << short_name(*jit) << "\n" << print(kernel));
            expect_same(to, want, found);
            if (HasFatalFailure()) return;
            if (!valid || is_constant(valid)) break;
          }
        }
}

INSTANTIATE_TEST_SUITE_P(Emit, Memory,
                         testing::Values(std::tuple(DType::f32, DType::f32), std::tuple(DType::f32, DType::bf16),
                                         std::tuple(DType::f32, DType::f16), std::tuple(DType::f32, DType::i32),
                                         std::tuple(DType::f32, DType::u8), std::tuple(DType::bf16, DType::f32),
                                         std::tuple(DType::f16, DType::f32), std::tuple(DType::i32, DType::f32),
                                         std::tuple(DType::u8, DType::f32), std::tuple(DType::bf16, DType::bf16),
                                         std::tuple(DType::f16, DType::f16)),
                         [](const auto& info) {
                           const std::string from = name_of(std::get<0>(info.param));
                           return from + "_" + name_of(std::get<1>(info.param));
                         });

TEST(Emit, EveryHalfIsReadExactly) {
  Kernel kernel = copy_kernel(DType::f16, DType::f32, 16, constant(1), nullptr);
  kernel.stages[0].tasks = constant(1024);
  std::vector<uint16_t> halves(65536 * 4 + 64);
  for (size_t i = 0; i < halves.size(); i++) halves[i] = static_cast<uint16_t>(i / 64 * 16 + i % 16);
  std::vector<uint8_t> want(halves.size() * 4), found = want;
  void* const buffers[] = {halves.data(), want.data()};
  const std::vector<int64_t> sizes = {1, 1};
  interpret(kernel, buffers, sizes.data());
  for (Jit* jit : jits()) {
    test::run(*jit, kernel, {halves.data(), found.data()}, sizes);
    SCOPED_TRACE(short_name(*jit));
    expect_same(DType::f32, want, found);
  }
}

// ---- control --------------------------------------------------------------------------------------------------------

/// Runs a kernel of one f32 input and one f32 output by machine code of every kind and by the interpreter.
void expect_interpreted(const Kernel& kernel, std::vector<float> in, size_t out_count,
                        const std::vector<int64_t>& sizes, double allowed) {
  std::vector<float> want(out_count, -7.f);
  void* const buffers[] = {in.data(), want.data()};
  interpret(kernel, buffers, sizes.data());
  for (Jit* jit : jits()) {
    std::vector<float> found(out_count, -7.f);
    test::run(*jit, kernel, {in.data(), found.data()}, sizes);
    for (size_t i = 0; i < out_count; i++)
      ASSERT_NEAR(found[i], want[i], allowed * (1 + std::fabs(want[i])))
          << short_name(*jit) << ", element " << i << "\n" << print(kernel);
  }
}

Kernel one_in_one_out(int width) {
  Kernel kernel;
  kernel.name = "small";
  kernel.schedule.width = width;
  kernel.sizes = {"n", "m"};
  kernel.buffers = {{"in"}, {"out", DType::f32, true}};
  return kernel;
}

std::vector<float> ramp(size_t count) {
  std::vector<float> v(count);
  for (size_t i = 0; i < count; i++) v[i] = std::sin(0.37f * static_cast<float>(i));
  return v;
}

TEST(Emit, ReduceCountsTheLanesThatExist) {
  for (int width : {4, 16})
    for (Op op : {Op::Sum, Op::Amax}) {
      Kernel kernel = one_in_one_out(width);
      Stage stage;
      stage.name = "reduce";
      stage.tasks = constant(width + 1);
      StageBuilder b(stage);
      const Value v = b.load(0, constant(3), constant(1));
      b.store(1, b.task(), b.reduce(op, v, b.task()));
      b.store(1, b.task() + (width + 1), b.reduce(op, b.number(2)));
      kernel.stages.push_back(std::move(stage));
      const std::vector<float> in = ramp(32);
      std::vector<float> out(static_cast<size_t>(2 * width + 2));
      for (Jit* jit : jits()) {
        test::run(*jit, kernel, {(void*)in.data(), out.data()}, {1, 1});
        for (int valid = 0; valid <= width; valid++) {
          double want = op == Op::Sum ? 0 : -kInf;
          for (int i = 0; i < valid; i++) want = op == Op::Sum ? want + in[3 + i] : std::fmax(want, in[3 + i]);
          if (std::isinf(want)) EXPECT_EQ(out[static_cast<size_t>(valid)], -kInf);
          else EXPECT_NEAR(out[static_cast<size_t>(valid)], want, 1e-6);
          EXPECT_EQ(out[static_cast<size_t>(width + 1 + valid)], op == Op::Sum ? 2.f * static_cast<float>(width) : 2.f);
        }
      }
    }
}

TEST(Emit, ReductionsInARowAreTheSameAsAlone) {
  for (int width : {4, 16})
    for (Op op : {Op::Sum, Op::Amax})
      for (int count : {2, 3, 7, 19}) {
        Kernel kernel = one_in_one_out(width);
        Stage stage;
        stage.name = "reduce";
        stage.tasks = constant(1);
        StageBuilder b(stage);
        std::vector<Value> vectors, together;
        for (int i = 0; i < count; i++) vectors.push_back(b.load(0, constant(i * width), constant(1)));
        for (Value v : vectors) together.push_back(b.reduce(op, v));
        for (int i = 0; i < count; i++) {
          b.store(1, constant(2 * i), together[static_cast<size_t>(i)]);
          b.store(1, constant(2 * i + 1), b.reduce(op, vectors[static_cast<size_t>(i)]));
        }
        kernel.stages.push_back(std::move(stage));
        const std::vector<float> in = ramp(static_cast<size_t>(count * width));
        std::vector<float> out(static_cast<size_t>(2 * count));
        for (Jit* jit : jits()) {
          test::run(*jit, kernel, {(void*)in.data(), out.data()}, {1, 1});
          for (size_t i = 0; i < out.size(); i += 2) EXPECT_EQ(out[i], out[i + 1]) << width << " " << count;
        }
      }
}

TEST(Emit, BlocksHoldNeighboursInNeighbouringColumns) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (int width : {4, 16})
      for (int64_t columns = 2; columns <= width; columns *= 2) {
        Kernel kernel = one_in_one_out(width);
        kernel.buffers = {{"in", dtype}, {"out", dtype, true}};
        Stage stage;
        stage.name = "reverse";
        stage.tasks = constant(3);
        StageBuilder b(stage);
        std::vector<Value> block = b.load_block(0, b.task() * (width * columns) + 1, columns, 64);
        std::reverse(block.begin(), block.end());
        b.store_block(1, b.task() * (width * columns), block);
        kernel.stages.push_back(std::move(stage));
        const size_t elements = static_cast<size_t>(3 * width * columns) + 1;
        std::vector<uint8_t> in(elements * bytes_of(dtype)), want(in.size(), 0x2a), found = want;
        for (size_t i = 0; i < elements; i++) {
          const auto v = static_cast<float>(i % 251);
          uint32_t bits = 0;
          std::memcpy(&bits, &v, 4);
          const auto half = static_cast<uint16_t>(dtype == DType::bf16 ? bits >> 16 : i % 1000 + 0x3c00);
          if (dtype == DType::f32)
            std::memcpy(&in[i * 4], &v, 4);
          else
            std::memcpy(&in[i * 2], &half, 2);
        }
        void* const buffers[] = {in.data(), want.data()};
        const std::vector<int64_t> sizes = {1, 1};
        interpret(kernel, buffers, sizes.data());
        const size_t element = bytes_of(dtype), c = static_cast<size_t>(columns);
        EXPECT_TRUE(std::equal(&want[0], &want[element], &in[c * element])) << "the last column comes first";
        for (Jit* jit : jits()) {
          test::run(*jit, kernel, {in.data(), found.data()}, sizes);
          EXPECT_EQ(found, want) << name_of(dtype) << " " << short_name(*jit) << "\n" << print(kernel);
        }
      }
}

TEST(Emit, LoopsBranchesAndArrays) {
  Kernel kernel = one_in_one_out(8);
  Stage stage;
  stage.name = "prefix";
  stage.tasks = constant(3);
  StageBuilder b(stage);
  const int carried = b.array("carried", 4, true, true);
  const int table = b.array("table", 6, false, false);
  const int kept = b.array("kept", 5, true, false);
  const Int k = b.open_for(constant(0), constant(4), 1, true);
  b.store_array(carried, k, b.index(k * 10));
  b.close();
  const Int i = b.open_for(constant(1), test::size_of(0), 2);
  const Value x = b.load(0, (b.task() + i) * 8, constant(1));
  const Int j = b.open_for(constant(0), constant(7), 3, true);  // 0, 3, 6
  b.open_if(j, constant(5));
  b.open_if(i % 3, constant(1));
  b.store_array(carried, j, b.apply(Op::Add, {b.load_array(carried, j), x}));
  b.open_else();
  b.store_array(carried, j, b.apply(Op::Mul, {b.load_array(carried, j), b.number(0.5)}));
  b.close();
  b.close();
  b.close();
  b.store_array(table, i / 2 % 6, b.reduce(Op::Sum, x));
  b.store_array(kept, max(min(i - 3, constant(4)), constant(0)), b.lane_index(i * 100));
  b.close();
  const Int p = b.open_for(constant(0), constant(4), 1, true);
  b.store(1, (b.task() * 16 + p) * 8, b.load_array(carried, p), constant(1));
  b.close();
  const Int q = b.open_for(constant(0), constant(5));
  b.store(1, (b.task() * 16 + 4 + q) * 8, b.apply(Op::Add, {b.load_array(kept, constant(4)), b.load_array(table, q)}),
          constant(1));
  b.close();
  kernel.stages.push_back(std::move(stage));
  Stage second;  // reads what the first stage wrote
  second.name = "halve";
  second.tasks = test::size_of(1);
  StageBuilder c(second);
  const Value v = c.load(1, c.task() * 8, constant(1));
  c.store(1, (c.task() + 200) * 8, c.apply(Op::Mul, {v, c.number(0.5)}), constant(1));
  kernel.stages.push_back(std::move(second));
  expect_interpreted(kernel, ramp(400), 2000, {20, 40}, 1e-5);
}

TEST(Emit, AnEmptyLoopRunsNoTime) {
  Kernel kernel = one_in_one_out(4);
  Stage stage;
  stage.name = "none";
  stage.tasks = constant(2);
  StageBuilder b(stage);
  b.store(1, b.task() * 2, b.number(1));
  const Int i = b.open_for(test::size_of(0), test::size_of(1));
  b.store(1, b.task() * 2 + 1 + i * 0, b.number(5));
  b.close();
  kernel.stages.push_back(std::move(stage));
  std::vector<float> in(4), out(4, 0.f);
  for (Jit* jit : jits()) test::run(*jit, kernel, {in.data(), out.data()}, {7, 7});
  EXPECT_EQ(out, (std::vector<float>{1, 0, 1, 0}));
}

// ---- random kernels -------------------------------------------------------------------------------------------------

/// Draws nested loops of bounded arithmetic over what is in scope.
class RandomKernel {
 public:
  explicit RandomKernel(unsigned seed) : random_(seed), kernel_(one_in_one_out(4)), builder_(stage_) {
    kernel_.schedule.width = 4 << pick(3);
    stage_.name = "random";
    stage_.tasks = constant(3);
    for (int i = 0; i < 3; i++) arrays_.push_back(builder_.array("a" + std::to_string(i), 4, i != 1, i == 0));
    values_.push_back(builder_.number(0.25 * pick(8) - 1));
    const Int all = builder_.open_for(constant(0), constant(4), 1, true);
    for (int array : arrays_) builder_.store_array(array, all, values_[0]);
    builder_.close();
    indices_.push_back(builder_.task());
    body(0);
    kernel_.stages.push_back(std::move(stage_));
  }

  const Kernel& kernel() const { return kernel_; }

 private:
  int pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
  Value any() { return values_[static_cast<size_t>(pick(static_cast<int>(values_.size())))]; }
  Int index() { return indices_[static_cast<size_t>(pick(static_cast<int>(indices_.size())))]; }
  Int offset() {
    switch (pick(5)) {
      case 0: return test::size_of(0) * 4 - (index() + 2);
      case 1: return index() * 3 + pick(5);
      case 2: return index() * test::size_of(0) + index();
      case 3: return min(index() * 7, constant(20)) / 2 + index() % 3;
      default: return constant(pick(50));
    }
  }
  Int valid() { return pick(3) ? nullptr : pick(2) ? constant(pick(18)) : index() * 2 + 1; }

  void apply() {
    constexpr Op unary[] = {Op::Tanh, Op::Sigmoid, Op::Sin, Op::Abs, Op::Neg, Op::Softplus, Op::Cos};
    constexpr Op binary[] = {Op::Add, Op::Sub, Op::Max, Op::Min, Op::Mul};
    Value v = pick(2) ? builder_.apply(unary[pick(7)], {any()}) : builder_.apply(binary[pick(5)], {any(), any()});
    if (pick(3) == 0) v = builder_.apply(Op::Exp, {builder_.apply(Op::Neg, {builder_.apply(Op::Abs, {v})})});
    values_.push_back(builder_.apply(Op::Mul, {v, builder_.number(0.5)}));
  }

  void store() {
    const int array = pick(3);
    const Int at = arrays_[static_cast<size_t>(array)] == arrays_[0] ? constant(pick(4)) : index() % 4;
    Value v = any();
    if (array == 1 && builder_.is_lanes(v)) v = builder_.apply(Op::Tanh, {builder_.reduce(Op::Sum, v, valid())});
    builder_.store_array(arrays_[static_cast<size_t>(array)], at, v);
  }

  void statement(int depth) {
    switch (pick(9)) {
      case 0: values_.push_back(builder_.load(0, offset(), pick(2) ? constant(1) : constant(pick(4)), valid())); break;
      case 1: values_.push_back(builder_.load(0, offset())); break;
      case 2: store(); break;
      case 3: values_.push_back(builder_.load_array(arrays_[static_cast<size_t>(pick(3))], index() % 4)); break;
      case 4:
        if (depth < 3) nested(depth);
        break;
      default: apply();
    }
  }

  void nested(int depth) {
    const size_t values = values_.size(), indices = indices_.size();
    if (pick(3)) {
      const int begin = pick(2);
      indices_.push_back(builder_.open_for(constant(begin), pick(2) ? constant(begin + pick(5)) : constant(begin + 3),
                                           1 + pick(2), pick(2) == 0));
    } else {
      builder_.open_if(index() % 3, constant(1 + pick(2)));
    }
    body(depth + 1);
    builder_.close();
    values_.resize(values);
    indices_.resize(indices);
  }

  void body(int depth) {
    for (int i = 3 + pick(8); i > 0; i--) statement(depth);
    Value v = any();
    if (builder_.is_lanes(v)) builder_.store(1, builder_.task() * 512 + stored_ * 16, v, constant(1), valid());
    else builder_.store(1, builder_.task() * 512 + stored_ * 16, v);
    stored_++;
  }

  std::mt19937 random_;
  Kernel kernel_;
  Stage stage_;
  StageBuilder builder_;
  std::vector<int> arrays_;
  std::vector<Value> values_;
  std::vector<Int> indices_;
  int stored_ = 0;
};

TEST(Emit, RandomKernelsAgreeWithTheInterpreter) {
  for (unsigned seed = 0; seed < 150; seed++) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    expect_interpreted(RandomKernel(seed).kernel(), ramp(4096), 3 * 512, {11, 5}, 2e-5);
    if (HasFatalFailure()) return;
  }
}

// ---- the compiler as a whole ----------------------------------------------------------------------------------------

TEST(Emit, TheSameKernelHasTheSameText) {
  for (unsigned seed = 0; seed < 20; seed++)
    EXPECT_EQ(print(RandomKernel(seed).kernel()), print(RandomKernel(seed).kernel()));
}

void expect_no_calls(const Jit& jit, const Kernel& kernel) {
  const std::string text = jit.list(kernel).assembly;
  for (size_t at = text.find("\tcall"); at != std::string::npos; at = text.find("\tcall", at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    EXPECT_NE(line.find("_tasks"), std::string::npos) << short_name(jit) << " calls" << line << "\n" << print(kernel);
  }
}

TEST(Emit, NoCodeCallsALibrary) {
  for (Jit* jit : jits()) {
    for (Op op : pointwise_ops())
      for (bool lanes : {true, false}) expect_no_calls(*jit, pointwise_kernel(op, jit->native_width(), lanes));
    for (DType from : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::u8})
      for (const Int& stride : {Int(), constant(1), constant(2)})
        for (const Int& valid : {Int(), test::size_of(1)})
          if (stride || !valid) expect_no_calls(*jit, copy_kernel(from, from, jit->native_width(), stride, valid));
  }
}

TEST(Emit, EqualKernelsShareTheirCode) {
  const CompiledKernel a = Jit::host().compile(pointwise_kernel(Op::Tanh, 8, true));
  const CompiledKernel b = Jit::host().compile(pointwise_kernel(Op::Tanh, 8, true));
  const CompiledKernel c = Jit::host().compile(pointwise_kernel(Op::Tanh, 16, true));
  EXPECT_EQ(a.stages[0].run, b.stages[0].run);
  EXPECT_NE(a.stages[0].run, c.stages[0].run);
}

TEST(Emit, ManyKernelsAreCompiledTogether) {
  std::vector<Kernel> kernels;
  for (Op op : pointwise_ops()) kernels.push_back(pointwise_kernel(op, 4, true));
  std::vector<const Kernel*> pointers;
  for (const Kernel& kernel : kernels) pointers.push_back(&kernel);
  Jit jit("host");
  const std::vector<CompiledKernel> compiled = jit.compile(pointers);
  ASSERT_EQ(compiled.size(), kernels.size());
  for (size_t i = 0; i < kernels.size(); i++) EXPECT_EQ(compiled[i].name, kernels[i].name);
}

TEST(Emit, AnUnknownProcessorIsTheUsersMistake) { EXPECT_THROW(Jit("z80"), InputError); }

TEST(Emit, ResultsDoNotDependOnTheNumberOfThreads) {
  const Kernel kernel = pointwise_kernel(Op::Softplus, 16, true);
  const std::vector<float> x = ramp(100003);
  std::vector<float> one(x.size()), many(x.size());
  const auto count = static_cast<int64_t>(x.size());
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  test::run(Jit::host(), kernel, {(void*)x.data(), (void*)x.data(), (void*)x.data(), one.data()}, {count});
  omp_set_num_threads(5);
  test::run(Jit::host(), kernel, {(void*)x.data(), (void*)x.data(), (void*)x.data(), many.data()}, {count});
  omp_set_num_threads(threads);
  EXPECT_EQ(one, many);
}

}  // namespace
