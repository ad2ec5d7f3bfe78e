#include "runtime/gemm.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "codegen/schedule.h"
#include "ir/error.h"
#include "ir/round_up.h"
#include "runtime/element_type.h"
#include "runtime/task_shares.h"

namespace mambac {
namespace {

constexpr size_t kAlignment = 64;

size_t align_up(size_t bytes) { return round_up(bytes, kAlignment); }
const char* offset(const void* base, int64_t elements, DType dtype) {
  return static_cast<const char*>(base) + elements * static_cast<int64_t>(bytes_of(dtype));
}
char* offset(void* base, int64_t elements, DType dtype) {
  return static_cast<char*>(base) + elements * static_cast<int64_t>(bytes_of(dtype));
}

struct Buffer {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> memory;

  void* reserve(size_t bytes) {
    if (!memory) {
      memory.reset(std::aligned_alloc(kAlignment, align_up(std::max<size_t>(bytes, 1))));
      if (!memory) throw EnvironmentError(fmt::format("out of memory: {} bytes for a matrix product", bytes));
    }
    return memory.get();
  }
};

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

dnnl::stream& stream() {
  static dnnl::stream in_order(engine());
  return in_order;
}

dnnl::memory::data_type library_type(DType dtype) {
  check(dtype == DType::f32 || dtype == DType::bf16, "matrix product: the library gets f32 and bf16 only");
  return dtype == DType::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

/// What a product reads and writes, as the library sees it.
struct Operands {
  dnnl::memory::desc a, b, c;
};

/// Calls visit() with the library's descriptions of a product, one for each of its implementations in its own order,
/// until that returns true.
template <class Visit>
void each_implementation(const Operands& of, bool accumulate, const Visit& visit) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops add;
    add.append_sum(1.0f);
    attributes.set_post_ops(add);
  }
#if DNNL_VERSION_MAJOR >= 3
  dnnl::matmul::primitive_desc description(engine(), of.a, of.b, of.c, attributes);
#else
  const dnnl::matmul::desc product(of.a, of.b, of.c);  // next_impl() reads it again
  dnnl::matmul::primitive_desc description(product, attributes, engine());
#endif
  while (!visit(description) && description.next_impl()) {
  }
}

bool is_reference(const dnnl::matmul::primitive_desc& description) {
  return std::string_view(description.impl_info_str()).starts_with("ref");
}

/// Without AVX-512 it does not; with it, but without instructions for bf16, it converts each operand many times.
bool library_takes_bf16() {
  static const bool takes = [] {
    dnnl::memory::desc square({64, 64}, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::ab);
    bool found = false;
    try {
      each_implementation({square, square, square}, false, [&](const dnnl::matmul::primitive_desc& description) {
        found = !is_reference(description);
        return true;
      });
      return found;
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented)
        throw EnvironmentError(fmt::format("{}: {}", gemm_library(), error.what()));
      return false;
    }
  }();
  return takes;
}

/// Whether a layout has blocks within it, unlike any order of rows and columns.
bool is_blocked(const dnnl::memory::desc& layout) {
#if DNNL_VERSION_MAJOR >= 3
  return layout.get_inner_nblks() > 0;
#else
  return layout.data.format_kind == dnnl_blocked && layout.data.format_desc.blocking.inner_nblks > 0;
#endif
}

/// Sets the number of threads that the library sees: when it makes a primitive, it blocks the loops for that many.
class ThreadsSet {
 public:
  explicit ThreadsSet(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadsSet() { omp_set_num_threads(before_); }
  ThreadsSet(const ThreadsSet&) = delete;
  ThreadsSet& operator=(const ThreadsSet&) = delete;

 private:
  int before_;
};

/// C cut into row_slices x col_slices rectangles of rows x cols (the last ones may be smaller).
struct Grid {
  int64_t rows, cols, row_slices, col_slices;
  bool operator==(const Grid&) const = default;
};

constexpr int64_t kUsualSlice = 256;

/// Slices of about 256 rows cost the library nothing: it blocks for its caches within them. Slices of columns are
/// for products with few rows. The number of slices is a power of two where possible, to share out evenly.
Grid cut(const MatmulShape& s, int64_t per_slice = kUsualSlice) {
  constexpr double kWorthDividing = 1e6;  // multiply-adds; below, waking the threads costs more than it gains
  constexpr int64_t kManyRows = 128, kMostCols = 8 * kUsualSlice;
  Grid whole{s.m, s.n, 1, 1};
  if (s.batch >= 8 || static_cast<double>(s.m) * s.n * s.k < kWorthDividing) return whole;
  auto slices_of = [per_slice](int64_t size) {
    return std::max<int64_t>(2, std::bit_floor(static_cast<uint64_t>(size / per_slice)));
  };
  Grid grid = whole;
  if (s.m >= kManyRows) {
    grid.rows = round_up((s.m + slices_of(s.m) - 1) / slices_of(s.m), 32);
  } else if (s.n >= kManyRows) {
    int64_t slices = slices_of(std::min(s.n, kMostCols));
    grid.cols = round_up((s.n + slices - 1) / slices, 64);
  }
  grid.row_slices = (s.m + grid.rows - 1) / grid.rows;
  grid.col_slices = (s.n + grid.cols - 1) / grid.cols;
  return grid;
}

/// A matrix copied to f32, or from it, without gaps between its rows there.
struct Conversion {
  DType dtype;
  int64_t rows, cols, ld;

  int64_t elements() const { return rows * cols; }
  size_t bytes() const { return align_up(elements() * sizeof(float)); }

  void read(const void* from, void* to) const {
    for_each_row([&](int64_t there, int64_t here) {
      to_f32(element_type_of(dtype), offset(from, there, dtype), cols, static_cast<float*>(to) + here);
    });
  }
  void write(const void* from, void* to) const {
    for_each_row([&](int64_t there, int64_t here) {
      from_f32(static_cast<const float*>(from) + here, cols, element_type_of(dtype), offset(to, there, dtype));
    });
  }

 private:
  template <class Each>
  void for_each_row(Each&& each) const {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) each(row * ld, row * cols);
  }
};

/// What is asked for, and what the library computes: that, or the same with operands converted to f32. B is converted
/// whole, before anything else; A and C slice by slice, where they stay in a cache.
struct Way {
  MatmulShape given, library;

  bool converts_a() const { return given.a != library.a; }
  bool converts_b() const { return given.b != library.b; }
  bool converts_c() const { return given.c != library.c; }
  bool converts() const { return converts_a() || converts_b() || converts_c(); }

  /// Of a slice, which begins at its first element.
  Conversion conversion_of_a(int64_t rows) const {
    return {given.a, given.transpose_a ? given.k : rows, given.transpose_a ? rows : given.k, given.lda};
  }
  /// Of one entry of the batch.
  Conversion conversion_of_b() const {
    return {given.b, given.transpose_b ? given.n : given.k, given.transpose_b ? given.k : given.n, given.ldb};
  }
  Conversion conversion_of_c(int64_t rows, int64_t cols) const { return {given.c, rows, cols, given.ldc}; }
  int64_t different_bs() const { return given.batch_stride_b == 0 ? 1 : given.batch; }
};

Way by_f32(const MatmulShape& given) {
  Way way{given, given};
  way.library.a = way.library.b = way.library.c = DType::f32;
  if (way.converts_b()) {
    const Conversion b = way.conversion_of_b();
    way.library.ldb = b.cols;
    if (given.batch_stride_b != 0) way.library.batch_stride_b = b.elements();
  }
  return way;
}

/// The faster one first.
std::vector<Way> ways_of(const MatmulShape& s) {
  if (s.a == DType::f32 && s.b == DType::f32 && s.c == DType::f32) return {{s, s}};
  const bool taken = s.a == DType::bf16 && s.b == DType::bf16 && s.c != DType::f16 && library_takes_bf16();
  if (!taken) return {by_f32(s)};
  return bf16_native() ? std::vector<Way>{{s, s}} : std::vector<Way>{by_f32(s), {s, s}};
}

/// Whether a slice is computed without gaps between its rows, then copied: for a slice of columns twice as fast.
bool is_compact(const Way& way, const Grid& grid) {
  return way.converts_c() || (grid.col_slices > 1 && !way.given.accumulate);
}

dnnl::memory::desc plain_b(const MatmulShape& s, int64_t cols) {
  using Dims = dnnl::memory::dims;
  return {Dims{s.k, cols}, library_type(s.b), s.transpose_b ? Dims{1, s.ldb} : Dims{s.ldb, 1}};
}

/// Of a slice. B when packed has the layout that the implementation prefers.
Operands operands_of(const Way& way, const Grid& grid, int64_t rows, int64_t cols, bool packed) {
  using Dims = dnnl::memory::dims;
  const MatmulShape& s = way.library;
  const int64_t lda = way.converts_a() ? way.conversion_of_a(rows).cols : s.lda;
  return {{Dims{rows, s.k}, library_type(s.a), s.transpose_a ? Dims{1, lda} : Dims{lda, 1}},
          packed ? dnnl::memory::desc(Dims{s.k, cols}, library_type(s.b), dnnl::memory::format_tag::any)
                 : plain_b(s, cols),
          {Dims{rows, cols}, library_type(s.c), Dims{is_compact(way, grid) ? cols : s.ldc, 1}}};
}

enum class Packing { never, when_faster, always };

/// How a product is computed.
struct Algorithm {
  Way way;
  std::string implementation;  // as the library calls it
  bool packed;                 // slices read a copy of B in the layout that the implementation prefers
  Grid grid;

  std::string name() const {
    return fmt::format("{} {}, {} x {} slices{}", implementation, packed ? "packed" : "plain", grid.row_slices,
                       grid.col_slices, way.converts() ? ", by way of f32" : "");
  }
};

/// Adds those with this grid until there are `enough`.
void add_algorithms(std::vector<Algorithm>& list, size_t enough, const Way& way, const Grid& grid, Packing packing,
                    Partition partition) {
  // Slices of rows share a packed B; without it each of them packs B for itself, piece by piece within its own cache,
  // which for few slices costs less than the way of the whole B through memory.
  constexpr int64_t kSlicesToShare = 4;
  const bool choice = packing == Packing::when_faster;
  const bool best = choice ? partition == Partition::fixed && grid.row_slices >= kSlicesToShare
                           : packing == Packing::always;
  for (const bool packed : {best, !best}) {
    if (list.size() >= enough || (packed != best && !choice)) return;
    const MatmulShape& s = way.library;
    const Operands slice = operands_of(way, grid, std::min(grid.rows, s.m), std::min(grid.cols, s.n), packed);
    each_implementation(slice, s.accumulate, [&](const dnnl::matmul::primitive_desc& description) {
      const bool slow = is_reference(description) && !list.empty();
      const bool no_gain = choice && packed && !is_blocked(description.weights_desc());
      const Algorithm one{way, description.impl_info_str(), packed, grid};
      const bool known = std::ranges::find(list, one.name(), &Algorithm::name) != list.end();
      if (!slow && !no_gain && !known) list.push_back(one);
      return list.size() >= enough;
    });
  }
}

/// The first `enough` of a product's algorithms: with slices of the usual size, of half of it and of twice.
std::vector<Algorithm> algorithms_of(const MatmulShape& s, Packing packing, Partition partition, size_t enough) {
  const bool fixed = partition == Partition::fixed;
  ThreadsSet threads(fixed ? 1 : omp_get_max_threads());
  std::vector<Algorithm> list;
  for (const Way& way : ways_of(s))
    for (const int64_t per_slice : {kUsualSlice, kUsualSlice / 2, kUsualSlice * 2})
      if (list.size() < enough)
        add_algorithms(list, enough, way, fixed ? cut(s, per_slice) : Grid{s.m, s.n, 1, 1}, packing, partition);
  return list;
}

/// A product cut into slices.
class Slices {
 public:
  Slices(const Algorithm& algorithm, Partition partition);

  /// As the first slice is computed.
  std::string algorithm() const {
    return Algorithm{way_, kernels_[variant_of(0, 0)]->description.impl_info_str(), packed_bytes_ > 0, grid_}.name();
  }

  size_t scratch_bytes() const { return scratch_per_thread_ * static_cast<size_t>(tasks_at_once_); }
  const Way& way() const { return way_; }
  /// Of B as the slices read it; 0 when that is as it lies.
  size_t packed_bytes() const { return packed_bytes_; }
  /// `b` is converted, as way() says.
  void pack(const void* b, void* to);
  /// `b` is converted, and packed unless packed_bytes() is 0.
  void run(const void* a, const void* b, void* c, void* scratch);

 private:
  struct Kernel {
    dnnl::matmul::primitive_desc description;
    dnnl::matmul primitive;
  };
  void make_kernels(const Algorithm& algorithm);
  void prepare_packing();
  size_t variant_of(int64_t row_slice, int64_t col_slice) const {
    return (row_slice == grid_.row_slices - 1 ? 1 : 0) + (col_slice == grid_.col_slices - 1 ? 2 : 0);
  }
  int64_t rows_of(int64_t slice) const { return std::min(grid_.rows, way_.library.m - slice * grid_.rows); }
  int64_t cols_of(int64_t slice) const { return std::min(grid_.cols, way_.library.n - slice * grid_.cols); }
  dnnl::memory::desc layout_b(int64_t slice) const {
    return kernels_[slice == grid_.col_slices - 1 ? 3 : 1]->description.weights_desc();
  }
  void run_slice(int64_t index, const void* a, const void* b, void* c, char* scratch);
  void copy_out(const char* from, void* c, int64_t rows, int64_t cols) const;
  size_t compact_bytes() const {
    return compact_c_ ? align_up(grid_.rows * grid_.cols * bytes_of(way_.library.c)) : 0;
  }
  size_t converted_a_bytes() const { return way_.converts_a() ? way_.conversion_of_a(grid_.rows).bytes() : 0; }
  const void* place_of_b(const void* b, int64_t entry, int64_t column) const {
    const MatmulShape& s = way_.library;
    return offset(b, entry * s.batch_stride_b + (s.transpose_b ? column * s.ldb : column), s.b);
  }

  Way way_;
  bool fixed_;
  Grid grid_;
  bool compact_c_;
  int tasks_at_once_;
  std::array<std::optional<Kernel>, 4> kernels_;  // by variant_of: last row slice + 2 * last column slice
  std::vector<dnnl::reorder> packing_;            // of each slice of columns
  std::vector<size_t> packed_at_;                 // where it lies in the packed B
  size_t packed_bytes_ = 0, scratch_per_thread_ = 0;
};

Slices::Slices(const Algorithm& algorithm, Partition partition)
    : way_(algorithm.way),
      fixed_(partition == Partition::fixed),
      grid_(algorithm.grid),
      compact_c_(is_compact(algorithm.way, algorithm.grid)) {
  int64_t tasks = way_.library.batch * grid_.row_slices * grid_.col_slices;
  tasks_at_once_ = fixed_ ? static_cast<int>(std::min<int64_t>(omp_get_max_threads(), tasks)) : 1;
  {
    ThreadsSet threads(fixed_ ? 1 : omp_get_max_threads());
    make_kernels(algorithm);
  }
  if (algorithm.packed) prepare_packing();  // by all threads
  for (const auto& kernel : kernels_)
    if (kernel)
      scratch_per_thread_ = std::max(scratch_per_thread_, align_up(kernel->description.scratchpad_desc().get_size()));
  scratch_per_thread_ += compact_bytes() + converted_a_bytes();
}

void Slices::prepare_packing() {
  for (int64_t slice = 0; slice < grid_.col_slices; ++slice) {
    const dnnl::memory::desc packed = layout_b(slice);
    packing_.emplace_back(
        dnnl::reorder::primitive_desc(engine(), plain_b(way_.library, cols_of(slice)), engine(), packed));
    packed_at_.push_back(packed_bytes_);
    packed_bytes_ += align_up(packed.get_size());
  }
}

/// Slices of other sizes than the first may not have its implementation; they take the library's first then.
void Slices::make_kernels(const Algorithm& algorithm) {
  int64_t last_rows = way_.library.m - (grid_.row_slices - 1) * grid_.rows;
  for (int variant = 0; variant < 4; ++variant) {
    bool last_row = variant & 1, last_col = variant & 2;
    if ((!last_row && grid_.row_slices == 1) || (!last_col && grid_.col_slices == 1)) continue;
    Operands slice = operands_of(way_, grid_, last_row ? last_rows : grid_.rows,
                                 last_col ? cols_of(grid_.col_slices - 1) : grid_.cols, algorithm.packed);
    // All slices of rows read one packed B, so the first of them chooses its layout.
    if (algorithm.packed && last_row && grid_.row_slices > 1)
      slice.b = kernels_[variant - 1]->description.weights_desc();
    std::optional<dnnl::matmul::primitive_desc> chosen;
    each_implementation(slice, way_.library.accumulate, [&](const dnnl::matmul::primitive_desc& description) {
      const bool wanted = description.impl_info_str() == algorithm.implementation;
      if (wanted || !chosen) chosen = description;
      return wanted;
    });
    kernels_[variant] = {*chosen, dnnl::matmul(*chosen)};  // the library caches the code it generates
  }
}

void Slices::pack(const void* b, void* to) {
  for (int64_t slice = 0; slice < grid_.col_slices; ++slice) {
    dnnl::memory from(plain_b(way_.library, cols_of(slice)), engine(),
                      const_cast<void*>(place_of_b(b, 0, slice * grid_.cols)));
    dnnl::memory packed(layout_b(slice), engine(), static_cast<char*>(to) + packed_at_[slice]);
    packing_[slice].execute(stream(), from, packed);
  }
}

void Slices::run(const void* a, const void* b, void* c, void* scratch) {
  int64_t tasks = way_.library.batch * grid_.row_slices * grid_.col_slices;
  char* base = static_cast<char*>(scratch);
  if (!fixed_) {
    for (int64_t task = 0; task < tasks; ++task) run_slice(task, a, b, c, base);
    return;
  }
  int threads = std::min(tasks_at_once_, omp_get_max_threads());
  ThreadsSet one_within_a_slice(1);
  TaskShares shares({&tasks, 1}, threads);
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num();
    char* own = base + scratch_per_thread_ * static_cast<size_t>(thread);
    for (int64_t task, end; shares.take(0, thread, &task, &end, 1);) run_slice(task, a, b, c, own);
  }
}

void Slices::run_slice(int64_t index, const void* a, const void* b, void* c, char* scratch) {
  const MatmulShape& given = way_.given;
  int64_t col_slice = index % grid_.col_slices, rest = index / grid_.col_slices;
  int64_t row_slice = rest % grid_.row_slices, entry = rest / grid_.row_slices;
  int64_t row = row_slice * grid_.rows, col = col_slice * grid_.cols;
  int64_t rows = rows_of(row_slice), cols = cols_of(col_slice);
  Kernel& kernel = *kernels_[variant_of(row_slice, col_slice)];
  const auto& description = kernel.description;
  char* compact_c = scratch;
  char* converted_a = compact_c + compact_bytes();
  char* own_scratch = converted_a + converted_a_bytes();

  const int64_t a_offset = entry * given.batch_stride_a + (given.transpose_a ? row : row * given.lda);
  const void* a_place = offset(a, a_offset, given.a);
  if (way_.converts_a()) way_.conversion_of_a(rows).read(a_place, converted_a);
  dnnl::memory a_slice(description.src_desc(), engine(),
                       way_.converts_a() ? converted_a : const_cast<void*>(a_place));
  void* c_place = offset(c, entry * given.batch_stride_c + row * given.ldc + col, given.c);
  if (compact_c_ && given.accumulate) way_.conversion_of_c(rows, cols).read(c_place, compact_c);
  dnnl::memory c_slice(description.dst_desc(), engine(), compact_c_ ? compact_c : c_place);
  const void* b_place =
      packed_bytes_ > 0 ? static_cast<const char*>(b) + packed_at_[col_slice] : place_of_b(b, entry, col);
  dnnl::memory b_slice(description.weights_desc(), engine(), const_cast<void*>(b_place));
  dnnl::memory pad(description.scratchpad_desc(), engine(), own_scratch);
  kernel.primitive.execute(stream(), {{DNNL_ARG_SRC, a_slice},
                                      {DNNL_ARG_WEIGHTS, b_slice},
                                      {DNNL_ARG_DST, c_slice},
                                      {DNNL_ARG_SCRATCHPAD, pad}});
  if (compact_c_) copy_out(compact_c, c_place, rows, cols);
}

void Slices::copy_out(const char* from, void* c, int64_t rows, int64_t cols) const {
  if (way_.converts_c()) return way_.conversion_of_c(rows, cols).write(from, c);
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(offset(c, row * way_.library.ldc, way_.library.c), from + row * cols * bytes_of(way_.library.c),
                cols * bytes_of(way_.library.c));
  }
}

/// Gives gapless rows where the shape says so and refuses what makes no sense.
MatmulShape completed(MatmulShape s) {
  check(s.batch >= 0 && s.m >= 0 && s.n >= 0 && s.k >= 0, "matrix product of a negative size");
  check(is_float(s.a) && is_float(s.b) && is_float(s.c), "matrix product of a type that is no float");
  int64_t a_cols = s.transpose_a ? s.m : s.k, b_cols = s.transpose_b ? s.k : s.n;
  if (s.lda == 0) s.lda = std::max<int64_t>(a_cols, 1);
  if (s.ldb == 0) s.ldb = std::max<int64_t>(b_cols, 1);
  if (s.ldc == 0) s.ldc = std::max<int64_t>(s.n, 1);
  check(s.lda >= a_cols && s.ldb >= b_cols && s.ldc >= s.n, "matrix product whose rows overlap");
  check(s.batch <= 1 || s.batch_stride_c != 0, "matrix products that all write the same matrix");
  return s;
}

/// What Matmul and PackedMatmul share: sizes of zero, what becomes of B, and the slices.
class Product {
 public:
  /// `keep_b`: B is given to pack() and kept; otherwise to each run.
  Product(const MatmulShape& shape, bool keep_b, Partition partition, int algorithm)
      : shape_(completed(shape)), partition_(partition), keep_b_(keep_b) {
    const bool one_b = shape_.batch <= 1 || shape_.batch_stride_b == 0;
    check(!keep_b || one_b, "a packed B that differs within the batch");
    empty_ = shape_.batch == 0 || shape_.m == 0 || shape_.n == 0 || shape_.k == 0;
    if (empty_) return;
    packing_ = keep_b ? Packing::always : one_b ? Packing::when_faster : Packing::never;
    const auto number = static_cast<size_t>(algorithm);
    try {
      const std::vector<Algorithm> first = algorithms_of(shape_, packing_, partition, number + 1);
      if (number >= first.size()) throw no_such_algorithm(algorithm, gemm_library(), shape_, algorithms());
      slices_.emplace(first[number], partition);
    } catch (const dnnl::error& error) {
      throw EnvironmentError(fmt::format("{} cannot multiply {}: {}", gemm_library(), shape_.str(), error.what()));
    }
  }

  std::vector<std::string> algorithms() const {
    std::vector<std::string> names;
    if (empty_) return names;
    for (const Algorithm& one : algorithms_of(shape_, packing_, partition_, Schedule::kLastAlgorithm + 1))
      names.push_back(one.name());
    return names;
  }
  std::string algorithm() const { return empty_ ? "" : slices_->algorithm(); }

  size_t scratch_bytes() const {
    if (empty_) return 0;
    const size_t bytes = slices_->scratch_bytes();
    return keep_b_ ? bytes : bytes + converted_b_bytes() + slices_->packed_bytes();
  }
  size_t packed_bytes() const { return empty_ ? 0 : slices_->packed_bytes(); }

  void pack(const void* b) {
    if (empty_) return;
    Buffer converted;
    if (slices_->way().converts_b()) b = convert_b(b, converted.reserve(converted_b_bytes()));
    slices_->pack(b, kept_b_.reserve(slices_->packed_bytes()));
  }

  void run(const void* a, const void* b, void* c, void* scratch) {
    if (empty_) return clear(c);
    check(!keep_b_ || kept_b_.memory, "a packed product was run before its B was packed");
    if (scratch == nullptr) scratch = own_scratch_.reserve(scratch_bytes());
    char* free = static_cast<char*>(scratch) + slices_->scratch_bytes();
    if (keep_b_) return slices_->run(a, kept_b_.memory.get(), c, scratch);
    if (slices_->way().converts_b()) {
      b = convert_b(b, free);
      free += converted_b_bytes();
    }
    if (slices_->packed_bytes() > 0) {
      slices_->pack(b, free);
      b = free;
    }
    slices_->run(a, b, c, scratch);
  }

 private:
  size_t converted_b_bytes() const {
    const Way& way = slices_->way();
    if (!way.converts_b()) return 0;
    return align_up(way.different_bs() * way.conversion_of_b().elements() * sizeof(float));
  }
  const void* convert_b(const void* b, void* to) const {
    const Way& way = slices_->way();
    const Conversion one = way.conversion_of_b();
    for (int64_t entry = 0; entry < way.different_bs(); ++entry)
      one.read(offset(b, entry * shape_.batch_stride_b, shape_.b), static_cast<float*>(to) + entry * one.elements());
    return to;
  }
  /// The product over nothing is zero.
  void clear(void* c) const {
    if (shape_.accumulate) return;
    for (int64_t entry = 0; entry < shape_.batch; ++entry) {
      for (int64_t row = 0; row < shape_.m; ++row) {
        std::memset(offset(c, entry * shape_.batch_stride_c + row * shape_.ldc, shape_.c), 0,
                    shape_.n * bytes_of(shape_.c));
      }
    }
  }

  MatmulShape shape_;
  Partition partition_;
  Packing packing_ = Packing::never;
  bool keep_b_, empty_ = false;
  std::optional<Slices> slices_;
  Buffer own_scratch_, kept_b_;
};

}  // namespace

std::string MatmulShape::str() const {
  auto operand = [](DType dtype, bool transposed) {
    return fmt::format("{}{}", name_of(dtype), transposed ? "^T" : "");
  };
  return fmt::format("{} x [{}, {}] {} . [{}, {}] {} -> {}{}", batch, m, k, operand(a, transpose_a), k, n,
                     operand(b, transpose_b), name_of(c), accumulate ? " (added)" : "");
}

struct Matmul::Impl : Product {
  using Product::Product;
};

Matmul::Matmul(const MatmulShape& shape, Partition partition, int algorithm)
    : impl_(std::make_unique<Impl>(shape, false, partition, algorithm)) {}
Matmul::Matmul(Matmul&&) noexcept = default;
Matmul& Matmul::operator=(Matmul&&) noexcept = default;
Matmul::~Matmul() = default;
std::vector<std::string> Matmul::algorithms() const { return impl_->algorithms(); }
std::string Matmul::algorithm() const { return impl_->algorithm(); }
size_t Matmul::scratch_bytes() const { return impl_->scratch_bytes(); }
void Matmul::run(const void* a, const void* b, void* c, void* scratch) { impl_->run(a, b, c, scratch); }

struct PackedMatmul::Impl : Product {
  using Product::Product;
};

PackedMatmul::PackedMatmul(const MatmulShape& shape, Partition partition, int algorithm)
    : impl_(std::make_unique<Impl>(shape, true, partition, algorithm)) {}
PackedMatmul::PackedMatmul(PackedMatmul&&) noexcept = default;
PackedMatmul& PackedMatmul::operator=(PackedMatmul&&) noexcept = default;
PackedMatmul::~PackedMatmul() = default;
std::vector<std::string> PackedMatmul::algorithms() const { return impl_->algorithms(); }
std::string PackedMatmul::algorithm() const { return impl_->algorithm(); }
size_t PackedMatmul::packed_bytes() const { return impl_->packed_bytes(); }
size_t PackedMatmul::scratch_bytes() const { return impl_->scratch_bytes(); }
void PackedMatmul::pack(const void* b) { impl_->pack(b); }
void PackedMatmul::run(const void* a, void* c, void* scratch) { impl_->run(a, nullptr, c, scratch); }

InputError no_such_algorithm(int number, const std::string& library, const MatmulShape& shape,
                             const std::vector<std::string>& algorithms) {
  std::string list;
  for (size_t i = 0; i < algorithms.size(); ++i) list += fmt::format("{}{}: {}", i > 0 ? "; " : "", i, algorithms[i]);
  return InputError(fmt::format("algorithm={}: {} has {} for {}: {}", number, library, algorithms.size(), shape.str(),
                                list));
}

bool bf16_native() {
  const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);  // a bit for each set of instructions
  return library_takes_bf16() && (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

std::string gemm_library() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace mambac
