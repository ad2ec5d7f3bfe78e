#include "tools/code_reader.h"

#include <fmt/format.h>

#include "codegen/cuda/cuda_emit.h"
#include "ir/error.h"
#include "runtime/cuda/disassembler.h"
#include "runtime/cuda/kernel_source.h"

namespace mambac::tools {

CodeReader::CodeReader(std::string architecture)
    : architecture_(std::move(architecture)), disassembler_(cuda::find_disassembler(cuda::Nvrtc::instance().path())) {}

std::vector<machine::Function> CodeReader::read(const CudaKernel& kernel, bool control) const {
  if (disassembler_.empty()) return cuda::parse_ptx(ptx(kernel), cuda::first_line_of_text());
  return cuda::parse_sass(cuda::disassemble(disassembler_, kernel.code.cubin, control));
}

std::vector<cuda::CodeLine> CodeReader::lines(const CudaKernel& kernel) const {
  if (disassembler_.empty()) return cuda::ptx_lines(ptx(kernel), cuda::first_line_of_text());
  return cuda::sass_lines(cuda::disassemble(disassembler_, kernel.code.cubin));
}

std::string CodeReader::ptx(const CudaKernel& kernel) const {
  cuda::CompileRequest request = cuda::request_for(kernel.name, kernel.text, architecture_);
  request.options = kLineTables;
  return cuda::Nvrtc::instance().ptx(request);
}

namespace {

const machine::Function& function_of(const std::vector<machine::Function>& functions, const std::string& symbol) {
  for (const machine::Function& function : functions)
    if (function.name == symbol) return function;
  throw EnvironmentError(fmt::format("the disassembly of a kernel lacks its function {}", symbol));
}

}  // namespace

std::vector<StageRuns> stage_runs(const CudaKernel& kernel, const std::vector<machine::Function>& functions,
                                  const Bindings& sizes) {
  std::vector<int64_t> values;
  for (const std::string& name : kernel.loops.sizes) values.push_back(sizes.find(name)->second);
  std::vector<StageRuns> stages;
  for (size_t i = 0; i < kernel.loops.stages.size(); ++i) {
    const loop::Stage& stage = kernel.loops.stages[i];
    StageRuns one{cuda_emit::stage_symbol(kernel.loops, i),
                  loop::evaluate(stage.tasks, {}, values),
                  threads_of(kernel.loops, stage),
                  nullptr,
                  {},
                  {}};
    one.function = &function_of(functions, one.symbol);
    const machine::NestRuns runs = kernel.nests[i].count(stage.task, one.blocks / 2, values);
    one.runs = machine::instruction_runs(*one.function, kernel.nests[i], runs, cuda::first_line_of_text());
    one.slots = cuda::count_slots(*one.function, one.runs) * (static_cast<double>(one.blocks) * one.threads);
    stages.push_back(std::move(one));
  }
  return stages;
}

}  // namespace mambac::tools
