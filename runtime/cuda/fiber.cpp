// A fortified longjmp takes a jump to another stack for an error.
#undef _FORTIFY_SOURCE

#include "runtime/cuda/fiber.h"

#include <pthread.h>

#ifdef __SANITIZE_ADDRESS__
#define MAMBAC_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAMBAC_FIBER_ASAN 1
#endif
#endif

#ifdef MAMBAC_FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace mambac {

Fiber::Fiber(void* stack, size_t bytes, void (*entry)()) : started_(false), stack_(stack), bytes_(bytes) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  makecontext(&context_, entry, 0);
}

#ifdef MAMBAC_FIBER_ASAN

void Fiber::change(Fiber& from, Fiber& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.bytes_);
  swapcontext(&from.context_, &to.context_);
  arrived(&from);
}

void Fiber::arrived(Fiber* fiber) {
  __sanitizer_finish_switch_fiber(fiber ? fiber->fake_stack_ : nullptr, nullptr, nullptr);
}

void Fiber::describe_own_stack() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &stack_, &bytes_);
  pthread_attr_destroy(&attributes);
}

#else

// swapcontext asks the kernel for the signal mask each time; _setjmp and _longjmp do not, and need it only to enter.
void Fiber::change(Fiber& from, Fiber& to) {
  if (_setjmp(from.place_) != 0) return;
  if (to.started_) _longjmp(to.place_, 1);
  to.started_ = true;
  setcontext(&to.context_);
}

void Fiber::arrived(Fiber*) {}
void Fiber::describe_own_stack() {}

#endif

}  // namespace mambac
