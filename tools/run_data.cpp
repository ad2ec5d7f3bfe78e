#include "tools/run_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "runtime/checkpoint.h"
#include "runtime/initialise.h"
#include "runtime/safetensors.h"
#include "tools/port_values.h"

namespace mambac::tools {
namespace {

template <typename Stored>
void widen(const NpyArray& from, std::vector<double>& to) {
  for (size_t i = 0; i < to.size(); ++i) {
    Stored value;
    std::memcpy(&value, from.data.data() + i * sizeof value, sizeof value);
    to[i] = static_cast<double>(value);
  }
}

GivenArray read_array(const std::string& file) {
  const NpyArray npy = read_npy(file);
  GivenArray given{file, {npy.shape, std::vector<double>(static_cast<size_t>(npy.elements))}, true};
  switch (npy.type) {
    case ElementType::f64: widen<double>(npy, given.array.data); break;
    case ElementType::i32: widen<int32_t>(npy, given.array.data); return given;
    case ElementType::i64: widen<int64_t>(npy, given.array.data); return given;
    case ElementType::u8: widen<uint8_t>(npy, given.array.data); return given;
    default: {
      std::vector<float> values(given.array.data.size());
      to_f32(npy.type, npy.data.data(), npy.elements, values.data());
      std::copy(values.begin(), values.end(), given.array.data.begin());
    }
  }
  given.integers = false;
  return given;
}

void refuse_nan(const std::string& name, const GivenArray& given) {
  for (size_t i = 0; i < given.array.data.size(); ++i)
    if (std::isnan(given.array.data[i]))
      throw InputError(fmt::format("{} ({}): found NaN at {}, expected numbers", name, given.file,
                                   place_text(given.array.shape, i)));
}

/// Text with both sides of a disagreement.
[[noreturn]] void fail_size(const std::string& dim, int64_t size, const std::string& by, int64_t other,
                            const std::string& other_by) {
  throw InputError(fmt::format("the dimension {} is {} in {}, but {} in {}", dim, size, by, other, other_by));
}

std::vector<std::string> names_of(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::Input || node.op == Op::Param) names.push_back(node.name);
    if (node.op == Op::Param && node.param.checkpoint_name != node.name) names.push_back(node.param.checkpoint_name);
  }
  return names;
}

const GivenArray* find(const std::map<std::string, GivenArray>& given, const Node& node) {
  auto found = given.find(node.name);
  if (found == given.end() && node.op == Op::Param) found = given.find(node.param.checkpoint_name);
  return found == given.end() ? nullptr : &found->second;
}

/// The gradient of a result, 1 where it is not given.
bool is_seed(const Node& node) {
  return node.op == Op::Input && node.name.starts_with("seed.");
}

Array converted(const GivenArray& given, const Node& node) {
  if (is_float(node.type.dtype)) return given.array;
  const double least = node.type.dtype == DType::u8 ? 0 : -2147483648.0;
  const double most = node.type.dtype == DType::u8 ? 255 : 2147483647.0;
  for (size_t i = 0; i < given.array.data.size(); ++i) {
    const double value = given.array.data[i];
    if (value < least || value > most || value != std::floor(value))
      throw InputError(fmt::format("{} ({}): found {} at {}, expected values of {}", node.name, given.file, value,
                                   place_text(given.array.shape, i), name_of(node.type.dtype)));
  }
  return given.array;
}

Array initial(const Node& node, const std::vector<int64_t>& shape, size_t elements, const ParameterSource& source,
              const std::optional<SafetensorsFile>& file) {
  std::vector<float> values(elements);
  if (file) file->read(node.param.checkpoint_name, shape, ElementType::f32, values.data());
  else initialise(node.param.init, node.param.checkpoint_name, shape, source.seed, values);
  return {shape, {values.begin(), values.end()}};
}

}  // namespace

std::map<std::string, GivenArray> read_arrays(const std::vector<std::string>& inputs) {
  std::map<std::string, GivenArray> arrays;
  for (const std::string& input : inputs) {
    const size_t equals = input.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == input.size())
      throw InputError(fmt::format("--input: found '{}', expected NAME=FILE.npy", input));
    const std::string name = input.substr(0, equals);
    if (arrays.contains(name)) throw InputError(fmt::format("--input: '{}' is given twice", name));
    arrays[name] = read_array(input.substr(equals + 1));
    refuse_nan(name, arrays[name]);
  }
  return arrays;
}

void check_names(const Graph& graph, const BlockDef& block, const std::map<std::string, GivenArray>& given) {
  std::vector<std::string> known = names_of(graph);
  for (const BlockInput& input : block.inputs)
    if (std::ranges::count(known, input.name) == 0) known.push_back(input.name);  // an optional one
  for (const auto& [name, array] : given)
    if (std::ranges::count(known, name) == 0)
      throw InputError(block.location, fmt::format("there is no input '{}'{}; '{}' has: {}", name,
                                                   did_you_mean(name, known), block.name, fmt::join(known, ", ")));
  for (const Node& node : graph.nodes())
    if (node.op == Op::Input && !is_seed(node) && !given.contains(node.name))
      throw InputError(node.location,
                       fmt::format("input '{}' is missing, expected --input {}=FILE.npy with the values of {}",
                                   node.name, node.name, type_text(graph, node.type)));
}

Bindings infer_sizes(const Graph& graph, const std::map<std::string, GivenArray>& given, const Bindings& sizes) {
  Bindings bindings = sizes;
  std::map<std::string, std::string> bound_by;
  for (const auto& [name, size] : sizes) bound_by[name] = "--set";
  for (const Node& node : graph.nodes()) {
    const GivenArray* array = node.op == Op::Input || node.op == Op::Param ? find(given, node) : nullptr;
    if (!array) continue;
    const std::vector<int64_t>& shape = array->array.shape;
    const std::string by = fmt::format("{} ({})", node.name, array->file);
    if (shape.size() != node.type.dims.size())
      throw InputError(fmt::format("{}: found the shape {}, expected {}", by, shape_text(shape),
                                   type_text(graph, node.type)));
    for (size_t i = 0; i < shape.size(); ++i) {
      const Dim& dim = graph.dim(node.type.dims[i]);
      if (shape[i] < 1)
        throw InputError(fmt::format("{}: found the shape {}, expected no empty dimension", by, shape_text(shape)));
      if (!dim.is_free()) {
        if (dim.size != shape[i])
          fail_size(dim.name, shape[i], by, dim.size, fmt::format("the definition, {}", type_text(graph, node.type)));
        continue;
      }
      const auto [entry, fresh] = bindings.emplace(dim.name, shape[i]);
      if (fresh) bound_by[dim.name] = by;
      else if (entry->second != shape[i]) fail_size(dim.name, shape[i], by, entry->second, bound_by[dim.name]);
    }
  }
  for (const Node& node : graph.nodes())
    for (DimId d : node.type.dims)
      if (const Dim& dim = graph.dim(d); dim.is_free() && !dim.is_tiles() && !bindings.contains(dim.name))
        throw InputError(
            fmt::format("the size of {} follows from no input, expected --set {}=...", dim.name, dim.name));
  return bindings;
}

Arrays complete_values(const Graph& graph, const Bindings& sizes, const std::map<std::string, GivenArray>& given,
                       const ParameterSource& source) {
  std::optional<SafetensorsFile> file;
  if (!source.checkpoint.empty()) file.emplace(find_checkpoint(source.checkpoint) / "model.safetensors");
  Arrays values;
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Input && node.op != Op::Param) continue;
    const auto elements = static_cast<size_t>(elements_of(graph, node.type, sizes));
    if (const GivenArray* array = find(given, node)) {
      values[node.name] = converted(*array, node);
    } else if (node.op == Op::Param) {
      values[node.name] = initial(node, shape_of(graph, node.type, sizes), elements, source, file);
    } else {
      check(is_seed(node), "complete_values: an input without a value");
      values[node.name] = {shape_of(graph, node.type, sizes), std::vector<double>(elements, 1.0)};
    }
  }
  return values;
}

}  // namespace mambac::tools
