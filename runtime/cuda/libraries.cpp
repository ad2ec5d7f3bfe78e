#include "runtime/cuda/libraries.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace mambac::cuda {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

/// The folders in a folder, those with the greatest names first: cuda-13.0 before cuda-12.8.
std::vector<std::string> folders_in(const fs::path& parent, const std::string& prefix) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with(prefix)) found.push_back(entry->path().string());
  std::sort(found.rbegin(), found.rend());
  return found;
}

class Folders {
 public:
  /// `within`: in a toolkit; `package`: in a Python package.
  Folders(std::vector<std::string> within, std::string package)
      : within_(std::move(within)), package_(std::move(package)) {}

  /// Whatever links lead to it, a folder is listed once.
  void add(const std::string& folder) {
    std::error_code error;
    const bool listed = std::any_of(list_.begin(), list_.end(), [&](const std::string& other) {
      return other == folder || fs::equivalent(other, folder, error);
    });
    if (!listed) list_.push_back(folder);
  }
  void add_if_there(const std::string& folder) {
    std::error_code error;
    if (fs::is_directory(folder, error)) add(folder);
  }
  void add_toolkit(const std::string& root) {
    for (const std::string& folder : within_) add_if_there(root + "/" + folder);
  }
  /// nvidia/cuda_nvrtc/lib and the like: packages of CUDA 12 each have a folder, those of CUDA 13 share nvidia/cu13.
  void add_python_packages(const std::string& environment) {
    for (const std::string& python : folders_in(environment + "/lib", "python"))
      for (const std::string& package : folders_in(python + "/site-packages/nvidia", ""))
        add_if_there(package + "/" + package_);
  }
  const std::vector<std::string>& list() const { return list_; }

 private:
  const std::vector<std::string> within_;
  const std::string package_;
  std::vector<std::string> list_;
};

void add_all_toolkits(Folders& folders) {
  folders.add_toolkit("/usr/local/cuda");
  for (const std::string& root : folders_in("/usr/local", "cuda-")) folders.add_toolkit(root);
  if (const auto conda = variable("CONDA_PREFIX")) folders.add_toolkit(*conda);
  if (const auto python = variable("VIRTUAL_ENV")) folders.add_python_packages(*python);
}

std::vector<std::string> toolkit_folders() {
  Folders folders({"lib64", "lib", "targets/x86_64-linux/lib"}, "lib");
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) {
    const auto root = variable(name);
    if (!root) continue;
    folders.add(*root + "/lib64");  // what the user named is reported even when it is not there
    folders.add_toolkit(*root);
  }
  folders.add("/usr/local/cuda/lib64");
  add_all_toolkits(folders);
  folders.add_if_there("/usr/lib/wsl/lib");
  return folders.list();
}

struct Sought {
  const char* purpose;
  const char* variable;
  std::vector<std::string> names;
  const char* advice;
};

LibraryProbe find(const Sought& sought) {
  const auto path = variable(sought.variable);
  LibraryProbe probe = path ? probe_library(sought.purpose, {*path}, {})
                            : probe_library(sought.purpose, sought.names,
                                            sought.names.empty() ? std::vector<std::string>() : toolkit_folders());
  probe.advice = std::string(sought.advice) + (path ? std::string(" ($") + sought.variable + " names the file now)"
                                                    : std::string(", or set $") + sought.variable + " to its path");
  return probe;
}

}  // namespace

std::vector<std::string> program_folders() {
  Folders folders({"bin"}, "bin");
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (const auto root = variable(name)) folders.add_toolkit(*root);
  add_all_toolkits(folders);
  return folders.list();
}

LibraryProbe find_driver() {
  return find({"CUDA driver",
               "MAMBAC_CUDA_DRIVER",
               {"libcuda.so.1"},
               "install the driver of the NVIDIA GPU (CUDA 12 or later)"});
}

LibraryProbe find_nvrtc() {
  return find({"CUDA compiler (NVRTC)",
               "MAMBAC_NVRTC",
               {"libnvrtc.so.13", "libnvrtc.so.12"},
               "install NVRTC of CUDA 12 or 13"});
}

LibraryProbe find_cublaslt() {
  return find({"CUDA matrix products (cuBLASLt)",
               "MAMBAC_CUBLASLT",
               {"libcublasLt.so.13", "libcublasLt.so.12"},
               "install cuBLAS of CUDA 12 or 13"});
}

LibraryProbe find_nvtx() {
  return find({"CUDA annotations (NVTX)",
               "NVTX_INJECTION64_PATH",
               {},
               "run under a profiler that takes them, such as 'nsys profile mambac ...'"});
}

}  // namespace mambac::cuda
