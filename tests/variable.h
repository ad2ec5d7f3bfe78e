// Variables of the environment for a while, and what messages say.
#pragma once

#include <stdlib.h>

#include <optional>
#include <string>

namespace mambac::test {

/// Sets a variable (or removes it: nullptr) until the end of the scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  Variable(const char* name, const std::string& value) : Variable(name, value.c_str()) {}
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value != nullptr) {
      setenv(name_, value, 1);
    } else {
      unsetenv(name_);
    }
  }
  const char* name_;
  std::optional<std::string> old_;
};

/// Both texts are in the message.
inline bool says(const std::string& message, const std::string& one, const std::string& other = "") {
  return message.find(one) != std::string::npos && message.find(other) != std::string::npos;
}

}  // namespace mambac::test
