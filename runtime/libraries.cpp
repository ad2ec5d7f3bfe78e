#include "runtime/libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include "ir/error.h"

namespace mambac {
namespace {

std::string path_of(void* library, const std::string& name) {
  link_map* map = nullptr;
  bool known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name[0] != '\0';
  return known ? map->l_name : name;
}

bool try_to_open(LibraryProbe& probe, const std::string& name) {
  // NODELETE: the vendor's libraries do not expect to be unloaded, and leak what they hold when they are.
  probe.handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
  if (probe.handle == nullptr) {
    const char* error = dlerror();
    probe.attempts.push_back({name, error != nullptr ? error : "cannot be opened"});
    return false;
  }
  probe.attempts.push_back({name, ""});
  probe.path = path_of(probe.handle, name);
  return true;
}

std::string with_advice(const LibraryProbe& library, std::string message) {
  return library.advice.empty() ? message : message + "; " + library.advice;
}

}  // namespace

std::string LibraryAttempt::str() const {
  return answer.starts_with(name + ": ") ? answer : name + ": " + answer;
}

LibraryProbe probe_library(const std::string& purpose, const std::vector<std::string>& names,
                           const std::vector<std::string>& folders) {
  LibraryProbe probe;
  probe.purpose = purpose;
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

void require_library(const LibraryProbe& library) {
  if (library.found()) return;
  std::string message =
      with_advice(library, fmt::format("{}: no library was found", library.purpose)) + "; looked for:";
  for (const LibraryAttempt& attempt : library.attempts) message += "\n    " + attempt.str();
  throw EnvironmentError(message);
}

void* require_symbol(const LibraryProbe& library, const char* name) {
  void* address = dlsym(library.handle, name);
  if (address == nullptr)
    throw EnvironmentError(
        with_advice(library, fmt::format("{}: '{}' has no function {}; it is too old, or not what its "
                                         "name says",
                                         library.purpose, library.path, name)));
  return address;
}

}  // namespace mambac
