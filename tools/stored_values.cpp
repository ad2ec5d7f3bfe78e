#include "tools/stored_values.h"

#include "passes/fuse.h"
#include "tools/port_values.h"

namespace mambac::tools {
namespace {

struct Strides {
  int64_t base = 0;
  std::map<DimId, int64_t> of;  // by dimension of the value
};

/// Where the elements of a value lie in the memory of its root, in elements.
Strides strides_of(const Graph& graph, const MemoryPlace& place, const Bindings& sizes) {
  Strides strides;
  int64_t step = 1;
  for (size_t i = place.indices.size(); i-- > 0;) {
    const MemoryIndex& index = place.indices[i];
    const int64_t size = size_of(graph, index.root_dim, sizes);
    const bool from_end = index.from == DimId{} && index.offset < 0;
    strides.base += (from_end ? size + index.offset : index.offset) * step;
    if (index.from != DimId{}) strides.of[index.from] += step;
    step *= size;
  }
  return strides;
}

}  // namespace

ValueReader::ValueReader(const Program& program, const Bindings& sizes)
    : program_(program), sizes_(sizes), stored_(program.graph().kernels.size()) {
  const std::vector<bool> stored = values_in_memory(program.graph());
  for (uint32_t i = 0; i < stored.size(); ++i)
    if (const int kernel = program.graph().node(NodeId{i}).kernel; kernel >= 0 && stored[i])
      stored_[static_cast<size_t>(kernel)].push_back(NodeId{i});
}

Array ValueReader::read(NodeId value, const std::vector<char*>& memory) const {
  const Graph& graph = program_.graph();
  const MemoryPlace place = place_of(graph, program_.layouts(), value);
  const Type& root = graph.node(place.root).type;
  const int64_t elements = elements_of(graph, root, sizes_);
  std::vector<char> bytes(static_cast<size_t>(elements) * bytes_of(root.dtype));
  check(memory[place.root.index] != nullptr, "ValueReader: a value that is not in memory");
  program_.device().download(bytes.data(), memory[place.root.index], bytes.size());
  const std::vector<double> whole = numbers_of(root.dtype, bytes.data(), elements);

  const Type& type = graph.node(value).type;
  const Strides strides = strides_of(graph, place, sizes_);
  Array array{shape_of(graph, type, sizes_), {}};
  array.data.resize(static_cast<size_t>(elements_of(graph, type, sizes_)));
  for (size_t i = 0; i < array.data.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    int64_t at = strides.base;
    for (size_t k = type.dims.size(); k-- > 0; rest /= array.shape[k])
      at += rest % array.shape[k] * strides.of.at(type.dims[k]);
    array.data[i] = whole[static_cast<size_t>(at)];
  }
  return array;
}

FoundValues run_once(const Program& program, const Bindings& sizes, const Arrays& inputs,
                     const ExecutableOptions& options) {
  const std::unique_ptr<Executable> executable = program.instantiate(sizes, options);
  PortMemory memory;
  memory.bind(*executable);
  fill_inputs(program.graph(), *executable, memory, inputs);
  const ValueReader reader(program, sizes);
  FoundValues found;
  executable->run_observed([&](int kernel, const std::vector<char*>& places) {
    for (NodeId value : reader.stored_by(kernel)) found[value] = reader.read(value, places);
  });
  return found;
}

}  // namespace mambac::tools
