// Programs of this machine: its C++ compiler, and how any is found and run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mambac {

/// The command of the C++ compiler: $CXX, which may carry arguments, else the first of c++, g++, clang++ in $PATH.
/// EnvironmentError, naming what was tried, when there is none.
std::vector<std::string> host_compiler();

/// A file that this user may run.
bool is_program(const std::filesystem::path& path);

/// The folders of $PATH.
std::vector<std::filesystem::path> path_folders();

/// Runs a command, its output going to a file, and returns its exit status; 128 and more: ended by a signal.
/// EnvironmentError when it cannot be started.
int run_command(const std::vector<std::string>& command, const std::filesystem::path& output);

}  // namespace mambac
