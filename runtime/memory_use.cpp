#include "runtime/memory_use.h"

#include <fstream>
#include <string>

namespace mambac {

MemoryUse memory_use() {
  MemoryUse use;
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    int64_t* field = key == "VmRSS:"     ? &use.resident
                     : key == "VmHWM:"   ? &use.peak_resident
                     : key == "RssAnon:" ? &use.anonymous
                                         : nullptr;
    int64_t kilobytes = 0;
    if (field && status >> kilobytes) *field = kilobytes * 1024;
    status.ignore(1 << 16, '\n');
  }
  return use;
}

}  // namespace mambac
