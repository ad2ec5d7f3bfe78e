#include "tools/occupancy.h"

#include <algorithm>

namespace mambac::tools {
namespace {

constexpr int kLanes = 32;
constexpr int kRegisterUnit = 256;     // a warp gets multiples of it
constexpr int kSharedOfABlock = 1024;  // that the system takes for each block

}  // namespace

Occupancy occupancy_of(const Gpu& gpu, const cuda::KernelUse& use, int threads) {
  const int warps = (threads + kLanes - 1) / kLanes;
  const int registers = (std::max(use.registers, 1) * kLanes + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  Occupancy found{gpu.warps / warps, 0, "warps"};
  const auto consider = [&](int blocks, std::string_view bound) {
    if (blocks < found.blocks) found = {blocks, 0, bound};
  };
  consider(gpu.blocks, "blocks");
  consider(gpu.registers / registers / warps, "registers");
  consider(gpu.shared_bytes / (use.shared + kSharedOfABlock), "shared memory");
  found.share = static_cast<double>(found.blocks * warps) / gpu.warps;
  return found;
}

std::optional<Occupancy> occupancy_of(std::string_view architecture, const cuda::KernelUse& use, int threads) {
  const auto gpu = std::ranges::find(gpus(), architecture, &Gpu::architecture);
  if (gpu == gpus().end()) return std::nullopt;
  return occupancy_of(*gpu, use, threads);
}

}  // namespace mambac::tools
