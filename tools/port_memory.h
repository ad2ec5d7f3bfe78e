// Memory for everything that an executable's caller binds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "runtime/device_array.h"

namespace mambac::tools {

/// Zeroed device memory for each port, bound to it; for those of an executable in one piece, as weights lie in
/// generation (on pages as large as can be had). It may be shared: a name that is there already is bound to the same
/// memory, so that executables see each other's values.
class PortMemory {
 public:
  void bind(Executable& executable);
  /// The same for one of its ports.
  void bind(Executable& executable, const Port& port);
  /// Memory of a device for ports without binding it.
  void place(const std::vector<Port>& ports, Device& device);
  const DeviceSpan<char>& at(const std::string& name) const { return memory_.at(name); }
  bool has(const std::string& name) const { return memory_.contains(name); }

 private:
  std::vector<DeviceArray<char>> pieces_;
  std::map<std::string, DeviceSpan<char>> memory_;
};

/// Values for a benchmark: parameters by their initialisers, other floats uniform in a range, integers below a limit.
struct Filling {
  struct Range {
    double low = -1, high = 1;
  };
  std::map<std::string, Range> ranges;  // by port name; others -1 to 1
  int64_t below = 256;                  // integers
};
/// The rows of the smallest table that the graph looks integers up in; 256 where there is none.
int64_t integers_below(const Graph& graph);
/// Fills the inputs that `memory` has.
void fill_inputs(const Graph& graph, const Executable& executable, const PortMemory& memory, const Filling& filling);

}  // namespace mambac::tools
