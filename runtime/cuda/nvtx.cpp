#include "runtime/cuda/nvtx.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "ir/error.h"
#include "runtime/cuda/libraries.h"

namespace mambac::cuda {
namespace {

// The part of NVTX 3 (nvtxDetail/nvtxTypes.h and nvtxImpl.h of CUDA 10 to 13) by which an application and a profiler
// meet. It has no library of its own: the profiler's is asked to write the addresses of its functions into tables of
// the application.
using Function = void (*)();
using PushRange = int (*)(const char* name);
using PopRange = int (*)();

constexpr uint32_t kCallbacks = 1, kVersionInfo = 3;               // kinds of tables that the profiler may ask for
constexpr int kCore = 1, kPushRangeA = 9, kPopRange = 11;          // a module, and places in its table
constexpr std::array<unsigned, 7> kSizes{0, 16, 9, 15, 7, 16, 7};  // of each module's table, with an unused place 0

struct NvtxModule {
  std::array<Function, 16> functions{};  // null: the profiler is not interested
  std::array<Function*, 17> places{};    // of them; the first and what lies behind the last are null
};

/// A module by its number; null: there is none.
NvtxModule* module_of(int number) {
  struct Modules {
    std::array<NvtxModule, kSizes.size()> list;
    Modules() {
      for (size_t m = 0; m < list.size(); ++m)
        for (size_t i = 1; i < kSizes[m]; ++i) list[m].places[i] = &list[m].functions[i];
    }
  };
  static Modules modules;
  return number >= 1 && number < static_cast<int>(kSizes.size()) ? &modules.list[static_cast<size_t>(number)] : nullptr;
}

extern "C" int function_table(int number, Function*** table, unsigned* size) {
  NvtxModule* module = module_of(number);
  if (module == nullptr) return 0;
  if (size != nullptr) *size = kSizes[static_cast<size_t>(number)];
  if (table != nullptr) *table = module->places.data();
  return 1;
}

extern "C" void accept_version(uint32_t) {}

extern "C" const void* export_table(uint32_t kind) {
  struct Callbacks {
    size_t bytes;
    int (*function_table)(int, Function***, unsigned*);
  };
  struct VersionInfo {
    size_t bytes;
    uint32_t version, reserved;
    void (*accept_version)(uint32_t);
  };
  static const Callbacks callbacks{sizeof(Callbacks), function_table};
  static const VersionInfo version{sizeof(VersionInfo), 3, 0, accept_version};
  if (kind == kCallbacks) return &callbacks;
  return kind == kVersionInfo ? &version : nullptr;
}

class Ranges : public trace::Listener {
 public:
  explicit Ranges(const LibraryProbe& library) {
    require_library(library);
    const auto initialise =
        reinterpret_cast<int (*)(const void* (*)(uint32_t))>(require_symbol(library, "InitializeInjectionNvtx2"));
    if (initialise(export_table) == 0)
      throw EnvironmentError(fmt::format("{}: '{}' refuses to be attached", library.purpose, library.path));
    trace::add_listener(*this);
  }

  // The profiler may fill the tables, and empty them, at any time.
  void begin(const trace::Label& label, int64_t number) override {
    if (const auto push = reinterpret_cast<PushRange>(function(kPushRangeA)))
      push(number == trace::kNoNumber ? label.name.c_str() : trace::span_name(label, number).c_str());
  }
  void end() override {
    if (const auto pop = reinterpret_cast<PopRange>(function(kPopRange))) pop();
  }

 private:
  static Function function(size_t place) { return module_of(kCore)->functions[place]; }
};

}  // namespace

void annotate_for_profiler() {
  const LibraryProbe library = find_nvtx();
  if (library.attempts.empty()) return;
  static Ranges& ranges = *new Ranges(library);  // for threads that end with the process
  static_cast<void>(ranges);
}

}  // namespace mambac::cuda
