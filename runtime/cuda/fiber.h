// Fibers: stacks that one thread of the machine switches between.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>

namespace mambac {

/// The stack that a thread runs on anyway, or one that it was given to start on.
class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// At its next turn the fiber enters `entry`, which must not return. Where it was before is forgotten: what lives on
  /// its stack is not destroyed.
  void start(void* stack, size_t bytes, void (*entry)());

  /// Saves where `from` is and goes on with `to`. Both stay on the calling thread.
  static void change(Fiber& from, Fiber& to);

  /// What sanitizers want to know: called first of all by an entry, and before the first change from the stack that a
  /// thread runs on anyway.
  static void entered();
  void describe_own_stack();

 private:
  ucontext_t context_ = {};
  jmp_buf place_ = {};
  bool started_ = true;
  void* stack_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;  // the address sanitizer's
  void* known_as_ = nullptr;    // to the thread sanitizer
};

}  // namespace mambac
