#include "ir/dims.h"

#include <fmt/format.h>

#include <algorithm>

namespace mambac {

bool contains(const Dims& dims, DimId dim) {
  return std::find(dims.begin(), dims.end(), dim) != dims.end();
}

Dims joined(Dims first, const Dims& second) {
  for (DimId dim : second) {
    if (!contains(first, dim)) first.push_back(dim);
  }
  return first;
}

Dims without(const Dims& dims, const Dims& removed) {
  Dims kept;
  std::copy_if(dims.begin(), dims.end(), std::back_inserter(kept), [&](DimId dim) { return !contains(removed, dim); });
  return kept;
}

Dims common(const Dims& first, const Dims& second) {
  Dims kept;
  std::copy_if(first.begin(), first.end(), std::back_inserter(kept), [&](DimId dim) { return contains(second, dim); });
  return kept;
}

Dims replaced(Dims dims, DimId from, DimId to) {
  std::replace(dims.begin(), dims.end(), from, to);
  return dims;
}

Dims ordered(const Graph& graph, const Dims& dims) {
  Dims result = dims;
  auto first_fixed =
      std::stable_partition(result.begin(), result.end(), [&](DimId d) { return graph.dim(d).is_free(); });
  std::sort(result.begin(), first_fixed);
  return result;
}

Dims inserted(const Graph& graph, const Dims& dims, DimId dim) {
  Dims result = dims;
  bool is_free = graph.dim(dim).is_free();
  auto place = std::find_if(result.begin(), result.end(),
                            [&](DimId other) { return !graph.dim(other).is_free() || (is_free && dim < other); });
  result.insert(place, dim);
  return result;
}

std::string dim_text(const Graph& graph, DimId dim) {
  const Dim& d = graph.dim(dim);
  return d.is_free() ? d.name : fmt::format("{} = {}", d.name, d.size);
}

std::string dims_text(const Graph& graph, const Dims& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += (i ? ", " : "") + graph.dim(dims[i]).name;
  return text + "]";
}

}  // namespace mambac
