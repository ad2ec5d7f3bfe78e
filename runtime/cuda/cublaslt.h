// Matrix products on a device by cuBLASLt, which is opened at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/cuda/stream.h"
#include "runtime/gemm.h"

namespace mambac::cuda {

using LtHandle = struct OpaqueLtHandle*;
using LtMatmul = struct OpaqueLtMatmul*;
using LtLayout = struct OpaqueLtLayout*;
using LtPreference = struct OpaqueLtPreference*;

/// cublasLtMatmulAlgo_t.
struct LtAlgorithm {
  uint64_t data[8];
};

/// cublasLtMatmulHeuristicResult_t.
struct LtHeuristic {
  LtAlgorithm algorithm;
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};
static_assert(sizeof(LtHeuristic) == 96);

/// The opened library, and a handle of it for one device. Plans may be made and run from many threads.
class CublasLt {
 public:
  /// EnvironmentError when there is no library, it lacks a function, or cannot be initialised.
  explicit CublasLt(const Device& device);
  CublasLt(const Device& device, const LibraryProbe& library);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  struct Api {
#define MAMBAC_FUNCTION(name, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
#include "runtime/cuda/cublaslt_functions.def"
#undef MAMBAC_FUNCTION
  };

  const Api& api() const {
    return api_;
  }
  const Device& device() const {
    return device_;
  }
  LtHandle handle() const {
    return handle_;
  }
  std::string version() const;  // "13.1.0"

  /// The version of a library that may not have a device to work on.
  static std::string version_of(const LibraryProbe& library);

  /// EnvironmentError with cuBLASLt's words unless the status is 0. `subject` completes "cannot ...".
  void expect(int status, const std::string& tried) const;

 private:
  const Device& device_;
  Api api_;
  LtHandle handle_ = nullptr;
};

struct DeviceMatmulOptions {
  /// A vector of C's element type, one number for each column of C, is added to each row.
  bool bias = false;
  /// Bytes that runs may use for themselves. The algorithm, hence the result to the bit, depends on it.
  size_t workspace_bytes = size_t{32} << 20;
  /// What the addresses of all operands are multiples of, in bytes.
  uint32_t alignment = 256;
  /// Which of the library's algorithms, the one that it thinks fastest being number 0.
  int algorithm = 0;
};

/// A product of a fixed shape (see MatmulShape: row-major, sums in f32). A and B have one element type; C has it, too,
/// or f32. Results are the same bytes in every run on one kind of device: the algorithm is chosen here, once, and sums
/// that it splits are put together in a fixed order. Not to be run by two threads at once.
class DeviceMatmul {
 public:
  /// InputError when there is no algorithm of that number; EnvironmentError when there is none at all.
  DeviceMatmul(const CublasLt& library, const MatmulShape& shape, const DeviceMatmulOptions& options = {});
  DeviceMatmul(DeviceMatmul&&) noexcept;
  DeviceMatmul& operator=(DeviceMatmul&&) noexcept;
  ~DeviceMatmul();

  /// What the library says of the algorithms that it offers, by number, and of the chosen one: "1.05 MB of workspace,
  /// 0.94 waves".
  std::vector<std::string> algorithms() const;
  std::string algorithm() const;
  /// What the chosen algorithm needs, at most the bytes of the options.
  size_t workspace_bytes() const;

  struct Operands {
    DevicePointer a = 0, b = 0, c = 0;
    /// With MatmulShape::accumulate: what is added, laid out as C; 0: what C holds.
    DevicePointer addend = 0;
    DevicePointer bias = 0;       // with DeviceMatmulOptions::bias
    DevicePointer workspace = 0;  // workspace_bytes(), aligned to 256; holds nothing between runs
  };
  void run(Stream& stream, const Operands& operands);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mambac::cuda
