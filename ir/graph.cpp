#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "ir/dims.h"

namespace mambac {

namespace {

constexpr int64_t kMaxElements = int64_t{1} << 62;

/// "x.3" -> "x": what unique names are made from, so that suffixes do not pile up from pass to pass.
std::string_view stem(std::string_view name) {
  size_t dot = name.find_last_not_of("0123456789");
  if (dot == std::string_view::npos || dot == 0 || dot + 1 == name.size() || name[dot] != '.') return name;
  return name.substr(0, dot);
}

std::vector<bool> live_nodes(const Graph& graph, bool keep_sources) {
  std::vector<bool> live(graph.size(), false);
  for (const Output& output : graph.outputs()) live[output.value.index] = true;
  for (size_t i = graph.size(); i-- > 0;) {
    const Node& node = graph.nodes()[i];
    if (keep_sources && (node.op == Op::Input || node.op == Op::Param)) live[i] = true;
    if (!live[i]) continue;
    for (NodeId operand : node.operands) {
      if (operand.present()) live[operand.index] = true;
    }
  }
  return live;
}

}  // namespace

DimId Graph::add_dim(const std::string& name, int64_t size) {
  if (auto found = find_dim(name)) {
    if (dim(*found).size != size) {
      throw InternalError(fmt::format("dimension {} is there with size {}, not {}", name, dim(*found).size, size));
    }
    return *found;
  }
  dims_.push_back({name, size, {}, 0});
  return {static_cast<uint32_t>(dims_.size() - 1)};
}

DimId Graph::add_tiles(DimId base, int64_t divisor) {
  check(divisor > 0, "a tile has at least one step");
  DimId tiles = add_dim(fmt::format("{}/{}", dim(base).name, divisor), 0);
  dim(tiles).base = base;
  dim(tiles).divisor = divisor;
  return tiles;
}

std::optional<DimId> Graph::find_dim(std::string_view name) const {
  for (size_t i = 0; i < dims_.size(); ++i) {
    if (dims_[i].name == name) return DimId{static_cast<uint32_t>(i)};
  }
  return std::nullopt;
}

std::string Graph::unique_name(const std::string& wanted) {
  std::string name = wanted.empty() ? "v" : wanted;
  std::string base(stem(name));
  while (by_name_.contains(name)) name = fmt::format("{}.{}", base, ++suffixes_[base]);
  return name;
}

NodeId Graph::append(Node node) {
  for (NodeId operand : node.operands) {
    check(!operand.present() || operand.index < nodes_.size(), "an operand is appended before its user");
  }
  const OpInfo& op = info(node.op);
  bool variadic = !op.operands.empty() && op.operands.back().variadic;
  if (!variadic && node.operands.size() < op.operands.size()) node.operands.resize(op.operands.size());
  node.type = infer_type(*this, node);
  node.name = unique_name(node.name);
  NodeId id{static_cast<uint32_t>(nodes_.size())};
  by_name_.emplace(node.name, id);
  nodes_.push_back(std::move(node));
  return id;
}

std::optional<NodeId> Graph::find(std::string_view name) const {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

void Graph::rename(const std::vector<std::string>& names, const Graph& reserved) {
  by_name_.clear();
  suffixes_.clear();
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (names[i].empty()) continue;
    nodes_[i].name = names[i];
    check(by_name_.emplace(names[i], NodeId{i}).second, "two nodes are given one name");
  }
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (!names[i].empty()) continue;
    while (reserved.by_name_.contains(nodes_[i].name) || by_name_.contains(nodes_[i].name)) {
      const std::string base(stem(nodes_[i].name));
      nodes_[i].name = fmt::format("{}.{}", base, ++suffixes_[base]);
    }
    by_name_.emplace(nodes_[i].name, NodeId{i});
  }
}

void Graph::remove_dead(bool keep_sources) {
  std::vector<bool> live = live_nodes(*this, keep_sources);
  std::vector<NodeId> moved(nodes_.size());
  std::vector<Node> kept;
  by_name_.clear();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!live[i]) continue;
    for (NodeId& operand : nodes_[i].operands) {
      if (operand.present()) operand = moved[operand.index];
    }
    moved[i] = {static_cast<uint32_t>(kept.size())};
    by_name_.emplace(nodes_[i].name, moved[i]);
    kept.push_back(std::move(nodes_[i]));
  }
  nodes_ = std::move(kept);
  for (Output& output : outputs_) output.value = moved[output.value.index];
}

std::string type_text(const Graph& graph, const Type& type) {
  return name_of(type.dtype) + dims_text(graph, type.dims);
}

NodeId operand(const Node& node, std::string_view name) {
  int index = operand_index(node.op, name);
  if (index < 0 || static_cast<size_t>(index) >= node.operands.size()) return {};
  return node.operands[index];
}

int64_t size_of(const Graph& graph, DimId dim, const Bindings& bindings) {
  const Dim& d = graph.dim(dim);
  if (!d.is_free()) return d.size;
  if (d.is_tiles()) return (size_of(graph, d.base, bindings) + d.divisor - 1) / d.divisor;
  auto bound = bindings.find(d.name);
  if (bound == bindings.end()) throw InputError(fmt::format("dimension {} is free: expected a size for it", d.name));
  if (bound->second < 1) {
    throw InputError(fmt::format("dimension {}: found size {}, expected at least 1", d.name, bound->second));
  }
  return bound->second;
}

int64_t elements_of(const Graph& graph, const Type& type, const Bindings& bindings) {
  int64_t elements = 1;
  for (DimId dim : type.dims) {
    int64_t size = size_of(graph, dim, bindings);
    if (size > kMaxElements / elements) {
      throw InputError(
          fmt::format("a value {} has more than 2^62 elements at the given sizes", type_text(graph, type)));
    }
    elements *= size;
  }
  return elements;
}

}  // namespace mambac
