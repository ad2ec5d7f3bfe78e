// A library that answers like the CUDA driver, NVRTC, cuBLASLt and a profiler, on the host, and runs what mambac emits
// on the emulation device (docs/cuda.md says more). What it is told to be is read from the environment at each call:
//   FAKE_CUDA_FAIL     NAME=STATUS: the function of this name does nothing and returns this status
//   FAKE_CUDA_VERSION  of the driver (13000)
//   FAKE_CUDA_DEVICES  how many there are (1)
//   FAKE_CUDA_MEMORY   bytes of each (1 GiB)
//   FAKE_NVTX_FILE     where ranges go: "1 push NAME" and "1 pop", 1 the number of the thread
//   FAKE_NVRTC_MAJOR   (13), FAKE_NVRTC_BYTES of machine code, at least (0)
#pragma once

#include <cstdlib>
#include <string>

namespace mambac::fake {

inline long number_from(const char* variable, long otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::atol(text) : otherwise;
}

/// The status that a function is told to return; 0: none.
inline int told_to_fail(const std::string& name) {
  const char* text = std::getenv("FAKE_CUDA_FAIL");
  const std::string told = text != nullptr ? text : "";
  return told.starts_with(name + "=") ? std::atoi(told.c_str() + name.size() + 1) : 0;
}

#define FAKE_MAY_FAIL \
  if (const int status = ::mambac::fake::told_to_fail(__func__)) return status

// Functions are declared by including a table with MAMBAC_FUNCTION defined as this; the definitions that follow must
// have the signatures of the table.
#define FAKE_DECLARED(name, ...)      \
  using Type_of_##name = __VA_ARGS__; \
  Type_of_##name name;

}  // namespace mambac::fake

// What the library tells beyond CUDA: objects and bytes of the driver that are still held, launches of kernels and
// products (those of graphs, too) that were done, those of them that might begin before the kernel before had ended,
// launches of graphs, and programs compiled.
extern "C" {
struct FakeCounts {
  long objects, device_bytes, launches, early_launches, graph_launches, compilations;
};
FakeCounts fake_counts();
}
