#include "runtime/cuda/nvrtc.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/cuda/driver.h"
#include "runtime/cuda/libraries.h"

namespace mambac::cuda {
namespace {

enum Result { kGood = 0, kOutOfMemory = 1, kInvalidOption = 5, kCompilation = 6 };

/// 90 of "sm_90", "sm_90a" and "sm_90f"; 0 of anything else.
int number_of(const std::string& architecture) {
  if (!architecture.starts_with("sm_")) return 0;
  const char* begin = architecture.data() + 3;
  const char* end = architecture.data() + architecture.size();
  int number = 0;
  const auto parsed = std::from_chars(begin, end, number);
  const bool suffixed = parsed.ptr + 1 == end && (*parsed.ptr == 'a' || *parsed.ptr == 'f');
  return parsed.ec == std::errc() && (parsed.ptr == end || suffixed) ? number : 0;
}

std::string trimmed(std::string text) {
  const size_t end = text.find_last_not_of(std::string("\n\0", 2));
  return end == std::string::npos ? "" : text.substr(0, end + 1);
}

}  // namespace

/// One program of the library, while it is compiled.
class Nvrtc::Build {
 public:
  Build(const Nvrtc& nvrtc, const CompileRequest& request) : nvrtc_(nvrtc), api_(nvrtc.api_), request_(request) {
    expect(api_.nvrtcCreateProgram(&program_, request.source.c_str(), request.program.c_str(), 0, nullptr, nullptr));
  }
  ~Build() { api_.nvrtcDestroyProgram(&program_); }
  Build(const Build&) = delete;
  Build& operator=(const Build&) = delete;

  Compilation run() {
    compile();
    Compilation result;
    result.cubin = taken(api_.nvrtcGetCUBINSize, api_.nvrtcGetCUBIN);
    result.log = log();
    result.kernels = take_kernel_uses(result.log);
    return result;
  }

  std::string ptx() {
    compile();
    return trimmed(taken(api_.nvrtcGetPTXSize, api_.nvrtcGetPTX));
  }

 private:
  void compile() {
    std::vector<std::string> options = Nvrtc::options(request_);
    // Where there is a driver, NVRTC 13 keeps code by itself, and what comes from there is without the report.
    if (nvrtc_.major() >= 13) options.emplace_back("--no-cache");
    std::vector<const char*> texts;
    for (const std::string& option : options) texts.push_back(option.c_str());
    expect(api_.nvrtcCompileProgram(program_, static_cast<int>(texts.size()), texts.data()));
  }

  std::string taken(decltype(Api::nvrtcGetCUBINSize) size_of, decltype(Api::nvrtcGetCUBIN) get) const {
    size_t bytes = 0;
    expect(size_of(program_, &bytes));
    std::string result(bytes, '\0');
    expect(get(program_, result.data()));
    return result;
  }

  std::string log() const {
    size_t bytes = 0;
    if (program_ == nullptr || api_.nvrtcGetProgramLogSize(program_, &bytes) != kGood) return "";
    std::string text(bytes, '\0');
    return api_.nvrtcGetProgramLog(program_, text.data()) == kGood ? trimmed(text) : "";
  }

  void expect(int result) const {
    if (result == kGood) return;
    const std::string message =
        fmt::format("NVRTC {} ('{}') cannot compile {} for {}: {}\n{}", nvrtc_.version(), nvrtc_.path(),
                    request_.program, request_.architecture, api_.nvrtcGetErrorString(result), log());
    // "sm_75a": the library lists numbers only, and not which of them have a special form.
    for (const char* option : {"--gpu-architecture", "--nv_arch"})
      if (message.find(option) != std::string::npos) throw InputError(message);
    // The others come from the machine: memory, or the library of built-in functions beside NVRTC, which it opens only
    // now.
    if (result == kCompilation || result == kInvalidOption) throw InternalError(message);
    throw EnvironmentError(message);
  }

  const Nvrtc& nvrtc_;
  const Api& api_;
  const CompileRequest& request_;
  Program program_ = nullptr;
};

const Nvrtc& Nvrtc::instance() {
  static const Nvrtc nvrtc(find_nvrtc());
  return nvrtc;
}

Nvrtc::Nvrtc(const LibraryProbe& library) : path_(library.path) {
  require_library(library);
#define MAMBAC_FUNCTION(name, ...) api_.name = reinterpret_cast<decltype(api_.name)>(require_symbol(library, #name));
#include "runtime/cuda/nvrtc_functions.def"
#undef MAMBAC_FUNCTION
  int count = 0;
  bool good = api_.nvrtcVersion(&major_, &minor_) == kGood && api_.nvrtcGetNumSupportedArchs(&count) == kGood;
  architectures_.resize(static_cast<size_t>(std::max(count, 0)));
  good = good && api_.nvrtcGetSupportedArchs(architectures_.data()) == kGood;
  if (!good) throw EnvironmentError(fmt::format("NVRTC ('{}') does not say its version and architectures", path_));
}

std::string Nvrtc::version() const {
  return fmt::format("{}.{}", major_, minor_);
}

std::string Nvrtc::architecture_for(int compute_major, int compute_minor) const {
  const int capability = compute_major * 10 + compute_minor;
  int best = 0;
  for (const int architecture : architectures_)
    if (architecture / 10 == compute_major && architecture <= capability) best = std::max(best, architecture);
  if (best == 0)
    throw EnvironmentError(
        fmt::format("NVRTC {} ('{}') makes no machine code for compute capability {}.{}, only for sm_{}; "
                    "$MAMBAC_NVRTC may name the NVRTC of another CUDA",
                    version(), path_, compute_major, compute_minor, fmt::join(architectures_, ", sm_")));
  return fmt::format("sm_{}", best);
}

std::vector<std::string> Nvrtc::options(const CompileRequest& request) {
  std::vector<std::string> all{"-arch=" + request.architecture, "-std=c++17", "-default-device", "--fmad=true",
                               "--ptxas-options=-v"};
  all.insert(all.end(), request.options.begin(), request.options.end());
  return all;
}

void Nvrtc::check_architecture(const std::string& architecture) const {
  const int number = number_of(architecture);
  if (std::find(architectures_.begin(), architectures_.end(), number) != architectures_.end()) return;
  throw InputError(
      fmt::format("found architecture '{}', expected one that NVRTC {} ('{}') makes machine code for: sm_{}",
                  architecture, version(), path_, fmt::join(architectures_, ", sm_")));
}

Compilation Nvrtc::compile(const CompileRequest& request) const {
  check_architecture(request.architecture);
  const trace::Span span("nvrtc", request.program);
  return Build(*this, request).run();
}

std::string Nvrtc::ptx(const CompileRequest& request) const {
  check_architecture(request.architecture);
  return Build(*this, request).ptx();
}

void check_driver_takes(const Driver& driver, const Nvrtc& nvrtc) {
  if (driver.version() / 1000 >= nvrtc.major()) return;
  throw EnvironmentError(fmt::format(
      "the driver is too old for the CUDA compiler: '{}' serves up to CUDA {}, '{}' is of CUDA {}; install a driver of "
      "CUDA {} "
      "or later, or set $MAMBAC_NVRTC to an NVRTC of CUDA {}",
      driver.path(), driver.version_text(), nvrtc.path(), nvrtc.version(), nvrtc.major(), driver.version() / 1000));
}

}  // namespace mambac::cuda
