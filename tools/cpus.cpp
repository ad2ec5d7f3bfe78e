#include "tools/cpus.h"

namespace mambac::tools {
namespace {

constexpr int kMostThreads = 4096;

}  // namespace

Cpu cpu_of(DeviceDescription description) {
  description.expect_kind("cpu");
  Cpu cpu;
  cpu.name = description.name();
  cpu.title = description.text("title");
  cpu.processor = description.text("architecture");
  cpu.threads = description.count("threads", kMostThreads);
  cpu.clock = description.number("clock");
  cpu.pipe_lanes = description.count("pipe_lanes");
  cpu.multiply_adds = description.number("multiply_adds");
  cpu.narrow_multiply_adds = description.number("narrow_multiply_adds");
  cpu.l1_bytes = description.number("l1_bytes");
  cpu.l2_bytes = description.number("l2_bytes");
  cpu.l3_bytes = description.number("l3_bytes");
  cpu.l2_bytes_per_second = description.number("l2_bytes_per_second");
  cpu.l3_bytes_per_second = description.number("l3_bytes_per_second");
  cpu.bytes_per_second = description.number("bytes_per_second");
  cpu.stride_bytes = description.number("stride_bytes");
  cpu.l2_line_clocks = description.number("l2_line_clocks");
  cpu.l3_line_clocks = description.number("l3_line_clocks");
  cpu.line_clocks = description.number("line_clocks");
  cpu.launch_seconds = description.number("launch_seconds");
  description.check_all_read();
  return cpu;
}

}  // namespace mambac::tools
