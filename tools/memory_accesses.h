// What a task of a kernel loads and stores, and how that moves in its loops.
#pragma once

#include <vector>

#include "codegen/loop_ir.h"

namespace mambac::tools {

constexpr double kLineBytes = 64, kPageBytes = 4096;

struct AroundLoop {
  const loop::Stmt* loop;
  double trips;
};

struct MovingLoop {
  const loop::Stmt* loop;
  double trips;
  double step;  // bytes from one iteration to the next one; less than zero: backwards
};

/// A statement that was come to.
struct MemoryAccess {
  bool of_array;  // of the stage, else of the kernel's buffers
  bool stores;
  int buffer;                         // or array
  double offset;                      // of the first execution, bytes
  double bytes;                       // of one execution
  double times = 1;                   // executions of a task
  std::vector<MovingLoop> moving{};   // the loops around it that it moves with, outer ones first
  std::vector<AroundLoop> around{};   // all loops around it; the first one is that over a thread's tasks
};

/// Of one task of a stage, on a thread that has so many neighbouring tasks to do, in the order of the program. Loops are
/// looked at in their first iteration, which stands for all. `sizes`: as loop::Kernel::sizes.
class MemoryAccesses {
 public:
  MemoryAccesses(const loop::Kernel& kernel, const loop::Stage& stage, int64_t task, int64_t neighbours,
                 const std::vector<int64_t>& sizes);
  MemoryAccesses(const MemoryAccesses&) = delete;  // accesses point to the loop over tasks
  MemoryAccesses& operator=(const MemoryAccesses&) = delete;
  const std::vector<MemoryAccess>& all() const { return found_; }
  int64_t neighbours() const { return neighbours_; }

 private:
  int64_t value(const loop::Int& a) const { return loop::evaluate(a, vars_, sizes_); }
  void walk(const loop::Block& block);
  void iterate(const loop::Stmt& s);
  double stride(const loop::Stmt& s, const AroundLoop& loop, double element);
  void access(const loop::Stmt& s);
  void access_array(const loop::Stmt& s);
  void add(const loop::Stmt& s, MemoryAccess one, double element);

  const loop::Kernel& kernel_;
  const loop::Stage& stage_;
  const int64_t neighbours_;
  const std::vector<int64_t>& sizes_;
  loop::Stmt tasks_;
  std::vector<int64_t> vars_;
  std::vector<AroundLoop> around_;
  std::vector<MemoryAccess> found_;
};

bool is_same_place(const MemoryAccess& a, const MemoryAccess& b);
/// The loops that both have around them, outer ones first.
size_t shared_loops(const MemoryAccess& a, const MemoryAccess& b);
bool moves_with(const MemoryAccess& one, const AroundLoop& loop);
/// What an access moves over in one iteration of the innermost of so many loops around it.
double bytes_within(const MemoryAccess& one, size_t loops);
/// From the first byte of these to the last one, with what lies between them.
struct Extent {
  double begin, end;
};
Extent extent_within(const MemoryAccess& one, size_t loops);

}  // namespace mambac::tools
