#include "runtime/table_call.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "ir/error.h"

namespace mambac {
namespace {

constexpr uint16_t kNanOfBf16 = 0x7fc0;

float widened(float value) { return value; }
float widened(uint16_t bf16) {
  const uint32_t bits = static_cast<uint32_t>(bf16) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// So many elements that lie so far apart.
template <class T>
struct Elements {
  T* first;
  int64_t stride;
};

template <class To, class From, class Work>
void for_each_pair(const Elements<To>& to, const Elements<From>& from, int64_t count, const Work& work) {
  if (to.stride == 1 && from.stride == 1) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) work(to.first[i], from.first[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) work(to.first[i * to.stride], from.first[i * from.stride]);
  }
}

/// `values` are what is read from or added to the table's rows.
class CpuTableCall : public Call {
 public:
  explicit CpuTableCall(TableLookup call) : call_(std::move(call)) {
    for (const CallOperand& one : {call_.table, call_.values})
      check(one.dtype == DType::f32 || one.dtype == DType::bf16, "a table has f32 or bf16 values");
    if (call_.loops.empty()) call_.loops.push_back({});
    inner_ = call_.loops.back();
    call_.loops.pop_back();
    for (const TableLoop& loop : call_.loops) spans_ *= loop.size;
  }

  void run(void* const* p, void*) override {
    index_at_ = call_.index.in(p);
    values_at_ = call_.values.out(p);
    table_at_ = call_.table.out(p);
    if (call_.gather)
      gather();
    else
      scatter();
  }

 private:
  struct At {
    int64_t values = 0, index = 0, table = 0;
  };

  /// Where a span begins: all that the innermost loop comes to.
  At begin_of(int64_t span) const {
    At at;
    for (size_t i = call_.loops.size(); i-- > 0;) {
      const TableLoop& loop = call_.loops[i];
      const int64_t k = span % loop.size;
      span /= loop.size;
      at = {at.values + k * loop.values, at.index + k * loop.index, at.table + k * loop.table};
    }
    return at;
  }

  int threads_for(int64_t most) const {
    constexpr int64_t kElementsOfThread = 4096;
    const int64_t pays = spans_ * inner_.size / kElementsOfThread;
    return static_cast<int>(std::clamp<int64_t>(std::min(pays, most), 1, omp_get_max_threads()));
  }

  void gather() const {
    const int threads = threads_for(spans_);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t span = 0; span < spans_; ++span) of_span(begin_of(span), 0, inner_.size);
  }

  /// Threads share the innermost loop if the index does not vary along it, so that sums keep their order.
  void scatter() const {
    constexpr int64_t kElementsOfLine = 16;
    const int threads = threads_for(inner_.index == 0 ? inner_.size / kElementsOfLine : 1);
    auto* const table = static_cast<float*>(table_at_);
#pragma omp parallel num_threads(threads)
    {
      const int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
      const auto part = [&](int64_t size) { return std::pair(size * thread / all, size * (thread + 1) / all); };
      const auto [first, last] = part(call_.table_elements);
      std::fill(table + first, table + last, 0.0f);
#pragma omp barrier
      const auto [begin, end] = part(inner_.size);
      for (int64_t span = 0; span < spans_; ++span) of_span(begin_of(span), begin, end);
    }
  }

  int64_t row_at(int64_t index) const {
    return call_.index.dtype == DType::u8 ? static_cast<const uint8_t*>(index_at_)[index]
                                          : static_cast<const int32_t*>(index_at_)[index];
  }

  /// What a span comes to from `begin` to `end`: all of it in one row, or one element after the other.
  void of_span(const At& at, int64_t begin, int64_t end) const {
    const auto of_row = [&](int64_t from, int64_t to, int64_t row) {
      const At here{at.values + from * inner_.values, 0, at.table + from * inner_.table + row * call_.row_stride};
      const bool inside = row >= 0 && row < call_.rows;
      if (call_.gather)
        read(here, to - from, inside);
      else if (inside)
        add(here, to - from);
    };
    if (inner_.index == 0) return of_row(begin, end, row_at(at.index));
    for (int64_t i = begin; i < end; ++i) of_row(i, i + 1, row_at(at.index + i * inner_.index));
  }

  template <class T>
  Elements<T> values(const At& at) const {
    return {static_cast<T*>(values_at_) + at.values, inner_.values};
  }
  template <class T>
  Elements<T> table(const At& at) const {
    return {static_cast<T*>(table_at_) + at.table, inner_.table};
  }

  /// An index out of range reads NaN, which training and generation report, and adds nothing.
  void read(const At& at, int64_t count, bool inside) const {
    const bool wide_values = call_.values.dtype == DType::f32, wide_table = call_.table.dtype == DType::f32;
    if (wide_values)
      wide_table ? read_as<float>(at, count, inside, NAN, [](float x) { return x; })
                 : read_as<uint16_t>(at, count, inside, NAN, [](uint16_t x) { return widened(x); });
    else
      read_as<uint16_t>(at, count, inside, kNanOfBf16, [](uint16_t x) { return x; });
  }
  template <class From, class To, class Convert>
  void read_as(const At& at, int64_t count, bool inside, To outside, const Convert& convert) const {
    const Elements<To> to = values<To>(at);
    if (inside)
      for_each_pair(to, table<const From>(at), count, [&](To& y, From x) { y = convert(x); });
    else
      for (int64_t i = 0; i < count; ++i) to.first[i * to.stride] = outside;
  }

  void add(const At& at, int64_t count) const {
    const auto add_from = [&](const auto& from) {
      for_each_pair(table<float>(at), from, count, [](float& y, auto x) { y += widened(x); });
    };
    if (call_.values.dtype == DType::f32)
      add_from(values<const float>(at));
    else
      add_from(values<const uint16_t>(at));
  }

  TableLookup call_;  // with all loops but the innermost one
  TableLoop inner_;
  int64_t spans_ = 1;
  void *table_at_ = nullptr, *values_at_ = nullptr;
  const void* index_at_ = nullptr;
};

}  // namespace

std::unique_ptr<Call> make_table_call(TableLookup call) { return std::make_unique<CpuTableCall>(std::move(call)); }

}  // namespace mambac
