#include "passes/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "ir/round_up.h"
#include "passes/contraction.h"
#include "passes/fuse.h"

namespace mambac {

namespace {

constexpr int64_t kAlignment = 64;

int64_t aligned(int64_t bytes) { return round_up(bytes, kAlignment); }

}  // namespace

int64_t place_of_value(size_t number, int64_t bytes, int64_t from) {
  constexpr int64_t kPage = 4096, kLine = 128, kPlaces = kPage / kLine;  // a line of a GPU, two of a CPU
  constexpr size_t kApart = 11;  // of such lines between two values; it comes to all places
  if (bytes < kPage) return aligned(from);
  const int64_t place = static_cast<int64_t>(number * kApart % kPlaces) * kLine;
  return round_up(std::max<int64_t>(0, from - place), kPage) + place;
}

ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes) {
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  ArenaPlan plan;
  plan.offsets.resize(lifetimes.size(), 0);
  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    const Lifetime& life = lifetimes[i];
    int64_t offset = place_of_value(i, life.bytes, 0);
    for (size_t j : placed) {
      const bool together = lifetimes[j].first <= life.last && life.first <= lifetimes[j].last;
      if (!together) continue;
      if (plan.offsets[j] >= offset + life.bytes) break;
      offset = std::max(offset, place_of_value(i, life.bytes, plan.offsets[j] + lifetimes[j].bytes));
    }
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, aligned(offset + life.bytes));
    auto at = std::upper_bound(placed.begin(), placed.end(), i,
                               [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; });
    placed.insert(at, i);
  }
  return plan;
}

std::vector<NodeId> joins_of(const Graph& fused) {
  std::vector<NodeId> joins(fused.size());
  for (uint32_t i = 0; i < fused.size(); ++i)
    if (is_join(fused.node(NodeId{i})))
      for (NodeId o : fused.node(NodeId{i}).operands) joins[o.index] = NodeId{i};
  return joins;
}

NodeId memory_root(const Graph& fused, NodeId value, const std::vector<NodeId>& join_of) {
  for (;;) {
    if (is_view(fused, value) && fused.node(value).kernel < 0)
      value = fused.node(value).operands[0];
    else if (join_of[value.index].present())
      value = join_of[value.index];
    else
      return value;
  }
}

std::vector<bool> constant_kernels(const Graph& fused) {
  std::vector<bool> constant(fused.kernels.size());
  for (size_t k = 0; k < constant.size(); ++k) constant[k] = fused.kernels[k].kind != KernelGroup::library;
  for (const Output& output : fused.outputs())
    if (const int kernel = fused.node(output.value).kernel; kernel >= 0) constant[static_cast<size_t>(kernel)] = false;
  std::vector<bool> varies(fused.size());
  for (bool changed = true; changed;) {  // one kernel's nodes are not all before the next one's
    changed = false;
    for (uint32_t i = 0; i < fused.size(); ++i) {
      const Node& node = fused.node(NodeId{i});
      const bool here = node.op == Op::Input ||
                        (node.kernel >= 0 && !constant[static_cast<size_t>(node.kernel)]) ||
                        std::ranges::any_of(node.operands, [&](NodeId o) { return o.present() && varies[o.index]; });
      if (!here || varies[i]) continue;
      varies[i] = changed = true;
      if (node.kernel >= 0) constant[static_cast<size_t>(node.kernel)] = false;
    }
  }
  return constant;
}

std::vector<StoredValue> stored_values(const Graph& fused, const Bindings& bindings, bool constant_parameters) {
  const std::vector<bool> stored = values_in_memory(fused);
  const std::vector<NodeId> join_of = joins_of(fused);
  std::vector<bool> bound(fused.size(), false);
  for (uint32_t i = 0; i < fused.size(); ++i)
    bound[i] = class_of(fused.node(NodeId{i}).op) == OpClass::Source;
  for (const Output& output : fused.outputs()) bound[output.value.index] = true;

  std::map<uint32_t, Lifetime> lives;
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const Node& node = fused.node(NodeId{i});
    if (node.kernel >= 0 && stored[i]) {
      const NodeId root = memory_root(fused, NodeId{i}, join_of);
      auto [life, fresh] = lives.emplace(root.index, Lifetime{0, node.kernel, node.kernel});
      if (!fresh) life->second.first = std::min(life->second.first, node.kernel);
      life->second.last = std::max(life->second.last, node.kernel);
    }
    if (node.kernel < 0) continue;
    for (NodeId o : node.operands) {
      if (!o.present() || fused.node(o).kernel == node.kernel) continue;
      const NodeId root = memory_root(fused, o, join_of);
      auto life = lives.find(root.index);
      if (life != lives.end()) life->second.last = std::max(life->second.last, node.kernel);
    }
  }
  const std::vector<bool> constant = constant_parameters ? constant_kernels(fused) : std::vector<bool>();
  std::vector<StoredValue> values;
  for (auto& [index, life] : lives) {
    if (bound[index]) continue;
    if (constant_parameters && constant[static_cast<size_t>(life.first)])
      life = {0, 0, static_cast<int>(constant.size()) - 1};
    const Type& type = fused.node(NodeId{index}).type;
    life.bytes = elements_of(fused, type, bindings) * static_cast<int64_t>(bytes_of(type.dtype));
    values.push_back({NodeId{index}, life});
  }
  return values;
}

}  // namespace mambac
