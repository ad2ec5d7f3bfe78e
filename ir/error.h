// Locations in model text and the three kinds of failure, each with its exit code.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

namespace mambac {

/// A place in a model definition. A default-constructed one means "no place known".
struct Location {
  std::shared_ptr<const std::string> file;
  int line = 0;
  int column = 0;

  bool known() const { return file != nullptr && line > 0; }
  std::string str() const;  // "file:line:column"
};

enum ExitCode { kExitGood = 0, kExitInput = 1, kExitUsage = 2, kExitEnvironment = 3, kExitInternal = 70 };

/// The base of all failures that mambac reports itself; what() is the whole message.
class Failure : public std::runtime_error {
 public:
  Failure(const std::string& message, int exit_code) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// The user's input is wrong (exit code 1). The message says what was found and what was expected.
class InputError : public Failure {
 public:
  explicit InputError(const std::string& message) : Failure(message, kExitInput) {}
  InputError(const Location& where, const std::string& message);
};

/// The machine lacks something: a library, memory, disk space (exit code 3).
class EnvironmentError : public Failure {
 public:
  explicit EnvironmentError(const std::string& message) : Failure(message, kExitEnvironment) {}
};

/// A broken invariant of mambac itself (exit code 70).
class InternalError : public Failure {
 public:
  explicit InternalError(const std::string& message) : Failure(message, kExitInternal) {}
};

/// Throws InternalError with the message when the condition does not hold.
inline void check(bool condition, const char* message) {
  if (!condition) throw InternalError(message);
}

}  // namespace mambac
