// The arrays of `mambac run`: inputs from files, sizes from their shapes, parameters by name or by initialiser.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "frontend/ast.h"
#include "ir/eval.h"
#include "ir/graph.h"
#include "runtime/npy.h"

namespace mambac::tools {

/// An array read from a file, as float64.
struct GivenArray {
  std::string file;
  Array array;
  bool integers = false;
};

/// From "name=file.npy" each. InputError for other text, a name given twice, unreadable files and NaN.
std::map<std::string, GivenArray> read_arrays(const std::vector<std::string>& inputs);

/// InputError, with its place in the definition, for an array that the graph has no use for (a near name is named) and
/// for an input without an array; only the inputs "seed.<output>" need none. `block` is what the graph was made of.
void check_names(const Graph& graph, const BlockDef& block, const std::map<std::string, GivenArray>& given);

/// The sizes of the graph's free dimensions, from the shapes of the arrays and from `sizes`. InputError where two
/// disagree (both are named), where a shape does not fit, or where a size does not follow from anything.
Bindings infer_sizes(const Graph& graph, const std::map<std::string, GivenArray>& given, const Bindings& sizes);

/// Where the values of parameters come from that no file was given for.
struct ParameterSource {
  std::string checkpoint;  // folder; empty: by their initialisers
  uint64_t seed = 0;
};

/// A value for each input and parameter of the graph, by node name; inputs "seed.<output>" default to ones. `given` as
/// check_names lets it pass. InputError for numbers that the element type does not hold.
Arrays complete_values(const Graph& graph, const Bindings& sizes, const std::map<std::string, GivenArray>& given,
                       const ParameterSource& source);

}  // namespace mambac::tools
