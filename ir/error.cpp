#include "ir/error.h"

#include <fmt/format.h>

namespace mambac {

std::string Location::str() const {
  if (!known()) return "";
  return fmt::format("{}:{}:{}", *file, line, column);
}

InputError::InputError(const Location& where, const std::string& message)
    : Failure(where.known() ? where.str() + ": " + message : message, kExitInput) {}

}  // namespace mambac
