#include "runtime/folder_of_user.h"

#include <cstdlib>

namespace mambac {
namespace {

std::filesystem::path variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::filesystem::path folder_of_user(const char* own, const char* xdg, const char* below_home,
                                     const std::filesystem::path& name) {
  if (const std::filesystem::path place = variable(own); !place.empty()) return place;
  // The specification has relative paths ignored.
  if (const std::filesystem::path place = variable(xdg); place.is_absolute()) return place / name;
  if (const std::filesystem::path home = variable("HOME"); home.is_absolute()) return home / below_home / name;
  return {};
}

}  // namespace mambac
