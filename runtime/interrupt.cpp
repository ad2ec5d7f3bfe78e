#include "runtime/interrupt.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "ir/error.h"

namespace mambac {
namespace {

volatile std::sig_atomic_t noted = 0;
int pipe_ends[2];  // to read from, to write to: the signal, or 0 when none will come

void note(int signal) {
  noted = signal;
}

void send(int signal) {
  const int error = errno;
  const auto byte = static_cast<char>(signal);
  // Where it cannot be written the pipe is full of signals.
  if (write(pipe_ends[1], &byte, 1) < 0) errno = error;
}

int received() {
  char byte = 0;
  while (read(pipe_ends[0], &byte, 1) < 0 && errno == EINTR) {
  }
  return byte;
}

/// Once; the second signal ends the process.
void handle_once(void (*handler)(int), struct sigaction* old_interrupt, struct sigaction* old_terminate) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, old_interrupt);
  sigaction(SIGTERM, &action, old_terminate);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  noted = 0;
  handle_once(note, &old_interrupt_, &old_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

int InterruptGuard::signal() {
  return noted;
}

LastWords::LastWords(const std::function<void()>& last_words) {
  if (pipe2(pipe_ends, O_CLOEXEC) != 0)
    throw EnvironmentError(fmt::format("no pipe is to be had: {}", std::strerror(errno)));
  thread_ = std::thread([last_words] {
    const int signal = received();
    if (signal == 0) return;
    last_words();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  });
  handle_once(send, &old_interrupt_, &old_terminate_);
}

LastWords::~LastWords() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
  send(0);
  thread_.join();
  for (const int end : pipe_ends) close(end);
}

}  // namespace mambac
