#include "tools/cuda_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ir/error.h"
#include "runtime/cuda/cublaslt.h"
#include "runtime/cuda/kernel_cache.h"
#include "runtime/cuda/libraries.h"
#include "runtime/cuda/nvrtc.h"
#include "runtime/cuda/nvtx.h"
#include "runtime/progress.h"

namespace mambac::tools {
namespace {

using cuda::DeviceInfo;
using cuda::Driver;

struct Library {
  LibraryProbe probe;
  std::string version;  // empty: none is known
  std::string problem;  // why it cannot be used though it was found
};

struct FoundDevice {
  DeviceInfo info;
  std::optional<size_t> free;  // bytes
  std::string problem;         // why the device cannot be used
};

struct CudaReport {
  std::vector<Library> libraries;
  std::vector<FoundDevice> devices;
};

/// Runs the action; the message of what it throws, or "".
template <class Action>
std::string problem_of(Action action) {
  try {
    action();
    return "";
  } catch (const Failure& failure) {
    return failure.what();
  }
}

template <class Version>
Library library_of(LibraryProbe probe, Version version) {
  Library library{std::move(probe), "", ""};
  if (library.probe.found()) library.problem = problem_of([&] { library.version = version(library.probe); });
  return library;
}

FoundDevice found_device(const Driver& driver, int ordinal) {
  FoundDevice found;
  found.info = driver.describe(ordinal);
  found.problem = problem_of([&] { found.free = cuda::Device(driver, ordinal).memory().free; });
  return found;
}

CudaReport make_report() {
  CudaReport report;
  report.libraries.push_back(library_of(cuda::find_driver(), [&](const LibraryProbe& probe) {
    const Driver driver(probe);
    for (int i = 0; i < driver.device_count(); ++i) report.devices.push_back(found_device(driver, i));
    return "CUDA " + driver.version_text();
  }));
  report.libraries.push_back(
      library_of(cuda::find_nvrtc(), [](const LibraryProbe& probe) { return cuda::Nvrtc(probe).version(); }));
  report.libraries.push_back(
      library_of(cuda::find_cublaslt(), [](const LibraryProbe& probe) { return cuda::CublasLt::version_of(probe); }));
  report.libraries.push_back(library_of(cuda::find_nvtx(), [](const LibraryProbe&) {
    cuda::annotate_for_profiler();
    return std::string();
  }));
  return report;
}

std::string memory_text(size_t bytes) {
  return byte_text(static_cast<double>(bytes));
}

void print_library(const Library& library) {
  const LibraryProbe& probe = library.probe;
  if (!probe.found()) {
    fmt::print("{}: not found; {}{}\n", probe.purpose, probe.advice, probe.attempts.empty() ? "" : "; looked for:");
    for (const LibraryAttempt& attempt : probe.attempts) fmt::print("    {}\n", attempt.str());
    return;
  }
  fmt::print("{}: {}{}\n", probe.purpose, probe.path, library.version.empty() ? "" : ", version " + library.version);
  if (!library.problem.empty()) fmt::print("    cannot be used: {}\n", library.problem);
}

void print_device(const FoundDevice& found) {
  const DeviceInfo& info = found.info;
  fmt::print("cuda:{}      {}, compute capability {}.{}, {} multiprocessors, {}{}\n", info.ordinal, info.name,
             info.major, info.minor, info.multiprocessors, memory_text(info.memory),
             found.free ? fmt::format(" ({} free)", memory_text(*found.free)) : "");
  fmt::print("            {}\n", info.uuid);
  if (!found.problem.empty()) fmt::print("    cannot be used: {}\n", found.problem);
}

Json library_json(const Library& library) {
  Json attempts = Json::array();
  for (const LibraryAttempt& attempt : library.probe.attempts)
    attempts.push_back({{"name", attempt.name}, {"answer", attempt.answer.empty() ? "found" : attempt.answer}});
  return {{"purpose", library.probe.purpose}, {"found", library.probe.found()}, {"path", library.probe.path},
          {"version", library.version},       {"problem", library.problem},     {"attempts", attempts}};
}

Json device_json(const FoundDevice& found) {
  const DeviceInfo& info = found.info;
  return {{"device", fmt::format("cuda:{}", info.ordinal)},
          {"name", info.name},
          {"uuid", info.uuid},
          {"compute_capability", fmt::format("{}.{}", info.major, info.minor)},
          {"architecture", info.architecture()},
          {"multiprocessors", info.multiprocessors},
          {"memory_bytes", info.memory},
          {"free_bytes", found.free ? Json(*found.free) : Json(nullptr)},
          {"l2_bytes", info.l2_bytes},
          {"shared_bytes_per_block", info.shared_bytes_per_block},
          {"problem", found.problem}};
}

}  // namespace

void print_cuda_text() {
  const CudaReport report = make_report();
  for (const Library& library : report.libraries) print_library(library);
  for (const FoundDevice& device : report.devices) print_device(device);
  fmt::print("kernels     kept in {}\n", cuda::KernelCache::default_folder().string());
}

Json cuda_json() {
  const CudaReport report = make_report();
  Json libraries = Json::array(), devices = Json::array();
  for (const Library& library : report.libraries) libraries.push_back(library_json(library));
  for (const FoundDevice& device : report.devices) devices.push_back(device_json(device));
  return {
      {"libraries", libraries}, {"devices", devices}, {"kernel_cache", cuda::KernelCache::default_folder().string()}};
}

}  // namespace mambac::tools
