// A fortified longjmp takes a jump to another stack for an error.
#undef _FORTIFY_SOURCE

#include "runtime/cuda/fiber.h"

#include <pthread.h>

#if defined(__SANITIZE_ADDRESS__)
#define MAMBAC_ADDRESS_SANITIZER
#elif defined(__SANITIZE_THREAD__)
#define MAMBAC_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAMBAC_ADDRESS_SANITIZER
#elif __has_feature(thread_sanitizer)
#define MAMBAC_THREAD_SANITIZER
#endif
#endif

#if defined(MAMBAC_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(MAMBAC_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

namespace mambac {

void Fiber::start(void* stack, size_t bytes, void (*entry)()) {
  started_ = false;
  stack_ = stack;
  bytes_ = bytes;
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = bytes;
  makecontext(&context_, entry, 0);
#if defined(MAMBAC_ADDRESS_SANITIZER)
  ASAN_UNPOISON_MEMORY_REGION(stack, bytes);
#elif defined(MAMBAC_THREAD_SANITIZER)
  if (known_as_) __tsan_destroy_fiber(known_as_);
  known_as_ = __tsan_create_fiber(0);
#endif
}

#if defined(MAMBAC_ADDRESS_SANITIZER)

Fiber::~Fiber() = default;

void Fiber::change(Fiber& from, Fiber& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.stack_, to.bytes_);
  swapcontext(&from.context_, &to.context_);
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
}

void Fiber::entered() {
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}

void Fiber::describe_own_stack() {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &stack_, &bytes_);
  pthread_attr_destroy(&attributes);
}

#elif defined(MAMBAC_THREAD_SANITIZER)

Fiber::~Fiber() {
  if (known_as_ && bytes_ > 0) __tsan_destroy_fiber(known_as_);
}

void Fiber::change(Fiber& from, Fiber& to) {
  __tsan_switch_to_fiber(to.known_as_, 0);
  swapcontext(&from.context_, &to.context_);
}

void Fiber::entered() {}
void Fiber::describe_own_stack() {
  known_as_ = __tsan_get_current_fiber();
}

#else

Fiber::~Fiber() = default;

// swapcontext asks the kernel for the signal mask each time; _setjmp and _longjmp do not. setcontext is needed to
// enter.
void Fiber::change(Fiber& from, Fiber& to) {
  if (_setjmp(from.place_) != 0) return;
  if (to.started_) _longjmp(to.place_, 1);
  to.started_ = true;
  setcontext(&to.context_);
}

void Fiber::entered() {}
void Fiber::describe_own_stack() {}

#endif

}  // namespace mambac
