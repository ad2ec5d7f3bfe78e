// Between generated kernels: rows of tables, their gradients, and copies of matrices in another element type. The text
// stands behind either header; kernels that call these functions are written by runtime/cuda/library_kernels.cpp.

#define MB_LIBRARY_THREADS 256
// Iterations of summed loops that the threads of a block look at before they add what they found.
#define MB_LIBRARY_ROUND 4096

/// A loop: how often it runs, and what one iteration is in elements of each buffer, and in rows of the table.
struct mb_loop { mb_long size, values, index, table, row; };

struct mb_place { mb_long values, index, table, row; };

MB_FN mb_place mb_step(const mb_place& at, const mb_loop& loop, mb_long i) {
  return {at.values + i * loop.values, at.index + i * loop.index, at.table + i * loop.table, at.row + i * loop.row};
}

/// The place of iteration number i of nested loops, the last one innermost.
template <int N>
MB_FN mb_place mb_iteration(const mb_loop (&loops)[N], mb_place at, mb_long i) {
#pragma unroll
  for (int n = N - 1; n > 0; --n) {
    at = mb_step(at, loops[n], i % loops[n].size);
    i /= loops[n].size;
  }
  return mb_step(at, loops[0], i);
}

template <int N>
MB_FN mb_long mb_iterations(const mb_loop (&loops)[N]) {
  mb_long all = loops[0].size;
#pragma unroll
  for (int n = 1; n < N; ++n) all *= loops[n].size;
  return all;
}

/// A block has one iteration of the outer loops and MB_LIBRARY_THREADS of the inner one; `parts`: blocks for an outer
/// iteration.
template <int N, class Table, class Index, class Values>
MB_FN void mb_gather(const Table& table, const Index& index, const Values& values, mb_long rows, mb_long row_stride,
                     mb_long parts, const mb_loop (&outer)[N], const mb_loop& inner) {
  const mb_long i = mb_task() % parts * MB_LIBRARY_THREADS + mb_lane();
  if (i >= inner.size) return;
  const mb_place at = mb_step(mb_iteration(outer, {0, 0, 0, 0}, mb_task() / parts), inner, i);
  const mb_long row = mb_load_int(index, at.index);
  const bool inside = row >= 0 && row < rows;
  mb_store(values, at.values, inside ? mb_load(table, at.table + row * row_stride) : mb_number(0x7fc00000u));
}

/// The sum of what the summed loops from number D on find for one element of a table.
template <int D, int N, class Index, class Values>
MB_FN void mb_scatter_sum(float& sum, const Index& index, const Values& values, const mb_loop (&summed)[N],
                          const mb_place& at) {
  if constexpr (D == N) {
    if (mb_load_int(index, at.index) == at.row) sum += mb_load(values, at.values);
  } else {
    for (mb_long i = 0; i < summed[D].size; ++i)
      mb_scatter_sum<D + 1>(sum, index, values, summed, mb_step(at, summed[D], i));
  }
}

/// As mb_gather; a thread looks at every iteration of the summed loops for its element of the table.
template <int N, int S, class Table, class Index, class Values>
MB_FN void mb_scatter(const Table& table, const Index& index, const Values& values, mb_long parts,
                      const mb_loop (&outer)[N], const mb_loop& inner, const mb_loop (&summed)[S]) {
  const mb_long i = mb_task() % parts * MB_LIBRARY_THREADS + mb_lane();
  if (i >= inner.size) return;
  const mb_place at = mb_step(mb_iteration(outer, {0, 0, 0, 0}, mb_task() / parts), inner, i);
  float sum = 0.f;
  mb_scatter_sum<0>(sum, index, values, summed, at);
  mb_store(table, at.table, sum);
}

/// The same where neither index nor row vary along the inner loop: the threads of a block look for its row together.
template <int N, int S, class Table, class Index, class Values>
MB_FN void mb_scatter_row(const Table& table, const Index& index, const Values& values, mb_long parts,
                          const mb_loop (&outer)[N], const mb_loop& inner, const mb_loop (&summed)[S]) {
  constexpr int each = MB_LIBRARY_ROUND / MB_LIBRARY_THREADS;
  MB_SHARED(int, found, MB_LIBRARY_ROUND + 1);  // iterations of this round in their order; the last: how many
  const mb_long i = mb_task() % parts * MB_LIBRARY_THREADS + mb_lane();
  const mb_place block = mb_iteration(outer, {0, 0, 0, 0}, mb_task() / parts);
  const mb_place element = mb_step(block, inner, i);
  const mb_long all = mb_iterations(summed);
  float sum = 0.f;
  for (mb_long round = 0; round < all; round += MB_LIBRARY_ROUND) {
    const int first = mb_lane() * each;
    unsigned mine = 0u;
    int count = 0;
#pragma unroll
    for (int e = 0; e < each; ++e) {
      const mb_long s = round + first + e;
      if (s < all && mb_load_int(index, mb_iteration(summed, block, s).index) == block.row) mine |= 1u << e, ++count;
    }
    float one = 1.f, counts = (float)count;
    mb_scan_pairs<MB_LIBRARY_THREADS>(one, counts);  // the sum of this and all earlier threads' counts
    int to = (int)counts - count;
    for (int e = 0; e < each; ++e) {
      if ((mine >> e & 1u) != 0u) found[to] = first + e, ++to;
    }
    if (mb_lane() == MB_LIBRARY_THREADS - 1) found[MB_LIBRARY_ROUND] = to;
    __syncthreads();
    const int matches = found[MB_LIBRARY_ROUND];
    if (i < inner.size) {
#pragma unroll 4
      for (int m = 0; m < matches; ++m)
        sum += mb_load(values, mb_iteration(summed, element, round + found[m]).values);
    }
    __syncthreads();
  }
  if (i < inner.size) mb_store(table, element.table, sum);
}

/// Row-major matrices; a block has MB_LIBRARY_THREADS elements of a row, `parts` blocks a row.
template <class From, class To>
MB_FN void mb_convert(const From& from, const To& to, mb_long columns, mb_long from_row, mb_long to_row,
                      mb_long parts) {
  const mb_long i = mb_task() % parts * MB_LIBRARY_THREADS + mb_lane();
  const mb_long row = mb_task() / parts;
  if (i < columns) mb_store(to, row * to_row + i, mb_load(from, row * from_row + i));
}
