#include "runtime/cuda/host_compiler.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "ir/error.h"

extern char** environ;

namespace mambac {
namespace {

bool in_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return is_program(program);
  const std::vector<std::filesystem::path> folders = path_folders();
  return std::any_of(folders.begin(), folders.end(), [&](const auto& folder) { return is_program(folder / program); });
}

}  // namespace

bool is_program(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

std::vector<std::filesystem::path> path_folders() {
  const char* path = std::getenv("PATH");
  std::istringstream names(path ? path : "");
  std::vector<std::filesystem::path> folders;
  for (std::string name; std::getline(names, name, ':');) folders.emplace_back(name);
  return folders;
}

std::vector<std::string> host_compiler() {
  if (const char* value = std::getenv("CXX"); value && *value) {
    std::vector<std::string> command;
    std::istringstream words(value);
    for (std::string word; words >> word;) command.push_back(word);
    if (!command.empty() && in_path(command[0])) return command;
    throw EnvironmentError(
        fmt::format("$CXX names '{}', which is no program here; the emulation device needs a C++ "
                    "compiler",
                    value));
  }
  for (const char* name : {"c++", "g++", "clang++"})
    if (in_path(name)) return {name};
  throw EnvironmentError(
      "the emulation device needs a C++ compiler: $CXX is not set, and none of c++, g++, clang++ is in "
      "$PATH");
}

int run_command(const std::vector<std::string>& command, const std::filesystem::path& output) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error) throw EnvironmentError(fmt::format("cannot run '{}': {}", command[0], std::strerror(error)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR)
      throw EnvironmentError(fmt::format("cannot wait for '{}': {}", command[0], std::strerror(errno)));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace mambac
