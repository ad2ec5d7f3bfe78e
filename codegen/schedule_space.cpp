#include "codegen/schedule_space.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "passes/fuse.h"

namespace mambac {
namespace {

using Axes = std::vector<AxisValues>;

const Axes& cpu_walk_axes() {
  static const Axes axes = {
      {"states_in_registers", {0, 1}, true},
      {"tile", {1, 2, 4, 8, 16, 32}, true},
      {"blocks_per_task", {1, 2, 4, 8, 16, 32, 48, 64, 96}, true},
      {"interleave", {0, 8, 12, 16}, true},
      {"chunks", {1, 2, 4, 8}, false},
      {"unroll", {1, 2, 4, 8, 16}, false},
      {"ahead", {0, 1, 2}, false},
      {"staged", {0, 1}, false},
      {"steps_per_task", {0, 64, 128, 256, 512, 1024}, false},
      {"width", {4, 8, 16}, false},
  };
  return axes;
}

const Axes& cpu_rows_axes() {
  static const Axes axes = {
      {"rows_per_task", {1, 2, 4, 8, 16, 32, 64, 128, 256}, true},
      {"rows_together", {1, 2, 4, 8}, true},
      {"row_unroll", {1, 2, 4, 8}, true},
      {"kept_vectors", {0, 1}, false},
      {"row_blocks", {1, 2, 4, 8, 16, 32, 64}, false},
      {"inner_unroll", {1, 2, 4, 8}, false},
      {"summing_tasks", {2, 4, 8, 16, 32}, false},
      {"ahead", {0, 1, 2}, false},
      {"interleave", {0, 8, 12}, false},
      {"width", {4, 8, 16}, false},
  };
  return axes;
}

const Axes& gpu_walk_axes() {
  static const Axes axes = {
      {"width", {32, 64, 128, 256}, true},
      {"pieces", {1, 2, 4, 8}, true},
      {"blocks_per_sm", {1, 2, 4}, true},
      {"tiles_ahead", {0, 1, 2, 3}, false},
      {"tile", {1, 2, 4, 8, 16}, false},
      {"staged", {0, 1}, false},
      {"copies_ahead", {0, 1, 2}, false},
      {"exp_on_fma", {0, 4, 8}, false},
      {"unroll", {1, 2, 4, 8, 16}, false},
      {"steps_per_task", {0, 64, 128, 256, 512, 1024}, false},
      {"slots_per_task", {8, 16, 32, 64}, false},
      {"chunks", {1, 2, 4, 8, 16}, false},
      {"time_lanes", {1, 8, 32}, false},
  };
  return axes;
}

const Axes& gpu_rows_axes() {
  static const Axes axes = {
      {"width", {32, 64, 128, 256, 512}, true},
      {"columns", {1, 2, 4, 8}, true},
      {"blocks_per_sm", {1, 2, 4, 8}, false},
      {"rows_per_task", {1, 2, 4, 8, 16}, false},
      {"rows_together", {1, 2, 4}, false},
      {"row_unroll", {1, 2, 4, 8, 16}, false},
      {"inner_unroll", {1, 4, 8, 16, 32, 64}, false},
      {"kept_vectors", {0, 16, 32, 64, 128}, false},
      {"teams", {1, 2, 4, 8, 16}, false},
      {"summing_tasks", {128, 256, 512, 1024, 2048}, false},
      {"slots_per_task", {8, 16, 32, 64}, false},
  };
  return axes;
}

/// Every number that there may be: how many there are is known when sizes are.
Axes library_axes() {
  AxisValues algorithms{"algorithm", std::vector<int>(Schedule::kLastAlgorithm + 1), true};
  std::iota(algorithms.values.begin(), algorithms.values.end(), 0);
  return {algorithms};
}

int value_of(const Schedule& schedule, const std::string& axis) {
  for (const auto& [name, value] : schedule.values())
    if (name == axis) return value;
  throw InternalError("schedule_space: there is no axis " + axis);
}

Schedule with(Schedule schedule, const std::string& axis, int value) {
  schedule.set(axis, value);
  return schedule;
}

/// Schedules that were not seen before and are legal.
class Collection {
 public:
  Collection(const Graph& fused, int number, DeviceKind kind) : fused_(fused), number_(number), kind_(kind) {}

  void see(const Schedule& schedule) { seen_.insert(schedule.str()); }
  void add(const Schedule& schedule) {
    if (!seen_.insert(schedule.str()).second) return;
    if (why_illegal(fused_, number_, schedule, kind_).empty()) found.push_back(schedule);
  }

  std::vector<Schedule> found;

 private:
  const Graph& fused_;
  const int number_;
  const DeviceKind kind_;
  std::set<std::string> seen_;
};

/// The value so many places further among the axis's; nothing beyond its ends.
std::optional<int> moved(const AxisValues& axis, int value, int places) {
  const auto at = std::ranges::find(axis.values, value) - axis.values.begin() + places;
  if (at < 0 || at >= static_cast<int64_t>(axis.values.size())) return std::nullopt;
  return axis.values[static_cast<size_t>(at)];
}

int64_t statements(const loop::Block& block) {
  int64_t all = 0;
  for (const loop::Stmt& s : block) {
    int64_t times = 1, begin = 0, end = 0;
    if (s.unroll && loop::is_constant(s.begin, &begin) && loop::is_constant(s.end, &end))
      times = std::max<int64_t>(0, (end - begin + s.step - 1) / s.step);
    all += 1 + times * statements(s.body) + statements(s.otherwise);
  }
  return all;
}

}  // namespace

std::vector<AxisValues> axes_of(const Graph& fused, int number, const Schedule& heuristic, DeviceKind kind) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (group.kind == KernelGroup::library)
    return is_library_product(fused, number) ? library_axes() : Axes{};
  const bool walk = group.kind == KernelGroup::walk, gpu = kind == DeviceKind::gpu;
  std::vector<AxisValues> axes = gpu ? (walk ? gpu_walk_axes() : gpu_rows_axes())
                                     : (walk ? cpu_walk_axes() : cpu_rows_axes());
  for (AxisValues& axis : axes) {
    const int own = value_of(heuristic, axis.axis);
    if (!std::ranges::count(axis.values, own)) axis.values.push_back(own);
    std::ranges::sort(axis.values);
    // Vectors wider than those of the processor are several registers each, and never were the best.
    if (axis.axis == "width" && !gpu) std::erase_if(axis.values, [&](int width) { return width > heuristic.width; });
  }
  return axes;
}

std::vector<Schedule> coarse_schedules(const Graph& fused, int number, const Schedule& heuristic, DeviceKind kind) {
  Collection all(fused, number, kind);
  std::vector<Schedule> partial{heuristic};
  for (const AxisValues& axis : axes_of(fused, number, heuristic, kind)) {
    if (!axis.coarse) continue;
    std::vector<Schedule> more;
    for (const Schedule& schedule : partial)
      for (const int value : axis.values) more.push_back(with(schedule, axis.axis, value));
    partial = std::move(more);
  }
  all.see(heuristic);
  for (const Schedule& schedule : partial) all.add(schedule);
  return std::move(all.found);
}

std::vector<Schedule> neighbours(const Graph& fused, int number, const Schedule& heuristic, const Schedule& around,
                                 DeviceKind kind) {
  const std::vector<AxisValues> axes = axes_of(fused, number, heuristic, kind);
  Collection all(fused, number, kind);
  all.see(around);
  std::vector<Schedule> near;
  for (const AxisValues& axis : axes)
    for (const int places : {1, -1})
      if (const auto value = moved(axis, value_of(around, axis.axis), places))
        near.push_back(with(around, axis.axis, *value));
  for (const Schedule& schedule : near) all.add(schedule);
  // What is legal only together: one axis moves another.
  for (const Schedule& schedule : near)
    if (!why_illegal(fused, number, schedule, kind).empty())
      for (const AxisValues& axis : axes)
        for (const int places : {1, -1})
          if (const auto value = moved(axis, value_of(schedule, axis.axis), places))
            all.add(with(schedule, axis.axis, *value));
  return std::move(all.found);
}

int64_t statements_written_out(const loop::Kernel& kernel) {
  int64_t all = 0;
  for (const loop::Stage& stage : kernel.stages) all += statements(stage.body);
  return all;
}

}  // namespace mambac
