#include "runtime/placement.h"

#include <fmt/format.h>

#include "ir/trace.h"

namespace mambac {

std::vector<int64_t> sizes_of(const loop::Kernel& kernel, const Bindings& bindings) {
  std::vector<int64_t> sizes;
  for (const std::string& name : kernel.sizes) {
    auto found = bindings.find(name);
    if (found == bindings.end()) throw InputError(fmt::format("the size of {} is not set", name));
    sizes.push_back(found->second);
  }
  return sizes;
}

Placement place_all(const Graph& fused, const std::vector<LoweredKernel>& lowered, const Bindings& bindings,
                    bool constant_parameters) {
  const trace::Span span("compile", "plan memory");
  Placement placement;
  const std::vector<StoredValue> values = stored_values(fused, bindings, constant_parameters);
  std::vector<std::pair<int, int>> owners;  // kernel and buffer of temporaries
  for (const StoredValue& value : values) placement.lifetimes.push_back(value.lifetime);
  for (size_t k = 0; k < lowered.size(); ++k) {
    placement.temporary.emplace_back(lowered[k].buffers.size(), -1);
    const std::vector<int64_t> sizes = sizes_of(lowered[k].kernel, bindings);
    for (size_t i = 0; i < lowered[k].buffers.size(); ++i) {
      if (lowered[k].buffers[i].root.present()) continue;
      const int64_t elements = loop::evaluate(lowered[k].buffers[i].elements, {}, sizes);
      placement.lifetimes.push_back({elements * 4, static_cast<int>(k), static_cast<int>(k)});
      owners.emplace_back(static_cast<int>(k), static_cast<int>(i));
    }
  }
  const ArenaPlan plan = plan_arena(placement.lifetimes);
  placement.bytes = plan.bytes;
  placement.value_offset.assign(fused.size(), -1);
  for (size_t i = 0; i < values.size(); ++i) placement.value_offset[values[i].root.index] = plan.offsets[i];
  for (size_t i = 0; i < owners.size(); ++i)
    placement.temporary[static_cast<size_t>(owners[i].first)][static_cast<size_t>(owners[i].second)] =
        plan.offsets[values.size() + i];
  return placement;
}

std::vector<int64_t> elements_of(const Graph& fused, const LoweredKernel& lowered, const Bindings& bindings) {
  const std::vector<int64_t> sizes = sizes_of(lowered.kernel, bindings);
  std::vector<int64_t> elements;
  for (const KernelBuffer& buffer : lowered.buffers)
    elements.push_back(buffer.root.present() ? elements_of(fused, fused.node(buffer.root).type, bindings)
                                             : loop::evaluate(buffer.elements, {}, sizes));
  return elements;
}

}  // namespace mambac
