#include "runtime/memory_use.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
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

namespace {

/// The number that a file starts with.
std::optional<int64_t> number_in(const std::filesystem::path& file) {
  std::ifstream stream(file);
  int64_t number = 0;
  if (stream >> number) return number;
  return std::nullopt;
}

std::optional<int64_t> machine_has_left() {
  std::ifstream info("/proc/meminfo");
  std::string key;
  while (info >> key) {
    int64_t kilobytes = 0;
    if (key == "MemAvailable:" && info >> kilobytes) return kilobytes * 1024;
    info.ignore(1 << 16, '\n');
  }
  return std::nullopt;
}

/// Of this process's group and the groups around it, the least that one has left.
std::optional<int64_t> group_has_left() {
  std::ifstream own("/proc/self/cgroup");
  std::string line;
  std::optional<int64_t> left;
  while (std::getline(own, line)) {
    if (!line.starts_with("0::/")) continue;
    for (std::filesystem::path group = line.substr(4);; group = group.parent_path()) {
      const std::filesystem::path folder = "/sys/fs/cgroup" / group;
      const auto most = number_in(folder / "memory.max"), used = number_in(folder / "memory.current");
      if (most && used) left = std::min(left.value_or(INT64_MAX), std::max<int64_t>(*most - *used, 0));
      if (group.empty()) break;
    }
  }
  return left;
}

}  // namespace

int64_t available_memory() {
  return std::min(machine_has_left().value_or(INT64_MAX), group_has_left().value_or(INT64_MAX));
}

}  // namespace mambac
