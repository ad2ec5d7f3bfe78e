// The driver of fake_cuda.h. Streams do their work at once; a kernel named add_one(float* data, int n) adds 1 to n
// numbers, any other does nothing.
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "runtime/cuda/driver_api.h"
#include "tests/fake_cuda.h"

using Work = std::vector<std::function<void()>>;

namespace mambac::cuda {

struct OpaqueContext {};
struct OpaqueFunction {
  std::string name;
};
struct OpaqueModule {
  std::string image;
  OpaqueFunction functions[8];
  int used = 0;
};
struct OpaqueStream {
  Work* captured = nullptr;

  void put(std::function<void()> work) {
    if (captured != nullptr) {
      captured->push_back(std::move(work));
    } else {
      work();
    }
  }
};
struct OpaqueEvent {};
struct OpaqueGraph {
  Work work;
};
struct OpaqueGraphExec {
  Work work;
};

namespace {

OpaqueContext context;
long objects = 0, device_bytes = 0, launches = 0;

void* at(DevicePointer address) {
  return reinterpret_cast<void*>(address);
}

template <class Object>
Status made(Object** place, Object* object) {
  *place = object;
  ++objects;
  return 0;
}

template <class Object>
Status gone(Object* object) {
  delete object;
  --objects;
  return 0;
}

// In front of each allocation, its size.
constexpr size_t kAhead = 256;

}  // namespace

extern "C" {

// Definitions below must have the signatures of the table.
#define MAMBAC_FUNCTION(name, ...)    \
  using Type_of_##name = __VA_ARGS__; \
  Type_of_##name name;
#include "runtime/cuda/driver_functions.def"
#undef MAMBAC_FUNCTION

Status cuInit(unsigned) {
  FAKE_MAY_FAIL;
  return fake::number_from("FAKE_CUDA_DEVICES", 1) > 0 ? 0 : 100;
}
Status cuDriverGetVersion(int* version) {
  *version = static_cast<int>(fake::number_from("FAKE_CUDA_VERSION", 13000));
  return 0;
}
Status cuGetErrorName(Status error, const char** name) {
  *name = error == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == 100 ? "CUDA_ERROR_NO_DEVICE"
          : error == 200 ? "CUDA_ERROR_INVALID_IMAGE"
          : error == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
          : error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : error == 719 ? "CUDA_ERROR_LAUNCH_FAILED"
                         : nullptr;
  return *name != nullptr ? 0 : 1;
}
Status cuGetErrorString(Status error, const char** text) {
  *text = error == 719 ? "unspecified launch failure" : "as told";
  return 0;
}

Status cuDeviceGetCount(int* count) {
  FAKE_MAY_FAIL;
  *count = static_cast<int>(fake::number_from("FAKE_CUDA_DEVICES", 1));
  return 0;
}
Status cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return 0;
}
Status cuDeviceGetName(char* name, int bytes, int) {
  std::strncpy(name, "Fake GPU", static_cast<size_t>(bytes));
  return 0;
}
Status cuDeviceGetUuid_v2(unsigned char* sixteen_bytes, int device) {
  for (int i = 0; i < 16; ++i) sixteen_bytes[i] = static_cast<unsigned char>(16 * i + device);
  return 0;
}
Status cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = static_cast<size_t>(fake::number_from("FAKE_CUDA_MEMORY", 1 << 30));
  return 0;
}
Status cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == kAttributeMultiprocessors       ? 132
           : attribute == kAttributeComputeMajor        ? 9
           : attribute == kAttributeComputeMinor        ? 0
           : attribute == kAttributeSharedBytesPerBlock ? 232448
           : attribute == kAttributeL2Bytes             ? 50 << 20
                                                        : 0;
  return 0;
}
Status cuDevicePrimaryCtxRetain(ContextHandle* place, int) {
  FAKE_MAY_FAIL;
  return made(place, &context);
}
Status cuDevicePrimaryCtxRelease_v2(int) {
  --objects;
  return 0;
}
Status cuCtxSetCurrent(ContextHandle) {
  FAKE_MAY_FAIL;
  return 0;
}

Status cuModuleLoadDataEx(ModuleHandle* module, const void* image, unsigned count, int* options, void** values) {
  FAKE_MAY_FAIL;
  const std::string text = static_cast<const char*>(image);
  if (!text.starts_with("FAKECUBIN")) {
    for (unsigned i = 0; i < count; ++i)
      if (options[i] == kJitErrorLog) std::strcpy(static_cast<char*>(values[i]), "no such image");
    return 200;
  }
  if (!text.starts_with("FAKECUBIN sm_90")) return 209;
  return made(module, new OpaqueModule{text, {}, 0});
}
Status cuModuleUnload(ModuleHandle module) {
  return gone(module);
}
Status cuModuleGetFunction(FunctionHandle* function, ModuleHandle module, const char* name) {
  if (module->image.find(std::string(name) + "(") == std::string::npos) return 500;
  *function = &module->functions[module->used++];
  (*function)->name = name;
  return 0;
}
Status cuFuncGetAttribute(int* value, int attribute, FunctionHandle) {
  *value = 10 + attribute;
  return 0;
}
Status cuFuncSetAttribute(FunctionHandle, int, int) {
  return 0;
}
Status cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, FunctionHandle, int threads, size_t) {
  *blocks = 2048 / threads;
  return 0;
}
Status cuLaunchKernel(FunctionHandle function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      StreamHandle stream, void** arguments, void**) {
  FAKE_MAY_FAIL;
  if (function->name != "add_one") return 0;
  float* data = *static_cast<float**>(arguments[0]);
  const int n = *static_cast<int*>(arguments[1]);
  stream->put([data, n] {
    ++launches;
    for (int i = 0; i < n; ++i) data[i] += 1;
  });
  return 0;
}

Status cuMemGetInfo_v2(size_t* free, size_t* total) {
  cuDeviceTotalMem_v2(total, 0);
  *free = *total - static_cast<size_t>(device_bytes);
  return 0;
}
Status cuMemAlloc_v2(DevicePointer* pointer, size_t bytes) {
  FAKE_MAY_FAIL;
  size_t free = 0, total = 0;
  cuMemGetInfo_v2(&free, &total);
  if (bytes > free) return 2;
  char* memory = static_cast<char*>(std::aligned_alloc(256, (bytes + kAhead + 255) / 256 * 256));
  std::memcpy(memory, &bytes, sizeof(bytes));
  device_bytes += static_cast<long>(bytes);
  ++objects;
  *pointer = reinterpret_cast<DevicePointer>(memory + kAhead);
  return 0;
}
Status cuMemFree_v2(DevicePointer pointer) {
  char* memory = static_cast<char*>(at(pointer)) - kAhead;
  size_t bytes = 0;
  std::memcpy(&bytes, memory, sizeof(bytes));
  device_bytes -= static_cast<long>(bytes);
  --objects;
  std::free(memory);
  return 0;
}
Status cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  FAKE_MAY_FAIL;
  *pointer = std::malloc(bytes);
  ++objects;
  return 0;
}
Status cuMemFreeHost(void* pointer) {
  std::free(pointer);
  --objects;
  return 0;
}
Status cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, size_t bytes, StreamHandle stream) {
  FAKE_MAY_FAIL;
  stream->put([=] { std::memcpy(at(to), from, bytes); });
  return 0;
}
Status cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, size_t bytes, StreamHandle stream) {
  FAKE_MAY_FAIL;
  stream->put([=] { std::memcpy(to, at(from), bytes); });
  return 0;
}
Status cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, StreamHandle stream) {
  stream->put([=] { std::memmove(at(to), at(from), bytes); });
  return 0;
}
Status cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, StreamHandle stream) {
  stream->put([=] { std::memset(at(to), value, bytes); });
  return 0;
}

Status cuStreamCreate(StreamHandle* stream, unsigned) {
  return made(stream, new OpaqueStream);
}
Status cuStreamDestroy_v2(StreamHandle stream) {
  return gone(stream);
}
Status cuStreamSynchronize(StreamHandle) {
  FAKE_MAY_FAIL;
  return 0;
}
Status cuStreamWaitEvent(StreamHandle, EventHandle, unsigned) {
  return 0;
}
Status cuStreamBeginCapture_v2(StreamHandle stream, int) {
  if (stream->captured != nullptr) return 900;
  stream->captured = new Work;
  return 0;
}
Status cuStreamEndCapture(StreamHandle stream, GraphHandle* graph) {
  if (stream->captured == nullptr) return 901;
  *graph = new OpaqueGraph{std::move(*stream->captured)};
  delete stream->captured;
  stream->captured = nullptr;
  ++objects;
  return 0;
}
Status cuEventCreate(EventHandle* event, unsigned) {
  return made(event, new OpaqueEvent);
}
Status cuEventDestroy_v2(EventHandle event) {
  return gone(event);
}
Status cuEventRecord(EventHandle, StreamHandle) {
  return 0;
}
Status cuEventSynchronize(EventHandle) {
  return 0;
}
Status cuEventQuery(EventHandle) {
  FAKE_MAY_FAIL;
  return 0;
}
Status cuEventElapsedTime(float* milliseconds, EventHandle, EventHandle) {
  *milliseconds = 1.5F;
  return 0;
}
#ifndef FAKE_CUDA_WITHOUT_GRAPHS
Status cuGraphInstantiateWithFlags(GraphExecHandle* executable, GraphHandle graph, unsigned long long) {
  FAKE_MAY_FAIL;
  return made(executable, new OpaqueGraphExec{graph->work});
}
#endif
Status cuGraphDestroy(GraphHandle graph) {
  return gone(graph);
}
Status cuGraphExecDestroy(GraphExecHandle executable) {
  return gone(executable);
}
Status cuGraphLaunch(GraphExecHandle executable, StreamHandle) {
  for (const auto& work : executable->work) work();
  return 0;
}

long fake_compilations_now();
FakeCounts fake_counts() {
  return {objects, device_bytes, launches, fake_compilations_now()};
}

}  // extern "C"

}  // namespace mambac::cuda
