// The driver of fake_cuda.h. What is put into a stream waits there until something synchronizes with it, as far as CUDA
// allows that.
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/cuda/driver_api.h"
#include "tests/fake_cuda.h"
#include "tests/fake_cuda_kernels.h"
#include "tests/fake_cuda_work.h"

namespace mambac::cuda {

using fake::Work;

struct OpaqueContext {};
struct OpaqueFunction {
  std::string name;
  const fake::Kernels* kernels;
};
struct OpaqueModule {
  fake::Kernels kernels;
  std::deque<OpaqueFunction> functions;
};
struct OpaqueGraph {
  std::vector<Work> work;
};
struct OpaqueGraphExec {
  std::vector<Work> work;
};

namespace {

constexpr Status kCaptureUnsupported = 900;

OpaqueContext context;
long objects = 0, contexts = 0, launches = 0, early_launches = 0, graph_launches = 0;

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

/// The source behind the line that names the architecture, see fake_nvrtc.cpp.
std::string source_of(const std::string& image) {
  return image.substr(image.find('\n') + 1);
}

}  // namespace

extern "C" {

#define MAMBAC_FUNCTION FAKE_DECLARED
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
  *text = error == fake::failure() && error != 0 ? fake::failure_words()
          : error == 719                         ? "unspecified launch failure"
                                                 : "as told";
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
  ++contexts;
  return made(place, &context);
}
Status cuDevicePrimaryCtxRelease_v2(int) {
  if (--contexts == 0) fake::forget_failure();
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
  return made(module, new OpaqueModule{fake::Kernels(source_of(text)), {}});
}
Status cuModuleUnload(ModuleHandle module) {
  fake::finish_all();
  return gone(module);
}
Status cuModuleGetFunction(FunctionHandle* function, ModuleHandle module, const char* name) {
  if (!module->kernels.has(name)) return 500;
  *function = &module->functions.emplace_back(OpaqueFunction{name, &module->kernels});
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
Status cuLaunchKernelEx(const LaunchConfig* config, FunctionHandle function, void** arguments, void**) {
  FAKE_MAY_FAIL;
  const auto is_one = [](const unsigned(&size)[3]) { return size[1] == 1 && size[2] == 1; };
  if (!is_one(config->grid) || !is_one(config->block) || config->dynamic_shared_bytes != 0) return 1;
  const bool early = config->attribute_count > 0;
  if (early && (config->attributes[0].id != kProgrammaticStreamSerialization || config->attributes[0].value != 1 ||
                config->attribute_count != 1 || !function->kernels->await_kernels()))
    return 1;
  try {
    const Work work =
        function->kernels->launch(function->name, config->grid[0], static_cast<int>(config->block[0]), arguments);
    return fake::put(config->stream, [work, early] {
      ++launches;
      early_launches += early;
      work();
    });
  } catch (const fake::Fault& fault) {
    return fault.status();
  }
}

Status cuMemGetInfo_v2(size_t* free, size_t* total) {
  cuDeviceTotalMem_v2(total, 0);
  *free = *total - fake::allocated_bytes();
  return 0;
}
Status cuMemAlloc_v2(DevicePointer* pointer, size_t bytes) {
  FAKE_MAY_FAIL;
  if (fake::anything_is_capturing()) return kCaptureUnsupported;
  size_t free = 0, total = 0;
  cuMemGetInfo_v2(&free, &total);
  if (bytes == 0) return 1;
  if (bytes > free) return 2;
  *pointer = fake::allocate(bytes);
  if (*pointer == 0) return 2;
  ++objects;
  return 0;
}
Status cuMemFree_v2(DevicePointer pointer) {
  fake::finish_all();
  if (!fake::release(pointer)) return 1;
  --objects;
  return 0;
}
Status cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  FAKE_MAY_FAIL;
  *pointer = fake::allocate_pinned(bytes);
  ++objects;
  return 0;
}
Status cuMemFreeHost(void* pointer) {
  fake::finish_all();
  fake::release_pinned(pointer);
  --objects;
  return 0;
}
Status cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, size_t bytes, StreamHandle stream) {
  FAKE_MAY_FAIL;
  if (fake::is_pinned(from)) return fake::put(stream, [=] { std::memcpy(fake::memory_at(to, bytes), from, bytes); });
  // Memory that the device cannot read by itself is read before the call returns.
  const char* begin = static_cast<const char*>(from);
  return fake::put(stream, [to, copy = std::vector<char>(begin, begin + bytes)] {
    std::memcpy(fake::memory_at(to, copy.size()), copy.data(), copy.size());
  });
}
Status cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, size_t bytes, StreamHandle stream) {
  FAKE_MAY_FAIL;
  const Status status = fake::put(stream, [=] { std::memcpy(to, fake::memory_at(from, bytes), bytes); });
  return status != 0 || fake::is_pinned(to) ? status : fake::finish(stream);
}
Status cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, StreamHandle stream) {
  return fake::put(stream, [=] { std::memmove(fake::memory_at(to, bytes), fake::memory_at(from, bytes), bytes); });
}
Status cuMemsetD8Async(DevicePointer to, unsigned char value, size_t bytes, StreamHandle stream) {
  return fake::put(stream, [=] { std::memset(fake::memory_at(to, bytes), value, bytes); });
}

Status cuStreamCreate(StreamHandle* stream, unsigned) {
  return made(stream, fake::make_stream());
}
Status cuStreamDestroy_v2(StreamHandle stream) {
  fake::destroy_stream(stream);
  --objects;
  return 0;
}
Status cuStreamSynchronize(StreamHandle stream) {
  FAKE_MAY_FAIL;
  return fake::is_capturing(stream) ? kCaptureUnsupported : fake::finish(stream);
}
Status cuStreamWaitEvent(StreamHandle stream, EventHandle event, unsigned) {
  return fake::put(stream, [event] { fake::finish(event); });
}
Status cuStreamBeginCapture_v2(StreamHandle stream, int) {
  if (fake::is_capturing(stream)) return kCaptureUnsupported;
  fake::begin_capture(stream);
  return 0;
}
Status cuStreamEndCapture(StreamHandle stream, GraphHandle* graph) {
  if (!fake::is_capturing(stream)) return 901;
  return made(graph, new OpaqueGraph{fake::end_capture(stream)});
}
Status cuEventCreate(EventHandle* event, unsigned) {
  return made(event, fake::make_event());
}
Status cuEventDestroy_v2(EventHandle event) {
  fake::destroy_event(event);
  --objects;
  return 0;
}
Status cuEventRecord(EventHandle event, StreamHandle stream) {
  fake::record(event, stream);
  return 0;
}
Status cuEventSynchronize(EventHandle event) {
  FAKE_MAY_FAIL;
  return fake::anything_is_capturing() ? kCaptureUnsupported : fake::finish(event);
}
Status cuEventQuery(EventHandle event) {
  FAKE_MAY_FAIL;
  return fake::go_on(event) ? fake::failure() : Status{kErrorNotReady};
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
Status cuGraphLaunch(GraphExecHandle executable, StreamHandle stream) {
  FAKE_MAY_FAIL;
  ++graph_launches;
  for (const Work& work : executable->work)
    if (const Status status = fake::put(stream, work)) return status;
  return 0;
}

long fake_compilations_now();
FakeCounts fake_counts() {
  return {objects, static_cast<long>(fake::allocated_bytes()), launches, early_launches, graph_launches,
          fake_compilations_now()};
}

}  // extern "C"

}  // namespace mambac::cuda
