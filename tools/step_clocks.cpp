#include "tools/step_clocks.h"

#include <algorithm>

namespace mambac::tools {
namespace {

// Clocks of compute capability 9.0. Those of results are near what microbenchmarks of this generation find; rows and
// exchanges were chosen so that the walks of mambabyte:353m take what they took on an H200 (docs/cuda.md: 1.09 and
// 3.13 ms, and more with one and with four lanes for a channel).
constexpr double kSpecial = 22, kExchange = 24, kShared = 30, kL1 = 40;
constexpr double kIntegers = 64;      // of threads, each clock and multiprocessor
constexpr double kSharedBytes = 256;  // each clock and multiprocessor: most loads have one address for many lanes
constexpr double kExchangeClocks = 1, kRowClocks = 1.5;
constexpr double kLine = 128;  // bytes

/// Memory that is in use answers later than one load alone finds, most of all where lanes share a line of it with other
/// warps. From AdamW with 4 bytes of each thread on their way (7.4 ms), and from walks without and with lines that are
/// brought near (1.30 and 1.11 ms).
constexpr double kLines = 1.2, kPartsOfLines = 2.3;

/// Clocks of the multiprocessor's access pipe.
double access_clocks(const WarpStep& step, const WarpLoad& load) {
  if (step.answer == Answer::exchange) return kExchangeClocks;
  const double bytes = kLanesOfWarp * step.bytes;
  if (!step.global) return std::max(1.0, bytes / kSharedBytes);
  return kRowClocks * std::max<double>(load.rows, bytes / kLine);
}

double busy_clocks(const Gpu& gpu, const WarpStep& step, const WarpLoad& load) {
  const double lanes = kLanesOfWarp * gpu.warps_issued;
  switch (step.pipe) {
    case Pipe::fma:
      return lanes / gpu.multiply_adds;
    case Pipe::integer:
      return lanes / kIntegers;
    case Pipe::special:
      return lanes / gpu.special_functions;
    case Pipe::access:
      return gpu.warps_issued * access_clocks(step, load);
    case Pipe::none:
      break;
  }
  return 0;
}

double answer_clocks(const Gpu& gpu, const WarpStep& step, const WarpLoad& load) {
  const bool whole_lines = kLanesOfWarp * step.bytes >= kLine * load.rows;
  const double busy = gpu.clock * (whole_lines ? kLines : kPartsOfLines);
  switch (step.answer) {
    case Answer::special:
      return kSpecial;
    case Answer::exchange:
      return kExchange;
    case Answer::shared:
      return kShared;
    case Answer::l1:
      return kL1;
    case Answer::l2:
      return busy * gpu.l2_latency;
    case Answer::memory:
      return busy * (load.in_l2 ? gpu.l2_latency : gpu.memory_latency);
    case Answer::soon:
      break;
  }
  return 0;
}

}  // namespace

StepClocks step_clocks(const Gpu& gpu, const WarpStep& step, const WarpLoad& load) {
  const double busy = busy_clocks(gpu, step, load);
  return {busy, (step.pipe == Pipe::access ? busy : 0) + answer_clocks(gpu, step, load)};
}

}  // namespace mambac::tools
