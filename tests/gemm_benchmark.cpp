// Products of the shapes of a mamba-130m layer: ours by every algorithm, against the library's own partition, which is
// their floor.
#include <benchmark/benchmark.h>

#include <vector>

#include "runtime/gemm.h"

namespace mambac {
namespace {

struct Case {
  const char* name;
  MatmulShape shape;
};

const Case kCases[] = {
    {"in_projection", {.m = 2048, .n = 3072, .k = 768, .transpose_b = true}},
    {"x_projection", {.m = 2048, .n = 80, .k = 1536, .transpose_b = true}},
    {"out_projection", {.m = 2048, .n = 768, .k = 1536, .transpose_b = true}},
    {"dt_projection", {.m = 2048, .n = 1536, .k = 48, .transpose_b = true}},
    {"head", {.m = 2048, .n = 50280, .k = 768, .transpose_b = true}},
    {"in_projection_512", {.m = 512, .n = 3072, .k = 768, .transpose_b = true}},
    {"gradient_of_input", {.m = 2048, .n = 768, .k = 3072}},
    {"gradient_of_in_weight", {.m = 3072, .n = 768, .k = 2048, .transpose_a = true}},
    {"gradient_of_x_weight", {.m = 80, .n = 1536, .k = 2048, .transpose_a = true}},
    {"gradient_of_dt_weight", {.m = 1536, .n = 48, .k = 2048, .transpose_a = true}},
    {"four_rows", {.m = 4, .n = 3072, .k = 768, .transpose_b = true}},
};

// Values of small exponent in f32 and bf16 alike; zeros would be as fast, NaNs might not.
std::vector<uint16_t> memory(int64_t elements, DType dtype) {
  return std::vector<uint16_t>(static_cast<size_t>(elements) * bytes_of(dtype) / 2, 0x3e10);
}

void measure(benchmark::State& state, MatmulShape shape, bool packed, Partition partition, int algorithm) {
  const DType dtype = shape.a;
  auto a = memory(shape.m * shape.k, dtype), b = memory(shape.k * shape.n, dtype), c = memory(shape.m * shape.n, dtype);
  if (packed) {
    PackedMatmul product(shape, partition, algorithm);
    product.pack(b.data());
    for (auto _ : state) product.run(a.data(), c.data());
  } else {
    Matmul product(shape, partition, algorithm);
    for (auto _ : state) product.run(a.data(), b.data(), c.data());
  }
  double flops = 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) * static_cast<double>(shape.k);
  state.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void add_all() {
  for (const Case& one : kCases) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (bool packed : {false, true}) {
        MatmulShape shape = one.shape;
        shape.a = shape.b = shape.c = dtype;
        const std::string name = std::string(one.name) + "/" + name_of(dtype) + (packed ? "/packed" : "/plain");
        const auto add = [&](const std::string& how, Partition partition, int algorithm) {
          benchmark::RegisterBenchmark((name + how).c_str(), measure, shape, packed, partition, algorithm)
              ->UseRealTime()
              ->Unit(benchmark::kMillisecond);
        };
        add("/library", Partition::library, 0);
        int algorithm = 0;
        for (const std::string& fixed : packed ? PackedMatmul(shape).algorithms() : Matmul(shape).algorithms())
          add("/fixed/" + fixed, Partition::fixed, algorithm++);
      }
    }
  }
}

}  // namespace
}  // namespace mambac

int main(int argc, char** argv) {
  mambac::add_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
