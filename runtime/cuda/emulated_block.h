// One block of threads of a kernel that was built for the host, run on one thread of the machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "codegen/cuda/emulation_abi.h"
#include "ir/error.h"
#include "runtime/cuda/fiber.h"

namespace mambac {

/// What a kernel did wrong: one line with the kernel, block, thread, source line, array and element.
class DeviceFault : public InternalError {
 public:
  using InternalError::InternalError;
};

/// Threads are fibers. One runs until it waits for others or ends; which one goes on then, a seeded generator says.
class EmulatedBlock {
 public:
  /// Static shared memory of a block.
  static constexpr size_t kSharedBytes = 48 << 10;

  EmulatedBlock();
  ~EmulatedBlock();
  EmulatedBlock(const EmulatedBlock&) = delete;
  EmulatedBlock& operator=(const EmulatedBlock&) = delete;

  /// Runs block number `task` of a kernel. Throws DeviceFault.
  void run(const mb_kernel& kernel, const mb_argument* arguments, int64_t task, int threads, uint64_t seed);

 private:
  struct Copy {
    void* to;
    const void* from;
    mb_shadow* shadows;
    int elements;
    int64_t group;
  };
  struct Thread {
    int number = 0;
    Fiber fiber;
    mb_site site = {};  // where it waits
    bool finished = false;
    std::vector<Copy> copies;
    int64_t group = 0;  // of the next copy
  };
  struct SharedArray {
    int id;
    char* data;
    mb_shadow* shadows;
  };

  static const mb_runtime kRuntime;
  static EmulatedBlock& of(const mb_thread* face) { return *static_cast<EmulatedBlock*>(face->block); }
  static Thread& self(const mb_thread* face) { return *of(face).threads_[static_cast<size_t>(face->number)]; }
  static void enter();

  mb_thread& face(const Thread& thread) { return faces_[static_cast<size_t>(thread.number)]; }
  void restart(int64_t task, size_t threads);
  void start_fiber(Thread& thread);
  void wait(Thread& self, const mb_site& site);
  void meet(const Thread& self, size_t first, size_t count);
  void finish(Thread& self);
  void go_on(Thread& self);
  void* shared(Thread& self, int id, const char* name, size_t bytes, size_t count, mb_shadow** shadows);
  void touch_global(Thread& self, mb_shadow& shadow, bool writes, const char* name, int64_t index, int line);
  void wait_copies(Thread& self, int64_t last);

  [[noreturn]] void stop(Thread& self);  // fault_ says why
  [[noreturn]] void report_stuck(Thread& self);
  std::string text_of_stuck() const;
  std::string place(const Thread& thread, int line) const;
  static std::string text(const mb_fault& fault);
  uint64_t random();  // 32 bits
  size_t next();      // takes one of those that can run

  const mb_kernel* kernel_ = nullptr;
  const mb_argument* arguments_ = nullptr;
  uint64_t random_ = 0;
  mb_word epoch_ = 0;
  int64_t task_ = 0;
  size_t count_ = 0;  // threads of the block
  size_t finished_ = 0;
  std::vector<mb_thread> faces_;  // what kernels see of threads
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<size_t> runnable_;
  std::vector<size_t> arrived_;  // where all of a warp meet, and last where all of the block do
  char* stacks_ = nullptr;
  Fiber main_;
  std::vector<SharedArray> arrays_;
  size_t shared_bytes_ = 0;
  std::unique_ptr<char[]> memory_;
  std::unique_ptr<mb_shadow[]> shadows_;
  std::string fault_;
};

}  // namespace mambac
