#include "tools/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "ir/error.h"
#include "runtime/interrupt.h"

namespace mambac::tools {
namespace {

constexpr size_t kMostError = size_t{64} << 10;

[[noreturn]] void become(const std::vector<std::string>& command, const std::map<std::string, std::string>& variables,
                         int error) {
  setpgid(0, 0);
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, STDIN_FILENO);
  dup2(nothing, STDOUT_FILENO);
  dup2(error, STDERR_FILENO);
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  execvp(words[0], words.data());
  _exit(127);
}

/// False at the end of what there is to read.
bool read_some(int from, std::string& text) {
  char bytes[4096];
  const ssize_t count = read(from, bytes, sizeof bytes);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  text.append(bytes, static_cast<size_t>(count));
  if (text.size() > kMostError) text.erase(0, text.size() - kMostError);
  return count > 0;
}

int code_of(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Reads until the process is gone, or ends it with all that it started.
void watch(pid_t child, int error, double limit_seconds, ChildEnd& end) {
  const auto start = std::chrono::steady_clock::now();
  bool open = true;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    end.timed_out = seconds > limit_seconds;
    if (end.timed_out || InterruptGuard::signal() != 0) {
      kill(-child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    pollfd wanted{error, POLLIN, 0};
    constexpr int kMilliseconds = 2;
    if (open && poll(&wanted, 1, kMilliseconds) > 0)
      open = read_some(error, end.error);
    else if (!open)
      usleep(1000 * kMilliseconds);
  }
  end.code = code_of(status);
  fcntl(error, F_SETFL, O_NONBLOCK);  // what it started may still hold the other end
  for (size_t before = SIZE_MAX; open && before != end.error.size();) {
    before = end.error.size();
    open = read_some(error, end.error);
  }
}

}  // namespace

ChildEnd run_child(const std::vector<std::string>& command, const std::map<std::string, std::string>& variables,
                   double limit_seconds) {
  int error[2];
  const bool piped = pipe2(error, O_CLOEXEC) == 0;
  const pid_t child = piped ? fork() : -1;
  if (child < 0) throw EnvironmentError(fmt::format("cannot start {}: {}", command.front(), std::strerror(errno)));
  if (child == 0) become(command, variables, error[1]);
  setpgid(child, child);  // whoever comes first
  close(error[1]);
  ChildEnd end;
  watch(child, error[0], limit_seconds, end);
  close(error[0]);
  return end;
}

}  // namespace mambac::tools
