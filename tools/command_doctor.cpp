#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "codegen/llvm_jit.h"
#include "ir/error.h"
#include "runtime/cpu_info.h"
#include "runtime/gemm.h"
#include "runtime/progress.h"
#include "tools/arguments.h"
#include "tools/commands.h"
#include "tools/cuda_report.h"

namespace mambac::tools {
namespace {

constexpr const char* kDescription = R"(What was found on this machine, and where it was looked for.

  mambac doctor
  mambac doctor --json)";

Json cpu_json(const CpuInfo& cpu) {
  return {{"model", cpu.model},      {"processors", cpu.processors},       {"features", cpu.features()},
          {"lanes", cpu.lanes()},    {"l1_data_bytes", cpu.l1_data_bytes}, {"l2_bytes", cpu.l2_bytes},
          {"l3_bytes", cpu.l3_bytes}};
}

std::string cache_text(int64_t bytes) {
  return bytes ? byte_text(static_cast<double>(bytes)) : "unknown";
}

/// The processor that code is made for; its features follow in the description.
std::string compiled_for() {
  const std::string& description = Jit::host().description();
  return description.substr(0, description.find(' '));
}

void print_text() {
  const CpuInfo& cpu = cpu_info();
  fmt::print("processor   {}, {} to use\n", cpu.model, cpu.processors);
  fmt::print("            {} ({} lanes of f32)\n", fmt::join(cpu.features(), " "), cpu.lanes());
  fmt::print("caches      L1 {}, L2 {}, L3 {}\n", cache_text(cpu.l1_data_bytes), cache_text(cpu.l2_bytes),
             cache_text(cpu.l3_bytes));
  fmt::print("compiler    {} for {}\n", compiler_library(), compiled_for());
  fmt::print("products    {}, bf16 {}\n", gemm_library(), bf16_native() ? "native" : "by way of f32");
  print_cuda_text();
}

void run_doctor(bool json) {
  if (!json) return print_text();
  print_json({{"version", MAMBAC_VERSION},
              {"cpu", cpu_json(cpu_info())},
              {"llvm", {{"library", compiler_library()}, {"target", Jit::host().description()}}},
              {"gemm", {{"library", gemm_library()}, {"bf16_native", bf16_native()}}},
              {"cuda", cuda_json()}});
}

}  // namespace

void add_doctor(Command app) {
  const Command command = app.add_command("doctor", kDescription);
  auto json = std::make_shared<bool>(false);
  add_json(command, *json);
  command.callback([json] { run_doctor(*json); });
}

}  // namespace mambac::tools
