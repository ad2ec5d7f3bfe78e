// Rows of tables and their gradients as kernels, on the emulation device with all accesses compared: the same bytes as
// on the CPU, with one thread or several. Where there is an NVRTC, their texts compile, and nothing spills.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "ir/builder.h"
#include "runtime/cuda/kernel_source.h"
#include "runtime/cuda/libraries.h"
#include "runtime/cuda/library_kernels.h"
#include "runtime/cuda/nvrtc.h"
#include "tests/device_check.h"
#include "tests/nvrtc_support.h"

namespace mambac::test {
namespace {

struct TableCase {
  const char* name;
  int64_t rows, batch, length, width;  // width 1: the table has no other dimension
  DType index = DType::i32, storage = DType::f32;
  bool rows_last = false;  // rows are neighbours in memory
  bool stray = false;      // some indices are no rows
};

void PrintTo(const TableCase& c, std::ostream* out) {
  *out << c.name;
}

struct TableGraph {
  Graph graph;
  Bindings bindings;
  Arrays values;
};

TableGraph make(const TableCase& c, Op op) {
  TableGraph made;
  Graph& g = made.graph;
  Builder b(g);
  const DimId B = g.add_dim("B", 0), L = g.add_dim("L", 0);
  const DimId first = c.rows_last ? g.add_dim("D", c.width) : g.add_dim("V", c.rows);
  const DimId second = c.rows_last ? g.add_dim("V", c.rows) : g.add_dim("D", c.width);
  const DimId V = c.rows_last ? second : first, D = c.rows_last ? first : second;
  const std::vector<DimId> rest = c.width > 1 ? std::vector{D} : std::vector<DimId>{};
  const NodeId index = b.input("index", {c.index, {B, L}});
  if (op == Op::Gather) {
    std::vector<DimId> dims = c.width > 1 ? std::vector{first, second} : std::vector{V};
    const NodeId table = b.param("table", {c.storage, dims}, {"table", {Initialiser::normal, 0, 1}, true});
    g.outputs() = {{"out", b.op(op, {table, index}, {.dims = {V}})}};
  } else {
    std::vector<DimId> dims{B, L};
    dims.insert(dims.end(), rest.begin(), rest.end());
    g.outputs() = {{"out", b.op(op, {index, b.input("x", {c.storage, dims})}, {.dims = {V}})}};
  }
  made.bindings = {{"B", c.batch}, {"L", c.length}};
  const double last = static_cast<double>(c.rows) - 1;
  const Ranges ranges{{"index", {Range::integer, c.stray ? -2.0 : 0.0, c.stray ? last + 2 : last}}};
  made.values = draw_values(g, made.bindings, ranges, 5);
  for (auto& [name, array] : made.values)
    for (double& value : array.data)
      if (name != "index") value = round_to(c.storage, value);
  // One row has more than all others.
  std::vector<double>& indices = made.values.at("index").data;
  for (size_t i = 0; i < indices.size(); i += 3) indices[i] = std::floor(last / 2);
  return made;
}

Arrays run(const TableGraph& made, Device& device) {
  Remarks remarks;
  const Program program(fuse(made.graph, {}, remarks), {}, device);
  return run_on_cpu(program, made.bindings, made.values);
}

void expect_same(const Array& found, const Array& expected) {
  ASSERT_EQ(found.shape, expected.shape);
  for (size_t i = 0; i < found.data.size(); ++i) {
    const double want = expected.data[i];
    ASSERT_TRUE(found.data[i] == want || (std::isnan(found.data[i]) && std::isnan(want)))
        << "element " << i << ": found " << found.data[i] << ", expected " << want;
  }
}

class Tables : public testing::TestWithParam<std::tuple<TableCase, Op>> {};

TEST_P(Tables, GiveTheBytesOfTheCpu) {
  const auto& [c, op] = GetParam();
  const TableGraph made = make(c, op);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Array expected = run(made, cpu_device()).at("out");
  omp_set_num_threads(3);
  const Array shared = run(made, cpu_device()).at("out");
  omp_set_num_threads(threads);
  expect_same(shared, expected);
  expect_same(run(made, emulated_device()).at("out"), expected);
  EXPECT_TRUE(std::ranges::any_of(expected.data, [](double value) { return !std::isnan(value); }));
}

// Searched together from 256 positions on, and in rounds of 4096.
INSTANTIATE_TEST_SUITE_P(
    Shapes, Tables,
    testing::Combine(testing::Values(TableCase{"bytes", 256, 2, 150, 40, DType::u8, DType::bf16},
                                     TableCase{"few", 11, 3, 5, 300}, TableCase{"wide", 6, 2, 40, 1000},
                                     TableCase{"wide_narrow", 6, 2, 40, 1000, DType::i32, DType::bf16, false, true},
                                     TableCase{"rounds", 3, 2, 4500, 5},
                                     TableCase{"one_row", 1, 2, 700, 8}, TableCase{"one_position", 9, 1, 1, 4},
                                     TableCase{"stray", 7, 2, 40, 3, DType::i32, DType::f32, false, true},
                                     TableCase{"stray_together", 7, 2, 400, 3, DType::i32, DType::f32, false, true},
                                     TableCase{"scalars", 6, 2, 300, 1}, TableCase{"few_scalars", 700, 2, 30, 1},
                                     TableCase{"rows_last", 300, 2, 50, 6, DType::i32, DType::f32, true},
                                     TableCase{"rows_last_long", 10, 2, 300, 6, DType::i32, DType::f32, true}),
                     testing::Values(Op::Gather, Op::Scatter)),
    [](const auto& info) {
      return fmt::format("{}_{}", std::get<1>(info.param) == Op::Gather ? "gather" : "scatter",
                         std::get<0>(info.param).name);
    });

CallOperand operand(DType dtype, size_t pointer) {
  return {pointer, 0, dtype, 1 << 20};
}

std::vector<LibraryLaunch> launches_of_every_kind() {
  std::vector<LibraryLaunch> launches;
  for (const DType storage : {DType::f32, DType::bf16, DType::f16}) {
    TableLookup lookup;
    lookup.loops = {{8, 0, 8192, 0}, {8192, 1024, 1, 0}, {1024, 1, 0, 1}};
    lookup.rows = 256;
    lookup.row_stride = 1024;
    lookup.table_elements = 256 * 1024;
    lookup.table = operand(storage, 0);
    lookup.index = operand(storage == DType::f32 ? DType::i32 : DType::u8, 1);
    lookup.values = operand(storage, 2);
    launches.push_back(table_launch(lookup));
    lookup.gather = false;
    lookup.table.dtype = DType::f32;
    launches.push_back(table_launch(lookup));
    lookup.loops[0].size = 1;
    lookup.loops[1].size = 10;
    launches.push_back(table_launch(lookup));
    launches.push_back(convert_launch(operand(storage, 0), operand(DType::f32, 1), 64, 64, 64, 64));
    launches.push_back(convert_launch(operand(DType::f32, 0), operand(storage, 1), 64, 64, 64, 64));
  }
  return launches;
}

TEST(LibraryKernels, CompileAndUseNoLocalMemory) {
  if (const std::string reason = test::without_nvrtc(); !reason.empty()) GTEST_SKIP() << reason;
  const cuda::Nvrtc& nvrtc = cuda::Nvrtc::instance();
  for (const LibraryLaunch& launch : launches_of_every_kind())
    for (const int architecture : {nvrtc.architectures().front(), nvrtc.architectures().back()}) {
      const cuda::Compilation made =
          nvrtc.compile(cuda::request_for(launch.symbol, launch.text, fmt::format("sm_{}", architecture)));
      ASSERT_EQ(made.kernels.size(), 1u) << launch.symbol;
      EXPECT_EQ(made.kernels[0].name, launch.symbol);
      EXPECT_EQ(made.kernels[0].stack, 0) << launch.symbol << " on sm_" << architecture;
    }
}

TEST(LibraryKernels, EqualCallsHaveEqualTexts) {
  const std::vector<LibraryLaunch> once = launches_of_every_kind(), again = launches_of_every_kind();
  std::map<std::string, std::string> texts;
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].text, again[i].text);
    const auto [entry, fresh] = texts.emplace(once[i].symbol, once[i].text);
    EXPECT_EQ(entry->second, once[i].text) << "two kernels are called " << once[i].symbol;
  }
  EXPECT_GT(texts.size(), 10u);
}

}  // namespace
}  // namespace mambac::test
