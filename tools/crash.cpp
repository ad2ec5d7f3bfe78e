#include "tools/crash.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tools/reproducer.h"
#include "tools/work_notes.h"

namespace mambac::tools {
namespace {

struct CrashSignal {
  int number;
  const char* name;
};
constexpr std::array<CrashSignal, 6> kSignals{{{SIGSEGV, "SIGSEGV, memory that is not there"},
                                               {SIGBUS, "SIGBUS, memory that is not there"},
                                               {SIGFPE, "SIGFPE, arithmetic"},
                                               {SIGILL, "SIGILL, no instruction"},
                                               {SIGABRT, "SIGABRT, given up"},
                                               {SIGQUIT, "SIGQUIT, from outside"}}};

std::vector<std::string>& command_line() {
  static std::vector<std::string> arguments;
  return arguments;
}

std::atomic<pid_t> reporter = 0;  // the thread that crashed first; 0: none
volatile std::sig_atomic_t first_signal = 0;

/// With the effect that it has where nobody handles it.
void end_by(int number) {
  std::signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  raise(number);
}

void give_up(int) {
  end_by(first_signal);
}

/// A crash of the thread that reports ends the process; other threads that crash wait until the report has ended it.
void on_crash(int number) {
  pid_t first = 0;
  const pid_t self = gettid();
  if (!reporter.compare_exchange_strong(first, self)) {
    if (first == self) end_by(first_signal);
    while (true) pause();
  }
  first_signal = number;
  std::signal(SIGALRM, give_up);
  alarm(10);
  std::string name;
  for (const CrashSignal& signal : kSignals)
    if (signal.number == number) name = signal.name;
  const std::string& pass = notes().work.pass;
  report_bug(fmt::format("{}{}", pass.empty() ? "" : fmt::format("in the pass {}: ", pass), name), command_line());
  end_by(number);
}

}  // namespace

void report_bug(const std::string& message, const std::vector<std::string>& arguments) {
  std::fflush(stdout);
  fmt::print(stderr, "mambac: internal error: {}\n", message);
  if (std::getenv(kKnownBug)) return;
  const std::string folder = write_reproducer(message, arguments);
  if (!folder.empty()) fmt::print(stderr, "mambac: this is a bug; what led to it is in\n{}\n", folder);
}

void watch_for_crashes(const std::vector<std::string>& arguments) {
  command_line() = arguments;
  static std::array<char, size_t{1} << 20> stack;  // a stack that is full cannot be used
  const stack_t other{stack.data(), 0, stack.size()};
  sigaltstack(&other, nullptr);
  for (const CrashSignal& signal : kSignals) {
    struct sigaction before {
    }, action{};
    sigaction(signal.number, nullptr, &before);
    if (before.sa_handler != SIG_DFL) continue;
    action.sa_handler = on_crash;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(signal.number, &action, nullptr);
  }
}

}  // namespace mambac::tools
