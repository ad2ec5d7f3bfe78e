// Fibers: stacks that one thread of the machine switches between.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>

namespace mambac {

/// Either the stack that a thread runs on anyway (default constructed) or one given to it, entered at its first turn. A
/// fiber that is never switched to again is simply forgotten: what lives on its stack is not destroyed.
class Fiber {
 public:
  Fiber() = default;
  /// `entry` must not return.
  Fiber(void* stack, size_t bytes, void (*entry)());

  /// Saves where `from` is and goes on with `to`. Both stay on the calling thread.
  static void change(Fiber& from, Fiber& to);
  /// Where the address sanitizer is told of stacks: at the start of an entry, and before the first change from the
  /// stack that a thread runs on anyway.
  static void arrived(Fiber* fiber);
  void describe_own_stack();

 private:
  ucontext_t context_ = {};
  jmp_buf place_ = {};
  bool started_ = true;
  void* stack_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;  // the sanitizer's
};

}  // namespace mambac
