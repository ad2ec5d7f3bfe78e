// Work that is measured against what the machine allows.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/compile.h"
#include "tools/kernel_work.h"
#include "tools/port_memory.h"
#include "tools/schedule_option.h"

namespace mambac::tools {

/// An executable of a row with the work of each of its kernels.
struct BenchPart {
  std::unique_ptr<Compiled> compiled;
  std::vector<KernelWork> work;
};

/// A row, compiled and bound.
struct PreparedRow {
  std::vector<BenchPart> parts;  // run one after another
  PortMemory memory;
  int64_t tokens = 0;            // of a run
  double weight_bytes = 0;  // above 0: the row's floor is reading so many bytes, not the sum over its kernels
};

/// Where rows run, and what is changed of its schedules.
struct BenchTarget {
  Target target;
  const ScheduleSettings& settings;
};

struct BenchRow {
  std::string name;
  std::string work;      // in words
  double at_most = 0;    // the ratio that the row should not exceed without AMX; 0: none is set
  double at_most_amx = 0;
  std::function<PreparedRow(const BenchTarget&)> prepare;
};

/// The fixed ones: those with a limit are for CPUs, the others for GPUs.
const std::vector<BenchRow>& bench_rows();

/// A graph of a model at given sizes (free dimensions that are not among them are 1), without the optimiser.
BenchRow model_row(const std::string& name, const Selection& selection, GraphKind kind, DType storage);

struct KernelResult {
  std::string name;
  std::string bound;  // "product", "exponentials", "multiply-adds", "bytes"
  double median_s = 0;
  std::optional<double> floor_s;  // nothing where floors are not measured
  int count = 1;  // kernels with this name and work
};

struct RowResult {
  double median_s = 0;  // of whole runs
  double tokens_per_second = 0;
  std::optional<double> floor_s;
  std::string bound;    // what the floor consists of: "62% product, 38% exponentials"
  std::vector<KernelResult> kernels;
};

/// Runs the row and measures its floors by turns, `rounds` times; all figures are medians. The floors are those of this
/// machine's processors; without `floors` only the row is measured.
RowResult measure(PreparedRow& row, Device& device, int rounds, bool floors);

}  // namespace mambac::tools
