#include "runtime/libraries.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>

namespace mambac {
namespace {

std::string path_of(void* library, const std::string& name) {
  link_map* map = nullptr;
  bool known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name[0] != '\0';
  return known ? map->l_name : name;
}

bool try_to_open(LibraryProbe& probe, const std::string& name) {
  // NODELETE: the vendor's libraries do not expect to be unloaded, and leak what they hold when they are.
  void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* error = dlerror();
    probe.attempts.push_back({name, error != nullptr ? error : "cannot be opened"});
    return false;
  }
  probe.attempts.push_back({name, ""});
  probe.path = path_of(library, name);
  dlclose(library);
  return true;
}

std::vector<std::string> cuda_folders() {
  std::vector<std::string> folders;
  const auto add = [&](const std::string& root) {
    const std::string folder = root + "/lib64";
    if (std::find(folders.begin(), folders.end(), folder) == folders.end()) folders.push_back(folder);
  };
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') add(value);
  }
  add("/usr/local/cuda");
  return folders;
}

}  // namespace

LibraryProbe probe_library(const std::string& purpose, const std::vector<std::string>& names,
                           const std::vector<std::string>& folders) {
  LibraryProbe probe{purpose, {}, ""};
  for (const std::string& name : names) {
    if (try_to_open(probe, name)) return probe;
  }
  for (const std::string& folder : folders) {
    for (const std::string& name : names) {
      if (try_to_open(probe, folder + "/" + name)) return probe;
    }
  }
  return probe;
}

std::vector<LibraryProbe> probe_cuda_libraries() {
  const std::vector<std::string> folders = cuda_folders();
  return {probe_library("CUDA driver", {"libcuda.so.1"}, folders),
          probe_library("CUDA compiler (NVRTC)", {"libnvrtc.so.13", "libnvrtc.so.12"}, folders),
          probe_library("CUDA matrix products (cuBLASLt)", {"libcublasLt.so.13", "libcublasLt.so.12"}, folders),
          probe_library("CUDA annotations (NVTX)", {"libnvToolsExt.so.1", "libnvToolsExt.so"}, folders)};
}

}  // namespace mambac
