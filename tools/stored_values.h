// What the kernels of a program leave in memory, read while it runs.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "ir/eval.h"
#include "runtime/program.h"

namespace mambac::tools {

/// Reads values of a program's graph from the memory that an executable of it shows (Executable::run_observed).
class ValueReader {
 public:
  ValueReader(const Program& program, const Bindings& sizes);

  /// The values that a kernel stores, in the order of nodes.
  const std::vector<NodeId>& stored_by(int kernel) const { return stored_[static_cast<size_t>(kernel)]; }

  /// A value that lies in memory, or in a cut or join of it, in the order of its type.
  Array read(NodeId value, const std::vector<char*>& memory) const;

 private:
  const Program& program_;
  const Bindings sizes_;
  std::vector<std::vector<NodeId>> stored_;
};

/// Values by node.
using FoundValues = std::map<NodeId, Array>;

/// Runs the program once on `inputs`, by node name, and reads all that its kernels store.
FoundValues run_once(const Program& program, const Bindings& sizes, const Arrays& inputs,
                     const ExecutableOptions& options = {});

}  // namespace mambac::tools
