// The profiler of fake_cuda.h: it takes NVTX ranges as NVTX 3 hands them over, and appends each to a file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

#include "tests/fake_cuda.h"

namespace {

// As in nvtxDetail/nvtxTypes.h of NVTX 3.
using Function = void (*)();
struct Callbacks {
  size_t struct_size;
  int (*GetModuleFunctionTable)(int module, Function*** table, unsigned* size);
};
struct VersionInfo {
  size_t struct_size;
  uint32_t version, reserved;
  void (*SetInjectionNvtxVersion)(uint32_t version);
};

std::mutex mutex;
thread_local int level = 0;
int threads = 0;

int number_of_thread() {
  thread_local const int number = ++threads;
  return number;
}

void append(const std::string& line) {
  const std::lock_guard lock(mutex);
  const char* path = std::getenv("FAKE_NVTX_FILE");
  std::FILE* file = path != nullptr ? std::fopen(path, "a") : nullptr;
  if (file == nullptr) return;
  std::fprintf(file, "%d %s\n", number_of_thread(), line.c_str());
  std::fclose(file);
}

int push(const char* message) {
  append("push " + std::string(message));
  return level++;
}

int pop() {
  append("pop");
  return --level;
}

}  // namespace

extern "C" int InitializeInjectionNvtx2(const void* (*export_table)(uint32_t kind)) {
  if (mambac::fake::told_to_fail(__func__)) return 0;
  const auto* version = static_cast<const VersionInfo*>(export_table(3));
  const auto* callbacks = static_cast<const Callbacks*>(export_table(1));
  if (version == nullptr || version->struct_size < sizeof(VersionInfo) || version->version != 3) return 0;
  if (callbacks == nullptr || callbacks->struct_size < sizeof(Callbacks) || export_table(2) != nullptr) return 0;
  version->SetInjectionNvtxVersion(3);
  const unsigned sizes[] = {0, 16, 9, 15, 7, 16, 7};
  for (int module = 1; module < 7; ++module) {
    Function** table = nullptr;
    unsigned size = 0;
    if (callbacks->GetModuleFunctionTable(module, &table, &size) == 0 || size != sizes[module]) return 0;
    if (table[0] != nullptr || table[size] != nullptr) return 0;
    for (unsigned i = 1; i < size; ++i)
      if (table[i] == nullptr) return 0;
    if (module != 1) continue;
    *table[9] = reinterpret_cast<Function>(push);
    *table[11] = reinterpret_cast<Function>(pop);
  }
  return callbacks->GetModuleFunctionTable(7, nullptr, nullptr) == 0;
}
