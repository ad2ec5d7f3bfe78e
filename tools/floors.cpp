#include "tools/floors.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "ir/error.h"
#include "runtime/cpu_device.h"
#include "runtime/cpu_info.h"
#include "tools/floor_loops.h"

namespace mambac::floors {
namespace {

const Loops& loops(Vectors vectors) {
  switch (vectors) {
    case Vectors::avx512: return kAvx512Loops;
    case Vectors::avx2: return kAvx2Loops;
    case Vectors::sse: break;
  }
  return kSseLoops;
}

template <class Work>
double seconds_of(Work&& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Work>
double median_seconds(int repeats, Work&& work) {
  std::vector<double> seconds(static_cast<size_t>(repeats));
  for (double& s : seconds) s = seconds_of(work);
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<size_t>(repeats / 2)];
}

/// Seconds of one unit of work: `work(units)` is repeated with so many units that it takes some milliseconds. The
/// median, as of the work that is held against it: what disturbs the machine then touches both. `units`: as many as
/// surely take less than that; on a busy machine the start of a parallel region alone may take some milliseconds.
template <class Work>
double seconds_per_unit(Work&& work, int64_t units = 1) {
  constexpr double kRepeat = 5e-3;
  constexpr int kRepeats = 11;
  double typical = median_seconds(3, [&] { work(units); });
  while (typical < kRepeat && units < (int64_t{1} << 40)) {
    double wanted = 1.2 * static_cast<double>(units) * kRepeat / std::max(typical, 1e-7);
    units = std::max(units * 2, static_cast<int64_t>(std::min(wanted, 64.0 * static_cast<double>(units))));
    typical = median_seconds(3, [&] { work(units); });
  }
  return median_seconds(kRepeats, [&] { work(units); }) / static_cast<double>(units);
}

double values_per_second(void (*loop)(int64_t), int lanes, int64_t iterations) {
  int threads = omp_get_max_threads();
  double seconds = seconds_per_unit(
      [&](int64_t units) {
#pragma omp parallel num_threads(threads)
        loop(units);
      },
      iterations);
  return static_cast<double>(threads) * kChains * lanes / seconds;
}

}  // namespace

std::vector<Vectors> vectors_available() {
  const CpuInfo& cpu = cpu_info();
  std::vector<Vectors> available = {Vectors::sse};
  if (cpu.avx2 && cpu.fma) available.push_back(Vectors::avx2);
  if (cpu.avx512f && cpu.avx512dq) available.push_back(Vectors::avx512);
  return available;
}

double exponentials_per_second(Vectors vectors) {
  return values_per_second(loops(vectors).exponentials, loops(vectors).lanes, int64_t{1} << 18);
}

double multiply_adds_per_second(Vectors vectors) {
  return values_per_second(loops(vectors).multiply_adds, loops(vectors).lanes, int64_t{1} << 20);
}

double read_bytes_per_second(size_t bytes) {
  constexpr size_t kUnit = 512;  // what one step of the widest loop reads
  const size_t threads = static_cast<size_t>(omp_get_max_threads());
  const size_t part = std::max<size_t>(1, (bytes / threads + kUnit - 1) / kUnit) * kUnit;
  const auto memory = cpu_device().allocate(static_cast<int64_t>(part * threads));
  char* begin = static_cast<char*>(memory->data());
  auto read = loops(vectors_available().back()).read;
  auto with_each_part = [&](auto&& work) {
#pragma omp parallel num_threads(static_cast<int>(threads))
    work(begin + part * static_cast<size_t>(omp_get_thread_num()));
  };
  // Each thread touches its own part first, so that it lies near that thread.
  with_each_part([&](char* own) { std::memset(own, 1, part); });
  double seconds = seconds_per_unit(
      [&](int64_t times) {
        with_each_part([&](char* own) {
          for (int64_t i = 0; i < times; ++i) read(own, part);
        });
      },
      std::max<int64_t>(1, static_cast<int64_t>((size_t{16} << 20) / (part * threads))));
  return static_cast<double>(part * threads) / seconds;
}

double product_seconds(const MatmulShape& shape, bool packed) {
  MatmulShape dense = shape;
  dense.lda = dense.ldb = dense.ldc = 0;
  dense.batch_stride_a = shape.m * shape.k;
  dense.batch_stride_b = 0;
  dense.batch_stride_c = shape.m * shape.n;
  // Operands on whole pages, as those of kernels are: AMX reads rows that start within a cache line at a third of the
  // speed. Numbers of 0.5 and more: a processor that multiplies zeros draws less power and may run faster.
  auto memory = [](int64_t elements, DType dtype) {
    return cpu_device().allocate(elements * static_cast<int64_t>(bytes_of(dtype)));
  };
  auto fill = [](const DeviceMemory& values, DType dtype) {
    uint32_t state = 1;
    for (size_t i = 0; i < values.bytes(); ++i) {
      state = state * 1664525 + 1013904223;
      static_cast<char*>(values.data())[i] = (i + 1) % bytes_of(dtype) == 0 ? 0x3f : static_cast<char>(state >> 24);
    }
  };
  const auto a = memory(shape.batch * shape.m * shape.k, shape.a), b = memory(shape.k * shape.n, shape.b),
             c = memory(shape.batch * shape.m * shape.n, shape.c);
  fill(*a, shape.a);
  fill(*b, shape.b);
  if (packed) {
    PackedMatmul product(dense, Partition::library);
    product.pack(b->data());
    return seconds_per_unit([&](int64_t times) {
      for (int64_t i = 0; i < times; ++i) product.run(a->data(), c->data());
    });
  }
  Matmul product(dense, Partition::library);
  return seconds_per_unit([&](int64_t times) {
    for (int64_t i = 0; i < times; ++i) product.run(a->data(), b->data(), c->data());
  });
}

void exp2_of(Vectors vectors, std::span<const float> from, std::span<float> to) {
  const Loops& set = loops(vectors);
  float in[16] = {}, out[16];
  for (size_t first = 0; first < from.size(); first += set.lanes) {
    size_t count = std::min<size_t>(set.lanes, from.size() - first);
    std::copy_n(from.data() + first, count, in);
    set.exp2(in, out);
    std::copy_n(out, count, to.data() + first);
  }
}

}  // namespace mambac::floors
