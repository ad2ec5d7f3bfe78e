// The schedules of a kernel that are worth a try: the values of each axis that change its code.
#pragma once

#include <string>
#include <vector>

#include "codegen/lower.h"

namespace mambac {

/// An axis with its values, in their order. Those of coarse axes are tried in all combinations.
struct AxisValues {
  std::string axis;
  std::vector<int> values;
  bool coarse = false;
};

/// For a kernel whose device would choose `heuristic`, whose own values are among them. Library products have the axis
/// of algorithms only, look-ups have none.
std::vector<AxisValues> axes_of(const Graph& fused, int number, const Schedule& heuristic, DeviceKind kind);

/// All legal combinations of the coarse axes, the others as in `heuristic`; without `heuristic` itself.
std::vector<Schedule> coarse_schedules(const Graph& fused, int number, const Schedule& heuristic, DeviceKind kind);

/// The legal schedules that differ from `around` in one axis by one place, and where that alone is illegal in another one,
/// too: those that a search looks at next. All axes count.
std::vector<Schedule> neighbours(const Graph& fused, int number, const Schedule& heuristic, const Schedule& around,
                                 DeviceKind kind);

/// Statements of a kernel's stages when its loops are written out: what a compiler has to look at.
int64_t statements_written_out(const loop::Kernel& kernel);

}  // namespace mambac
