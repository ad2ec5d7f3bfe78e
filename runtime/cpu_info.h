// What the processor is and can do, as far as this process may use it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mambac {

struct CpuInfo {
  std::string model;  // the processor's own name for itself
  int processors = 1;  // logical processors that this process may run on
  // Instruction sets: the processor has them and the operating system saves their registers.
  bool avx2 = false, fma = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512_bf16 = false;
  bool amx_bf16 = false;
  // Bytes of the caches as one core sees them; 0: not known.
  int64_t l1_data_bytes = 0, l2_bytes = 0, l3_bytes = 0;

  bool halves_vectors = false;  // works on vectors of 512 bits in two halves
  /// f32 values in the widest vector register: 16, 8 or 4.
  int lanes() const;
  /// "avx2", "fma", ... of those that are there.
  std::vector<std::string> features() const;
};

/// Looked up once.
const CpuInfo& cpu_info();

}  // namespace mambac
