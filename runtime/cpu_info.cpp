#include "runtime/cpu_info.h"

#include <cpuid.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace mambac {
namespace {

struct Registers {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  if (__get_cpuid_max(leaf & 0x80000000u, nullptr) < leaf) return r;
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

/// The brand string of leaves 0x80000002 to 0x80000004.
std::string brand() {
  std::array<char, 49> text{};
  for (unsigned part = 0; part < 3; ++part) {
    Registers r = cpuid(0x80000002u + part);
    std::memcpy(text.data() + 16 * part, &r, 16);
  }
  std::string name = text.data();
  size_t first = name.find_first_not_of(' '), last = name.find_last_not_of(' ');
  return first == std::string::npos ? "unknown" : name.substr(first, last - first + 1);
}

/// AMD's Zen 4, the only family with vectors of 512 bits and pipes of 256.
bool is_zen4() {
  const unsigned version = cpuid(1).eax, family = ((version >> 8) & 0xf) + ((version >> 20) & 0xff);
  return family == 0x19 && __builtin_cpu_supports("avx512f");
}

/// Whether the operating system saves the AMX tile registers: bits 17 and 18 of XCR0.
bool tiles_saved() {
  constexpr unsigned kOsXsave = 1u << 27, kTiles = 3u << 17;
  if ((cpuid(1).ecx & kOsXsave) == 0) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTiles) == kTiles;
}

int processors_allowed() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

int64_t cache_bytes(int name) { return std::max<int64_t>(0, sysconf(name)); }

CpuInfo look_up() {
  CpuInfo info;
  info.model = brand();
  info.processors = processors_allowed();
  __builtin_cpu_init();
  info.avx2 = __builtin_cpu_supports("avx2");
  info.fma = __builtin_cpu_supports("fma");
  info.avx512f = __builtin_cpu_supports("avx512f");
  info.avx512bw = __builtin_cpu_supports("avx512bw");
  info.avx512dq = __builtin_cpu_supports("avx512dq");
  info.avx512vl = __builtin_cpu_supports("avx512vl");
  info.avx512_bf16 = __builtin_cpu_supports("avx512bf16");
  info.amx_bf16 = (cpuid(7).edx & (1u << 22)) != 0 && tiles_saved();
  info.halves_vectors = is_zen4();
  info.l1_data_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
  info.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
  info.l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
  return info;
}

}  // namespace

int CpuInfo::lanes() const { return avx512f ? 16 : avx2 ? 8 : 4; }

std::vector<std::string> CpuInfo::features() const {
  const std::pair<bool, const char*> all[] = {
      {avx2, "avx2"},         {fma, "fma"},           {avx512f, "avx512f"},         {avx512bw, "avx512bw"},
      {avx512dq, "avx512dq"}, {avx512vl, "avx512vl"}, {avx512_bf16, "avx512_bf16"}, {amx_bf16, "amx_bf16"}};
  std::vector<std::string> names;
  for (auto [there, name] : all) {
    if (there) names.emplace_back(name);
  }
  return names;
}

const CpuInfo& cpu_info() {
  static const CpuInfo info = look_up();
  return info;
}

}  // namespace mambac
