// What NVIDIA GPUs can do at most: the rooflines of `mambac cost --device`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/gemm.h"
#include "tools/roofline.h"

namespace mambac::tools {

struct Gpu {
  std::string_view name;  // of `--gpu`
  std::string_view title;
  std::string_view architecture;  // whose machine code is its own
  int multiprocessors;
  double clock;             // Hz, the boost clock
  double bytes_per_second;  // of memory
  double narrow_products;   // FLOPs per second of matrix products of bf16 or f16, dense
  std::string_view source;

  // A multiprocessor of compute capability 9.0 issues an instruction of 4 warps of 32 threads a clock, computes 128 f32
  // multiply-adds and 16 special functions (CUDA C++ Programming Guide, section 5.4.1, Arithmetic Instructions).
  double slots_per_second() const { return 128 * rate(); }
  double flops_per_second() const { return 2 * 128 * rate(); }
  double specials_per_second() const { return 16 * rate(); }
  double product_flops_per_second(const MatmulShape& shape) const {
    return shape.a == DType::f32 ? flops_per_second() : narrow_products;
  }

 private:
  double rate() const { return multiprocessors * clock; }
};

std::span<const Gpu> gpus();
/// That of `--gpu`, or all of the architecture where it names none. InputError for an unknown name, and for a GPU of
/// another architecture.
std::vector<Gpu> gpus_for(const std::string& architecture, const std::string& name);

/// The work of one launch, as a roofline sees it.
struct GpuWork {
  double bytes = 0;       // read and written
  double flops = 0;       // f32
  double specials = 0;    // instructions of threads for the special-function unit
  double slots = 0;       // instructions of threads
  double products = 0;    // FLOPs of matrix products
  MatmulShape product{};  // of which shape
};

/// Of bytes, FMA, MUFU, issue and, where there are any, products.
std::vector<ResourceTime> times_on(const Gpu& gpu, const GpuWork& work);

}  // namespace mambac::tools
