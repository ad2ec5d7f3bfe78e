// The CUDA driver API as far as mambac uses it, without CUDA's headers: types, constants (their values are part of the
// driver's binary interface, CUDA driver API reference) and a table of the functions, filled when the driver is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "runtime/libraries.h"

namespace mambac::cuda {

using Status = int;              // 0: good
using DevicePointer = uint64_t;  // an address in device memory; not to be followed on the host
using ContextHandle = struct OpaqueContext*;
using ModuleHandle = struct OpaqueModule*;
using FunctionHandle = struct OpaqueFunction*;
using StreamHandle = struct OpaqueStream*;
using EventHandle = struct OpaqueEvent*;
using GraphHandle = struct OpaqueGraph*;
using GraphExecHandle = struct OpaqueGraphExec*;

enum DeviceAttribute {
  kAttributeMultiprocessors = 16,
  kAttributeL2Bytes = 38,
  kAttributeComputeMajor = 75,
  kAttributeComputeMinor = 76,
  kAttributeSharedBytesPerMultiprocessor = 81,
  kAttributeSharedBytesPerBlock = 97,  // the most that a kernel can ask for
};

enum FunctionAttribute {
  kFunctionMaxThreads = 0,
  kFunctionStaticSharedBytes = 1,
  kFunctionLocalBytes = 3,  // per thread: spilled registers, arrays that are indexed
  kFunctionRegisters = 4,
  kFunctionMaxDynamicSharedBytes = 8,
};

enum StreamFlag : unsigned { kStreamNonBlocking = 1 };
enum EventFlag : unsigned { kEventDisableTiming = 2 };
/// Calls of other threads neither join the capture nor break it.
enum CaptureMode { kCaptureThreadLocal = 1 };
enum JitOption { kJitErrorLog = 5, kJitErrorLogBytes = 6 };

/// CUlaunchAttribute: an identifier and 64 bytes for its value.
struct LaunchAttribute {
  int id = 0;
  alignas(8) int value = 0;
  char rest[60] = {};
};
/// The launch may begin while the kernel before it in the stream ends; see mb_await_kernels in device_header.h.
enum LaunchAttributeId { kProgrammaticStreamSerialization = 6 };

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned dynamic_shared_bytes = 0;
  StreamHandle stream = nullptr;
  LaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(LaunchConfig) == 56, "as in the driver's binary interface");

/// The driver's status codes that mambac tells apart; see runtime/cuda/driver_errors.h.
enum StatusCode : Status {
  kSuccess = 0,
  kErrorOutOfMemory = 2,
  kErrorNotReady = 600,
};

struct DriverApi {
#define MAMBAC_FUNCTION(name, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
#include "runtime/cuda/driver_functions.def"
#undef MAMBAC_FUNCTION
};

}  // namespace mambac::cuda
