#include "runtime/cuda/library_kernels.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/cuda/device_header.h"
#include "ir/error.h"

namespace mambac {
namespace {

constexpr int kThreads = 256;  // MB_LIBRARY_THREADS
/// From so many iterations on, threads share the search for those that belong to a row.
constexpr int64_t kManyIterations = 256;

/// mb_loop of codegen/cuda/library.cuh.
struct Loop : TableLoop {
  int64_t row = 0;

  bool continues(const Loop& inner) const {
    return values == inner.values * inner.size && index == inner.index * inner.size &&
           table == inner.table * inner.size && row == inner.row * inner.size;
  }
};
using Loops = std::vector<Loop>;

Loop loop_of(const TableLoop& loop) {
  return {loop, 0};
}

/// The same iterations in the same order by as few loops as possible; at least one.
Loops merged(const Loops& loops) {
  Loops few;
  for (const Loop& loop : loops) {
    if (loop.size == 1) continue;
    if (!few.empty() && few.back().continues(loop)) {
      const int64_t size = few.back().size * loop.size;
      few.back() = loop;
      few.back().size = size;
    } else {
      few.push_back(loop);
    }
  }
  if (few.empty()) few.push_back({});
  return few;
}

int64_t iterations(const Loops& loops) {
  return std::accumulate(loops.begin(), loops.end(), int64_t{1},
                         [](int64_t all, const Loop& loop) { return all * loop.size; });
}

/// Writes a kernel of one function call: its parameters and the call's arguments, in one order.
class KernelText {
 public:
  void buffer(const char* name, const CallOperand& operand, bool written) {
    parameters_.push_back(
        fmt::format("{}({}) {}", written ? "MB_OUT" : "MB_IN", cuda_emit::type_name(operand.dtype), name));
    arguments_.push_back(name);
    symbol_ += fmt::format("_{}", name_of(operand.dtype));
    launch_.buffers.push_back(operand);
  }
  void number(const std::string& name, int64_t value) {
    add_number(name, value);
    arguments_.push_back(name);
  }
  void loop(const std::string& name, const Loop& loop) {
    body_ += fmt::format("  const mb_loop {} = {};\n", name, loop_text(name, loop));
    arguments_.push_back(name);
  }
  void loops(const std::string& name, const Loops& loops) {
    std::vector<std::string> texts;
    for (size_t i = 0; i < loops.size(); ++i) texts.push_back(loop_text(fmt::format("{}{}", name, i), loops[i]));
    body_ += fmt::format("  const mb_loop {}[] = {{{}}};\n", name, fmt::join(texts, ", "));
    arguments_.push_back(name);
    symbol_ += fmt::format("_{}", loops.size());
  }

  LibraryLaunch finish(const std::string& function, int64_t blocks) {
    launch_.symbol = function + symbol_;
    launch_.text =
        fmt::format("{}\nMB_KERNEL({}, 1) {}({}) {{\n{}  mb_{}({});\n}}\n", cuda_library_text(), kThreads,
                    launch_.symbol, fmt::join(parameters_, ", "), body_, function, fmt::join(arguments_, ", "));
    launch_.blocks = blocks;
    launch_.threads = kThreads;
    return std::move(launch_);
  }

 private:
  void add_number(const std::string& name, int64_t value) {
    parameters_.push_back("mb_long " + name);
    launch_.numbers.push_back(value);
  }
  std::string loop_text(const std::string& name, const Loop& loop) {
    std::vector<std::string> fields;
    for (const auto& [field, value] :
         {std::pair("size", loop.size), std::pair("values", loop.values), std::pair("index", loop.index),
          std::pair("table", loop.table), std::pair("row", loop.row)}) {
      fields.push_back(fmt::format("{}_{}", name, field));
      add_number(fields.back(), value);
    }
    return fmt::format("{{{}}}", fmt::join(fields, ", "));
  }

  LibraryLaunch launch_;
  std::vector<std::string> parameters_, arguments_;
  std::string symbol_, body_;
};

/// Takes the innermost loop away from the others, and counts the blocks that the threads of an iteration need.
Loop take_inner(Loops& loops, int64_t& parts) {
  const Loop inner = loops.back();
  loops.pop_back();
  if (loops.empty()) loops.push_back({});
  parts = (inner.size + kThreads - 1) / kThreads;
  return inner;
}

LibraryLaunch gather_launch(const TableLookup& call) {
  Loops outer;
  for (const TableLoop& loop : call.loops) outer.push_back(loop_of(loop));
  outer = merged(outer);
  int64_t parts = 0;
  const Loop inner = take_inner(outer, parts);
  KernelText text;
  text.buffer("table", call.table, false);
  text.buffer("index", call.index, false);
  text.buffer("values", call.values, true);
  text.number("rows", call.rows);
  text.number("row_stride", call.row_stride);
  text.number("parts", parts);
  text.loops("outer", outer);
  text.loop("inner", inner);
  return text.finish("gather", iterations(outer) * parts);
}

/// Loops over the elements of the table, the rows among them, so that neighbouring threads have neighbours.
Loops loops_of_table(const TableLookup& call) {
  Loops kept{{{call.rows, 0, 0, call.row_stride}, 1}};
  for (const TableLoop& loop : call.loops)
    if (loop.table != 0) kept.push_back(loop_of(loop));
  std::ranges::stable_sort(kept, std::ranges::greater(), &Loop::table);
  kept = merged(kept);
  if (iterations(kept) != call.table_elements) throw InternalError("scatter: a dimension of the table has no loop");
  return kept;
}

LibraryLaunch scatter_launch(const TableLookup& call) {
  Loops outer = loops_of_table(call), summed;
  for (const TableLoop& loop : call.loops)
    if (loop.table == 0) summed.push_back(loop_of(loop));
  summed = merged(summed);
  int64_t parts = 0;
  const Loop inner = take_inner(outer, parts);
  const bool together = inner.index == 0 && inner.row == 0 && iterations(summed) >= kManyIterations;
  KernelText text;
  text.buffer("table", call.table, true);
  text.buffer("index", call.index, false);
  text.buffer("values", call.values, false);
  text.number("parts", parts);
  text.loops("outer", outer);
  text.loop("inner", inner);
  text.loops("summed", summed);
  return text.finish(together ? "scatter_row" : "scatter", iterations(outer) * parts);
}

}  // namespace

LibraryLaunch table_launch(const TableLookup& call) {
  return call.gather ? gather_launch(call) : scatter_launch(call);
}

LibraryLaunch convert_launch(const CallOperand& from, const CallOperand& to, int64_t rows, int64_t columns,
                             int64_t from_row, int64_t to_row) {
  const int64_t parts = (columns + kThreads - 1) / kThreads;
  KernelText text;
  text.buffer("from", from, false);
  text.buffer("to", to, true);
  text.number("columns", columns);
  text.number("from_row", from_row);
  text.number("to_row", to_row);
  text.number("parts", parts);
  return text.finish("convert", rows * parts);
}

}  // namespace mambac
