#include "codegen/schedule.h"

#include <fmt/format.h>

#include <type_traits>

namespace mambac {
namespace {

/// Calls visit(name, axis) for every axis of a schedule.
template <typename AnySchedule, typename Visit>
void each_axis(AnySchedule& s, const Visit& visit) {
  visit("width", s.width);
  visit("tile", s.tile);
  visit("unroll", s.unroll);
  visit("states_in_registers", s.states_in_registers);
  visit("blocks_per_task", s.blocks_per_task);
  visit("ahead", s.ahead);
  visit("interleave", s.interleave);
  visit("pieces", s.pieces);
  visit("time_lanes", s.time_lanes);
  visit("staged", s.staged);
  visit("chunks", s.chunks);
  visit("steps_per_task", s.steps_per_task);
  visit("tiles_ahead", s.tiles_ahead);
  visit("copies_ahead", s.copies_ahead);
  visit("blocks_per_sm", s.blocks_per_sm);
  visit("exp_on_fma", s.exp_on_fma);
  visit("slots_per_task", s.slots_per_task);
  visit("summing_tasks", s.summing_tasks);
  visit("rows_per_task", s.rows_per_task);
  visit("inner_unroll", s.inner_unroll);
  visit("row_unroll", s.row_unroll);
  visit("kept_vectors", s.kept_vectors);
  visit("rows_together", s.rows_together);
  visit("row_blocks", s.row_blocks);
  visit("columns", s.columns);
  visit("teams", s.teams);
  visit("begins_early", s.begins_early);
  visit("algorithm", s.algorithm);
}

}  // namespace

std::vector<std::pair<std::string, int>> Schedule::values() const {
  std::vector<std::pair<std::string, int>> values;
  each_axis(*this, [&](const char* name, auto value) { values.emplace_back(name, static_cast<int>(value)); });
  return values;
}

std::string Schedule::str() const {
  std::string text;
  for (const auto& [name, value] : values()) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, value);
  return text;
}

std::string Schedule::changes_from(const Schedule& other) const {
  std::string text;
  const auto before = other.values(), now = values();
  for (size_t i = 0; i < now.size(); ++i)
    if (now[i] != before[i]) text += fmt::format("{}{}={}", text.empty() ? "" : " ", now[i].first, now[i].second);
  return text;
}

bool Schedule::set(std::string_view axis, int value) {
  bool found = false;
  each_axis(*this, [&](const char* name, auto& place) {
    if (axis != name) return;
    place = static_cast<std::decay_t<decltype(place)>>(value);
    found = true;
  });
  return found;
}

bool Schedule::is_switch(std::string_view axis) {
  bool found = false;
  Schedule schedule;
  each_axis(schedule, [&](const char* name, auto& place) {
    if (axis == name) found = std::is_same_v<decltype(place), bool&>;
  });
  return found;
}

std::vector<std::string> Schedule::axes() {
  std::vector<std::string> names;
  Schedule schedule;
  each_axis(schedule, [&](const char* name, auto&) { names.emplace_back(name); });
  return names;
}

}  // namespace mambac
