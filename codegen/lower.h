// Lowering: one fused group of a graph to one kernel in loop IR, under a Schedule.
#pragma once

#include <optional>

#include "codegen/loop_ir.h"
#include "codegen/place.h"
#include "ir/graph.h"

namespace mambac {

/// What a kernel's buffer stands for: the memory of a value of the graph, or a temporary of the kernel's own.
struct KernelBuffer {
  NodeId root{};         // absent: temporary
  loop::Int elements;    // temporary: its size in f32
};

struct LoweredKernel {
  loop::Kernel kernel;
  std::vector<KernelBuffer> buffers;  // as kernel.buffers
};

/// Lowers kernel `number` of a fused graph. The library kernels are not lowered. InternalError when the schedule is
/// illegal for it.
LoweredKernel lower(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule, DeviceKind kind);

/// Whether `chunks` may be more than 1, and `time_lanes`: a walk whose recurrences are scans that are not resumed, none
/// of which feeds another, and which leaves no sum over time or lanes behind.
bool can_chunk(const Graph& fused, int number);

/// The dimension that counts the tiles at whose beginnings states are stored: of a `chunk_starts`, or of an input that
/// stands for one.
DimId tiles_of(const Graph& fused, const Node& states);
/// Steps between them.
int stored_interval(const Graph& fused, const Node& states);

/// How many steps before a step its values are made of: a walk without scans that are not resumed. What lies in memory
/// does not count. `steps_per_task` may be set where there is such a number.
std::optional<int64_t> steps_remembered(const Graph& fused, int number);

/// Whether `states_in_registers` may be set while tasks take several lane blocks: a walk that leaves no sum over lanes
/// behind.
bool can_keep_states_in_registers(const Graph& fused, int number);

/// Whether the schedule's `pieces` may be more than 1: a walk with states in registers, not in chunks, one lane block a
/// task, all of whose recurrences have an inner dimension that the lanes of a channel can share; see walk_pieces.cpp.
bool can_split(const Graph& fused, int number, const Schedule& schedule);

/// Why the lanes of a channel cannot share its time as the schedule says (`time_lanes`); empty when they can: where a
/// walk may go in chunks, with states in registers and one lane block a task; see walk_time.cpp.
std::string why_illegal_time(const Graph& fused, int number, const Schedule& schedule);

/// The largest inner dimension that all recurrences of a walk have; absent when there is none.
DimId shared_dim(const Graph& fused, int number);

/// Why the schedule is illegal for this kernel on such a device; empty when it is legal.
std::string why_illegal(const Graph& fused, int number, const Schedule& schedule, DeviceKind kind);
/// Why it is illegal for every kernel: a bound of an axis.
std::string why_illegal(const Schedule& schedule, DeviceKind kind);

/// What the best schedule depends on of a processor.
struct CpuTraits {
  int width;                   // f32 values in its widest vector
  bool halves_vectors = false;  // an instruction on such a vector takes two cycles of a pipe
};

/// The schedule when nothing better is known for this kernel: on a CPU, and on a GPU, for blocks of threads. A library
/// kernel gets the library's first choice.
Schedule default_schedule(const Graph& fused, int number, const CpuTraits& cpu);
Schedule default_gpu_schedule(const Graph& fused, int number);

}  // namespace mambac
