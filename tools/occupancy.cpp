#include "tools/occupancy.h"

#include <algorithm>
#include <iterator>

namespace mambac::tools {
namespace {

/// Of one multiprocessor: CUDA C++ Programming Guide, Technical Specifications per Compute Capability.
struct Limits {
  std::string_view architecture;
  int warps, blocks, shared;
};

constexpr Limits kLimits[] = {
    {"sm_80", 64, 32, 164 << 10}, {"sm_86", 48, 16, 100 << 10},  {"sm_89", 48, 24, 100 << 10},
    {"sm_90", 64, 32, 228 << 10}, {"sm_100", 64, 32, 228 << 10}, {"sm_120", 48, 24, 100 << 10},
};
constexpr int kLanes = 32;
constexpr int kRegisters = 65536;      // of a multiprocessor
constexpr int kRegisterUnit = 256;     // a warp gets multiples of it
constexpr int kSharedOfABlock = 1024;  // that the system takes for each block

}  // namespace

std::optional<Occupancy> occupancy_of(std::string_view architecture, const cuda::KernelUse& use, int threads) {
  const Limits* limits = std::ranges::find(kLimits, architecture, &Limits::architecture);
  if (limits == std::end(kLimits)) return std::nullopt;
  const int warps = (threads + kLanes - 1) / kLanes;
  const int registers = (std::max(use.registers, 1) * kLanes + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  Occupancy found{limits->warps / warps, 0, "warps"};
  const auto consider = [&](int blocks, std::string_view bound) {
    if (blocks < found.blocks) found = {blocks, 0, bound};
  };
  consider(limits->blocks, "blocks");
  consider(kRegisters / registers / warps, "registers");
  consider(limits->shared / (use.shared + kSharedOfABlock), "shared memory");
  found.share = static_cast<double>(found.blocks * warps) / limits->warps;
  return found;
}

}  // namespace mambac::tools
