// A compiled graph with fixed sizes: launches in order over one arena, with what the caller binds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/type.h"

namespace mambac {

class Device;

/// One input, parameter or output. Parameters go by their checkpoint name. Memory is dense and row-major.
struct Port {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  int64_t elements = 1;
};

/// Where a run spends its time; for benchmarks.
struct KernelTime {
  std::string name;
  double seconds = 0;
};

/// Called when a kernel of the program's graph is done, with the memory of the graph's values by node: of the device,
/// null where a value has none of its own. What a kernel stored lies there until the last kernel that reads it is done.
using KernelObserver = std::function<void(int kernel, const std::vector<char*>& memory)>;

class Executable {
 public:
  virtual ~Executable() = default;

  virtual const std::vector<Port>& inputs() const = 0;   // parameters too
  virtual const std::vector<Port>& outputs() const = 0;
  /// Where it runs, and whose memory is bound to it; it outlives the executable.
  virtual Device& device() const = 0;

  /// Memory of the caller for an input or output, of the program's device; it must stay valid until the next bind or
  /// the last run, be aligned to 64 bytes for best speed (to 16 on a GPU in any case), and all ports must be bound
  /// before the first run. Outputs lie apart from everything else, but that one may have the whole memory of an input
  /// which its kernel reads element by element and no later one reads. InternalError for an unknown name.
  virtual void bind(std::string_view name, void* data) = 0;

  /// InternalError when a port is not bound, or shares memory that it must not.
  virtual void run() = 0;

  /// The same, kernel by kernel in their order.
  virtual void run_observed(const KernelObserver& done) = 0;

  /// Runs its kernels and library calls one by one, each until it is done: the seconds of each. Short ones run several
  /// times, so that what is computed in the place of an input is not what run() computes.
  virtual std::vector<KernelTime> run_timed() = 0;

  /// Bytes of the arena, of scratch memory and of copies of parameters; what the caller binds is not included.
  virtual size_t planned_bytes() const = 0;
};

}  // namespace mambac
