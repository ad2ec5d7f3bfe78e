// Ctrl-C during long work.
#pragma once

#include <csignal>

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

}  // namespace mambac
