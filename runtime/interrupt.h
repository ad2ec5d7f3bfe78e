// Ctrl-C during long work.
#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace mambac {

/// While one of these lives, the first SIGINT or SIGTERM is only noted, so that work can end in order; the second one
/// has its usual effect. Not to be nested.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The signal that came, or 0. A process that ends because of it exits with 128 + signal.
  static int signal();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

/// While one of these lives, the first SIGINT or SIGTERM has `last_words` called on a thread of its own, beside what
/// the others are doing, and then its usual effect; a second one has that at once. An InterruptGuard takes the signals
/// to itself while it lives. Not to be nested.
class LastWords {
 public:
  explicit LastWords(const std::function<void()>& last_words);
  /// Waits for last words that have begun, and so for the end of the process.
  ~LastWords();
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
  std::thread thread_;
};

}  // namespace mambac
