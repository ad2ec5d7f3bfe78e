// Arrays of float64 to and from the memory of an executable's ports, whatever types these have.
#pragma once

#include <string>
#include <vector>

#include "codegen/place.h"
#include "ir/eval.h"
#include "tools/port_memory.h"

namespace mambac::tools {

/// The elements of a value in the order that memory has them in, where that is not the order of its type: stored states
/// have their channels last.
Array in_memory_order(const Graph& graph, const Layouts& layouts, NodeId id, const Array& array);

/// So many elements of a type in host memory, as numbers.
std::vector<double> numbers_of(DType dtype, const void* from, int64_t elements);

/// Fills every input of the executable, whose memory is bound, from `values`, which go by node name. `graph` has the
/// nodes behind the inputs. InternalError for an input without a value.
void fill_inputs(const Graph& graph, const Executable& executable, const PortMemory& memory, const Arrays& values);

/// What lies in the outputs' memory.
Arrays read_outputs(const Executable& executable, const PortMemory& memory);

/// "[0, 3, 2]": the place of an element of a row-major array.
std::string place_text(const std::vector<int64_t>& shape, size_t element);

}  // namespace mambac::tools
