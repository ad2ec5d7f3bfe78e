// The NVRTC of fake_cuda.h: "compiles" a source to itself behind a line that names the architecture, and refuses one
// with #error. Its log has the form of NVRTC 13.0's and reports on the source's kernels, or else on one add_one. Its
// PTX has two instructions for each kernel, on the kernel's first line.
#include <atomic>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fake_cuda.h"

namespace mambac::cuda {

struct OpaqueProgram {
  std::string source, name, cubin, ptx, log;
};
using Program = OpaqueProgram*;

namespace {

constexpr int kArchitectures[] = {75, 80, 90, 100, 120};

struct Entry {
  std::string name;
  int line;
};

/// What stands behind MB_KERNEL(...).
std::vector<Entry> entries_of(const std::string& source) {
  std::vector<Entry> entries;
  std::istringstream lines(source);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const size_t end = line.rfind('(');
    if (!line.starts_with("MB_KERNEL(") || end == line.find('(')) continue;
    const size_t begin = line.rfind(' ', end) + 1;
    entries.push_back({line.substr(begin, end - begin), number});
  }
  return entries;
}

std::string report_of(const std::string& name, const std::string& architecture) {
  return "ptxas info    : Compiling entry function '" + name + "' for '" + architecture +
         "'\n"
         "ptxas info    : Function properties for " +
         name +
         "\n"
         "ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n"
         "ptxas info    : Used 32 registers, used 1 barriers, 16 bytes cumulative stack size, 128 bytes smem, 360 "
         "bytes "
         "cmem[0]\n"
         "ptxas info    : Compile time = 1.5 ms\n";
}

std::string ptx_of(const Entry& entry) {
  return ".visible .entry " + entry.name + "(\n\t.param .u64 x\n)\n{\n\t.reg .b32 %r<2>;\n\t.loc\t1 " +
         std::to_string(entry.line) + " 0\n\tmov.u32 \t%r1, %tid.x;\n\tret;\n}\n";
}

}  // namespace

extern "C" {

#define MAMBAC_FUNCTION(name, ...)    \
  using Type_of_##name = __VA_ARGS__; \
  Type_of_##name name;
#include "runtime/cuda/nvrtc_functions.def"
#undef MAMBAC_FUNCTION

std::atomic<long> compilations{0};
long fake_compilations_now() {
  return compilations;
}

int nvrtcVersion(int* major, int* minor) {
  *major = static_cast<int>(fake::number_from("FAKE_NVRTC_MAJOR", 13));
  *minor = 0;
  return 0;
}
const char* nvrtcGetErrorString(int result) {
  return result == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}
int nvrtcGetNumSupportedArchs(int* count) {
  *count = static_cast<int>(std::size(kArchitectures));
  return 0;
}
int nvrtcGetSupportedArchs(int* architectures) {
  std::memcpy(architectures, kArchitectures, sizeof(kArchitectures));
  return 0;
}
int nvrtcCreateProgram(Program* program, const char* source, const char* name, int, const char* const*,
                       const char* const*) {
  *program = new OpaqueProgram{source, name, "", "", ""};
  return 0;
}
int nvrtcDestroyProgram(Program* program) {
  delete *program;
  *program = nullptr;
  return 0;
}
int nvrtcCompileProgram(Program program, int count, const char* const* options) {
  if (const int told = fake::told_to_fail(__func__)) {
    program->log = "nvrtc: error: failed to open libnvrtc-builtins.so.13.0.\n";
    return told;
  }
  if (program->source.find("#error") != std::string::npos) {
    program->log = program->name + "(1): error: #error as told\n";
    return 6;
  }
  std::string architecture;
  for (int i = 0; i < count; ++i)
    if (std::strncmp(options[i], "-arch=", 6) == 0) architecture = options[i] + 6;
  ++compilations;
  program->cubin = "FAKECUBIN " + architecture + "\n" + program->source;
  const auto least = static_cast<size_t>(fake::number_from("FAKE_NVRTC_BYTES", 0));
  if (program->cubin.size() < least) program->cubin.resize(least, '.');
  program->log = "k.cu(1): warning #177-D: variable \"z\" was declared but never referenced\n"
                 "ptxas info    : 0 bytes gmem\n";
  std::vector<Entry> entries = entries_of(program->source);
  if (entries.empty()) entries.push_back({"add_one", 1});
  for (const Entry& entry : entries) {
    program->log += report_of(entry.name, architecture);
    program->ptx += ptx_of(entry);
  }
  return 0;
}
int nvrtcGetCUBINSize(Program program, size_t* bytes) {
  *bytes = program->cubin.size();
  return 0;
}
int nvrtcGetCUBIN(Program program, char* cubin) {
  std::memcpy(cubin, program->cubin.data(), program->cubin.size());
  return 0;
}
int nvrtcGetPTXSize(Program program, size_t* bytes) {
  *bytes = program->ptx.size() + 1;
  return 0;
}
int nvrtcGetPTX(Program program, char* ptx) {
  std::strcpy(ptx, program->ptx.c_str());
  return 0;
}
int nvrtcGetProgramLogSize(Program program, size_t* bytes) {
  *bytes = program->log.size() + 1;
  return 0;
}
int nvrtcGetProgramLog(Program program, char* log) {
  std::strcpy(log, program->log.c_str());
  return 0;
}

}  // extern "C"

}  // namespace mambac::cuda
