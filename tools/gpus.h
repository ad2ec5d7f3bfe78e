// What NVIDIA GPUs can do at most: the rooflines of `mambac cost --device`.
#pragma once

#include <string>
#include <vector>

#include "runtime/gemm.h"
#include "tools/device_description.h"
#include "tools/roofline.h"

namespace mambac::tools {

/// A GPU as its description says (models/devices/).
struct Gpu {
  std::string name;  // of `--gpu`
  std::string title;
  std::string architecture;  // whose machine code is its own
  std::string source;        // the first of the documents that the numbers are from
  int multiprocessors;
  double clock;                // Hz, the boost clock
  double bytes_per_second;     // of memory
  double l2_bytes;             // of the L2 cache
  double l2_bytes_per_second;
  double narrow_products;      // FLOPs per second of matrix products of bf16 or f16, dense
  double memory_latency;       // seconds of a load that no cache has
  double l2_latency;           // and of one that the L2 cache has, nothing else going on
  double launch_seconds;       // from the end of a kernel's work to the start of the next one's in a captured graph
  // Of a multiprocessor:
  int warps, blocks;           // that it holds at most
  int registers, shared_bytes;
  int warps_issued;            // each clock: as many as it has schedulers
  int multiply_adds;           // of f32, of threads and each clock
  int special_functions;

  double slots_per_second() const { return 32.0 * warps_issued * rate(); }
  double flops_per_second() const { return 2.0 * multiply_adds * rate(); }
  double specials_per_second() const { return special_functions * rate(); }
  double product_flops_per_second(const MatmulShape& shape) const {
    return shape.a == DType::f32 ? flops_per_second() : narrow_products;
  }

 private:
  double rate() const { return multiprocessors * clock; }
};

/// Of the bandwidth that data sheets promise, what a copy has: 4.26 of 4.8 TB/s on an H200 (docs/cuda.md).
constexpr double kOfBandwidth = 0.89;

/// The shipped ones.
const std::vector<Gpu>& gpus();
/// InputError for a description of something else, and for one that lacks what a GPU has.
Gpu gpu_of(DeviceDescription description);
/// That of `--gpu` (a name or a path), or all shipped ones of the architecture where it is empty. InputError for an
/// unknown name, for a damaged file, and for a GPU of another architecture.
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
