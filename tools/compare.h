// A fused graph on a device against the interpreter: which value is wrong first, and where it comes from.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ir/eval.h"
#include "runtime/program.h"

namespace mambac::tools {

/// A value that was compared.
struct ComparedValue {
  std::string name;
  Op op = Op::Const;
  Location location;
  std::string place;  // of the worst element, "[0, 3, 2]"
  double found = 0, expected = 0, bound = 0;
  double of_bound = 0;      // its error in units of its bound
  double since_inputs = 0;  // see ValueError
};

struct WrongValue {
  ComparedValue value;
  std::string kernel;
  /// What the other values of that kernel say: see Comparison::wrong.
  std::string note;
  /// Values that it is made of, the first one first, each the one with the largest error of those that the next one
  /// reads; itself last.
  std::vector<ComparedValue> path;
};

struct Comparison {
  size_t kernels = 0, values = 0;
  std::vector<ComparedValue> outputs;
  std::optional<ComparedValue> worst;  // of all values in memory
  /// The first value that is wrong. Where a value in memory exceeds its bound, its kernel is compiled once more by
  /// itself with all its values stored, under the same schedule, and reads what it read. Then the first of its ops that
  /// exceeds its bound by itself is wrong; where none does and the value in memory is the same as before, its ops are
  /// right and their roundings were amplified (`amplified`); and where it is another one, the fault depends on what the
  /// kernel stores, and the value in memory is named, with a note.
  std::optional<WrongValue> wrong;
  std::vector<ComparedValue> amplified;
};

/// Told what is going on, and how many of how many nodes were evaluated.
using CompareProgress = std::function<void(const std::string& what, size_t done, size_t all)>;

/// Runs the program once, and compares every value that its kernels leave in memory with what the
/// interpreter makes of the values before it (check_values). `inputs` by node name. As in compile: constant_parameters
/// for graphs that do not train.
Comparison compare_with_reference(const Program& program, const Bindings& sizes, const Arrays& inputs,
                                  bool constant_parameters, const CompareProgress& progress);

}  // namespace mambac::tools
