// The twin of device.cuh for the host: the same vocabulary (codegen/cuda/device_header.h), with every access checked. A
// thread is a fiber of its runtime; whatever goes wrong is handed to mb_runtime::fault, which does not come back.
#define MB_HOT inline __attribute__((always_inline))
#define MB_CHECKED inline __attribute__((noinline))  // an access: inlined, compilation takes half as long again

#define MB_KERNEL(threads, blocks_per_sm) static void
#define MB_IN(T) mb_in<T>
#define MB_OUT(T) mb_out<T>
#define MB_IN_PLACE(T) mb_in<T>
#define MB_OUT_PLACE(T) mb_out<T>
#define MB_SHARED(T, name, count) mb_shared<T, (count)> name(__COUNTER__, #name)
#define MB_LOCAL(T, name, count) mb_local<T, (count)> name(#name)
#define __syncthreads() mb_barrier(__LINE__)

MB_HOT mb_thread* mb_self() { return *(mb_thread**)((mb_word)__builtin_frame_address(0) & ~(mb_stack - 1)); }
MB_HOT int mb_lane() { return mb_self()->number; }
MB_HOT mb_long mb_task() { return mb_self()->task; }

[[noreturn]] inline __attribute__((noinline, cold)) void mb_report(mb_fault_kind kind, const char* name, mb_long index,
                                                                   mb_long count, mb_word other, int line) {
  mb_thread* self = mb_self();
  self->runtime->fault(self, {kind, name, index, count, other & 0xffff, line});
  __builtin_unreachable();
}

// ---- primitives -----------------------------------------------------------------------------------------------------

MB_FN unsigned mb_bits(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
MB_FN float mb_number(unsigned bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
MB_FN float mb_fma(float x, float y, float z) { return x * y + z; }
MB_FN float mb_abs(float x) { return __builtin_fabsf(x); }
MB_FN float mb_max(float x, float y) { return x != x || x > y ? x : y; }
MB_FN float mb_min(float x, float y) { return x != x || x < y ? x : y; }
MB_FN float mb_exp2(float x) { return x < -126.f ? 0.f : __builtin_exp2f(x); }
MB_FN float mb_reciprocal(float x) { return mb_abs(x) > 0x1p126f ? 0.f / x : 1.f / x; }
MB_FN float mb_floor_onto(float x, float big) { return __builtin_floorf(x) + big; }
MB_FN float mb_sqrt(float x) { return __builtin_sqrtf(x); }
MB_FN float mb_rsqrt(float x) { return 1.f / __builtin_sqrtf(x); }
MB_FN float mb_div(float x, float y) { return x / y; }

// ---- element types --------------------------------------------------------------------------------------------------

MB_FN float mb_widen(float x) { return x; }
MB_FN float mb_widen(mb_bf16 x) { return mb_number((unsigned)x.bits << 16); }
MB_FN float mb_widen(int x) { return (float)x; }
MB_FN float mb_widen(unsigned char x) { return (float)x; }
// The exponent and mantissa move into place and the difference of the biases is added, twice for infinities and NaN; a
// denormal number gets the smallest normal exponent, from which 2^-14 is taken away again.
MB_FN float mb_widen(mb_f16 x) {
  const unsigned rest = x.bits & 0x7fffu, normal = (rest << 13) + (112u << 23);
  const float magnitude = rest >= 0x7c00u  ? mb_number(normal + (112u << 23))
                          : rest < 0x400u  ? mb_number(normal + (1u << 23)) - 0x1p-14f
                                           : mb_number(normal);
  return mb_number(mb_bits(magnitude) | (x.bits & 0x8000u) << 16);
}

MB_FN void mb_narrow(float x, float* to) { *to = x; }
MB_FN void mb_narrow(float x, int* to) { *to = (int)x; }
MB_FN void mb_narrow(float x, unsigned char* to) { *to = (unsigned char)(int)x; }
// Half a unit of the last kept place is added (one less when that place is even) and the rest cut.
MB_FN void mb_narrow(float x, mb_bf16* to) {
  const unsigned bits = mb_bits(x), high = bits >> 16;
  to->bits = (unsigned short)(x != x ? high | 0x40u : (bits + 0x7fffu + (high & 1u)) >> 16);
}
// Numbers below the smallest normal one are rounded by adding 1/2, whose last place is that of the denormal ones.
MB_FN void mb_narrow(float x, mb_f16* to) {
  const unsigned a = mb_bits(x) & 0x7fffffffu;
  const unsigned magnitude = a > 0x7f800000u    ? 0x7e00u
                             : a >= 0x477ff000u ? 0x7c00u
                             : a < 0x38800000u  ? mb_bits(mb_number(a) + 0.5f) - 0x3f000000u
                                                : (a + 0xc8000fffu + (a >> 13 & 1u)) >> 13;
  to->bits = (unsigned short)(magnitude | (mb_bits(x) >> 16 & 0x8000u));
}

template <class T>
MB_HOT T mb_narrowed(float x) {
  T to;
  mb_narrow(x, &to);
  return to;
}

// ---- arrays ---------------------------------------------------------------------------------------------------------

template <class T>
struct mb_in {
  using element = T;
  T* data;
  mb_long count;
  mb_shadow* shadows;
  const char* name;
  int units;          // of an element
  mb_long from = 0;   // what indices count from

  MB_HOT void touch(mb_long i, bool writes, int line) const {
    i += from;
    if (__builtin_expect((mb_word)i >= (mb_word)count, 0)) mb_report(mb_fault_outside, name, i, count, 0, line);
    if (__builtin_expect(shadows != nullptr, 0)) {
      mb_thread* self = mb_self();
      self->runtime->global(self, shadows + i * units, units, writes, name, i, line);
    }
  }
  MB_HOT mb_word address(mb_long i) const { return (mb_word)(data + from + i); }
  MB_CHECKED T read(mb_long i, int line) const { return touch(i, false, line), data[from + i]; }
};

template <class T>
struct mb_out : mb_in<T> {
  MB_CHECKED void write(mb_long i, T value, int line) const {
    this->touch(i, true, line), this->data[this->from + i] = value;
  }
};

template <class T>
MB_HOT mb_in<T> operator+(mb_in<T> buffer, mb_long i) { return buffer.from += i, buffer; }
template <class T>
MB_HOT mb_out<T> operator+(mb_out<T> buffer, mb_long i) { return buffer.from += i, buffer; }

/// The number in name[i], with the line that it stands in.
struct mb_index {
  mb_long value;
  int line;
  MB_HOT mb_index(mb_long value_, int line_ = __builtin_LINE()) : value(value_), line(line_) {}
};

template <class A>
struct mb_element {
  using T = typename A::element;
  A& array;
  mb_long i;
  int line;

  MB_HOT operator T() const { return array.read(i, line); }
  MB_HOT T operator=(T value) const { return array.write(i, value, line), value; }
  MB_HOT T operator=(const mb_element& other) const { return *this = (T)other; }
  MB_HOT T operator+=(T value) const { return *this = (T)*this + value; }
  MB_HOT T operator-=(T value) const { return *this = (T)*this - value; }
  MB_HOT T operator*=(T value) const { return *this = (T)*this * value; }
  MB_HOT auto operator&() const { return array + i; }
};

template <class T, int N>
struct mb_shared {
  using element = T;
  mb_thread* self;
  T* data;
  mb_shadow* shadows;
  const char* name;

  mb_shared(int id, const char* name_) : self(mb_self()), name(name_) {
    data = (T*)self->runtime->shared(self, id, name, sizeof(T), N, &shadows);
  }
  MB_HOT mb_word address(mb_long i) const { return (mb_word)(data + i); }

  MB_HOT static bool together(mb_word touched, mb_word key) { return touched != key && (touched ^ key) < mb_one_epoch; }

  MB_HOT void inside(mb_long i, int line) const {
    if (__builtin_expect((mb_word)i >= (mb_word)N, 0)) mb_report(mb_fault_outside, name, i, N, 0, line);
  }
  MB_CHECKED T read(mb_long i, int line) const {
    inside(i, line);
    mb_shadow& shadow = shadows[i];
    const mb_word key = self->key, write = shadow.write, read = shadow.read;
    if (__builtin_expect(write != key, 1)) {
      if (__builtin_expect((write ^ key) < mb_one_epoch, 0))
        mb_report(mb_fault_race_read, name, i, N, write, line);
      if (__builtin_expect(write < self->first, 0)) mb_report(mb_fault_unwritten, name, i, N, 0, line);
    }
    shadow.read = together(read, key) ? key | mb_many : key;
    return data[i];
  }
  MB_HOT mb_shadow& owned(mb_long i, int line) const {
    inside(i, line);
    mb_shadow& shadow = shadows[i];
    const mb_word key = self->key;
    if (__builtin_expect(together(shadow.write, key), 0))
      mb_report(mb_fault_race_write, name, i, N, shadow.write, line);
    if (__builtin_expect(together(shadow.read, key), 0)) mb_report(mb_fault_race_late, name, i, N, shadow.read, line);
    return shadow;
  }
  MB_CHECKED void write(mb_long i, T value, int line) const {
    mb_shadow& shadow = owned(i, line);
    if (__builtin_expect(shadow.write == mb_under_way, 0)) mb_report(mb_fault_copy, name, i, N, 0, line);
    shadow.write = self->key;
    data[i] = value;
  }
  MB_HOT auto operator[](mb_index i) const { return mb_element<const mb_shared>{*this, i.value, i.line}; }
};

/// A thread's own array, or what follows its element `from`.
template <class T>
struct mb_local_part {
  using element = T;
  T* data;
  unsigned char* written;
  mb_long from, count;
  const char* name;

  MB_HOT void inside(mb_long i, int line) const {
    if (__builtin_expect((mb_word)(from + i) >= (mb_word)count, 0))
      mb_report(mb_fault_outside, name, from + i, count, 0, line);
  }
  MB_CHECKED T read(mb_long i, int line) const {
    inside(i, line);
    if (__builtin_expect(!written[from + i], 0)) mb_report(mb_fault_unwritten, name, from + i, count, 0, line);
    return data[from + i];
  }
  MB_CHECKED void write(mb_long i, T value, int line) const {
    inside(i, line);
    written[from + i] = 1;
    data[from + i] = value;
  }
  MB_HOT auto operator[](mb_index i) const { return mb_element<const mb_local_part>{*this, i.value, i.line}; }
  MB_HOT mb_local_part operator+(mb_long i) const { return {data, written, from + i, count, name}; }
};

template <class T, int N>
struct mb_local {
  using element = T;
  T data[N];
  unsigned char written[N] = {};
  const char* name;

  MB_HOT explicit mb_local(const char* name_) : name(name_) {}
  MB_HOT mb_local_part<T> operator+(mb_long i) { return {data, written, i, N, name}; }
  MB_HOT T read(mb_long i, int line) { return (*this + 0).read(i, line); }
  MB_HOT void write(mb_long i, T value, int line) { (*this + 0).write(i, value, line); }
  MB_HOT auto operator[](mb_index i) { return mb_element<mb_local>{*this, i.value, i.line}; }
};

// ---- memory ---------------------------------------------------------------------------------------------------------

template <class P, class I>
MB_HOT float mb_load(const P& p, I i, int line = __builtin_LINE()) { return mb_widen(p.read(i, line)); }

template <class T, int N, class I>
MB_HOT float mb_load(mb_local<T, N>& array, I i, int line = __builtin_LINE()) { return mb_widen(array.read(i, line)); }

template <class A, class I, class P, class J>
MB_HOT void mb_take(A& to, I at, const P& p, J i, int line = __builtin_LINE()) { to.write(at, p.read(i, line), line); }

template <class P, class I>
MB_HOT void mb_prefetch(const P& p, I i, int line = __builtin_LINE()) { p.touch(i, false, line); }

template <class A, class I>
MB_HOT void mb_clear(A& to, I at, int line = __builtin_LINE()) { to.write(at, typename A::element(), line); }

template <class P, class I>
MB_HOT int mb_load_int(const P& p, I i, int line = __builtin_LINE()) { return (int)p.read(i, line); }

template <class P, class I>
MB_HOT void mb_store(const P& p, I i, float value, int line = __builtin_LINE()) {
  p.write(i, mb_narrowed<typename P::element>(value), line);
}

// Values of a thread: a plain array, or an MB_LOCAL one.
MB_HOT float mb_value(const float* from, int i, int) { return from[i]; }
template <class A>
MB_HOT auto mb_value(A& from, int i, int line) -> decltype(from.read(i, line)) { return from.read(i, line); }
MB_HOT void mb_set_value(float* to, int i, float value, int) { to[i] = value; }
template <class A>
MB_HOT auto mb_set_value(A& to, int i, float value, int line) -> decltype(to.write(i, value, line)) {
  to.write(i, value, line);
}

template <class P>
MB_HOT void mb_aligned(const P& p, mb_long i, int bytes, int line) {
  if (__builtin_expect(p.address(i) % (bytes < 16 ? bytes : 16) != 0, 0))
    mb_report(mb_fault_misaligned, p.name, i, bytes < 16 ? bytes : 16, 0, line);
}

template <int C, class Out, class P, class I>
MB_HOT void mb_load_block(Out&& out, const P& p, I i, int line = __builtin_LINE()) {
  mb_aligned(p, i, C * sizeof(typename P::element), line);
  for (int c = 0; c < C; ++c) mb_set_value(out, c, mb_widen(p.read(i + c, line)), line);
}

template <int C, class P, class I, class In>
MB_HOT void mb_store_block(const P& p, I i, In&& in, int line = __builtin_LINE()) {
  mb_aligned(p, i, C * sizeof(typename P::element), line);
  for (int c = 0; c < C; ++c) p.write(i + c, mb_narrowed<typename P::element>(mb_value(in, c, line)), line);
}

template <class T, int N, class I, class P, class J>
void mb_copy_async16(const mb_shared<T, N>& shared, I i, const P& p, J j, int line = __builtin_LINE()) {
  constexpr int elements = 16 / sizeof(T);
  static_assert(sizeof(T) == sizeof(typename P::element), "a copy does not convert");
  mb_aligned(shared, i, 16, line);
  mb_aligned(p, j, 16, line);
  for (int e = 0; e < elements; ++e) {
    p.touch(j + e, false, line);
    mb_shadow& shadow = shared.owned(i + e, line);
    if (shadow.write == mb_under_way) mb_report(mb_fault_copy, shared.name, i + e, N, 0, line);
    shadow.write = mb_under_way;
  }
  shared.self->runtime->copy(shared.self, shared.data + i, p.data + j, shared.shadows + i, elements);
}

inline void mb_copy_commit() { mb_self()->runtime->commit(mb_self()); }

template <int Last>
void mb_copy_wait() { mb_self()->runtime->wait_copies(mb_self(), Last); }

// ---- between threads ------------------------------------------------------------------------------------------------

inline void mb_await_kernels() {}

inline void mb_barrier(int line) {
  mb_thread* self = mb_self();
  self->runtime->wait(self, {"__syncthreads", 0, true, true, line});
}

/// What the threads of a warp, or of the block, gave each other.
struct mb_meeting {
  const mb_thread* first;  // of the block
  int number, side;
  bool block;
  float at(int thread, int value = 0) const { return first[thread].given[block][side][value]; }
};

/// Gives values away and waits until all others have done so.
inline mb_meeting mb_meet(const char* what, int width, bool block, const float* values, int count, int line) {
  mb_thread* self = mb_self();
  if (width > 32 && width != self->threads) mb_report(mb_fault_width, what, self->threads, width, 0, line);
  const int side = self->turn[block] ^= 1;
  for (int k = 0; k < count; ++k) self->given[block][side][k] = values[k];
  self->runtime->wait(self, {what, width, block, false, line});
  return {self - self->number, self->number, side, block};
}

template <bool Sum>
inline float mb_fold(float* v, int count) {
  for (int half = count / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) v[i] = Sum ? v[i] + v[i + half] : mb_max(v[i], v[i + half]);
  return v[0];
}

template <int W, bool Sum>
float mb_folded(const char* what, float value, int line) {
  constexpr int width = W < 32 ? W : 32;
  float v[32];
  const mb_meeting warp = mb_meet(what, W, false, &value, 1, line);
  for (int i = 0; i < width; ++i) v[i] = warp.at(warp.number / width * width + i);
  value = mb_fold<Sum>(v, width);
  if (W <= 32) return value;
  const mb_meeting block = mb_meet(what, W, true, &value, 1, line);
  for (int i = 0; i < W / 32; ++i) v[i] = block.at(i * 32);
  return mb_fold<Sum>(v, W / 32);
}

template <int W>
float mb_sum(float v, int line = __builtin_LINE()) { return mb_folded<W, true>("mb_sum", v, line); }

template <int W>
float mb_amax(float v, int line = __builtin_LINE()) { return mb_folded<W, false>("mb_amax", v, line); }

template <int K, int W, int S = 1, class A>
void mb_reduce_scatter(A& v, int line = __builtin_LINE()) {
  static_assert(K <= W && W * S <= 32, "as many threads as values, within a warp");
  float given[K], sums[W], next[W];
  for (int k = 0; k < K; ++k) given[k] = mb_value(v, k, line);
  const mb_meeting warp = mb_meet("mb_reduce_scatter", W * S, false, given, K, line);
  const int place = warp.number / S % W, first = warp.number - place * S;
  for (int i = 0; i < W; ++i) sums[i] = warp.at(first + i * S, place % K);
  const auto fold = [&](int distance) {
    for (int i = 0; i < W; ++i) next[i] = sums[i] + sums[i ^ distance];
    for (int i = 0; i < W; ++i) sums[i] = next[i];
  };
  for (int distance = K / 2; distance > 0; distance /= 2) fold(distance);
  for (int distance = K; distance < W; distance *= 2) fold(distance);
  mb_set_value(v, 0, sums[place], line);
}

template <int P>
float mb_of_piece(float v, int piece, int line = __builtin_LINE()) {
  const mb_meeting all = mb_meet("mb_of_piece", P, P > 32, &v, 1, line);
  return all.at(all.number / P * P + piece);
}

template <int W>
void mb_scan_pairs(float& a, float& b, int line = __builtin_LINE()) {
  constexpr int width = W < 32 ? W : 32;
  float pair[2] = {a, b};
  const auto before = [&](const mb_meeting& all, int thread) {  // the maps so far come after the one of `thread`
    b = mb_mapped(a, b, all.at(thread, 1));
    a *= all.at(thread, 0);
  };
  const mb_meeting warp = mb_meet("mb_scan_pairs", W, false, pair, 2, line);
  for (int i = warp.number - 1; i >= warp.number / width * width; --i) before(warp, i);
  if (W <= 32) return;
  pair[0] = a, pair[1] = b;
  const mb_meeting block = mb_meet("mb_scan_pairs", W, true, pair, 2, line);
  for (int i = block.number / 32 * 32 - 1; i >= 0; i -= 32) before(block, i);
}

template <int W>
float mb_shift_up(float v, float fill, int line = __builtin_LINE()) {
  const mb_meeting all = mb_meet("mb_shift_up", W, W > 32, &v, 1, line);
  return all.number % W == 0 ? fill : all.at(all.number - 1);
}

// ---- how the runtime calls a kernel ---------------------------------------------------------------------------------

template <int... I>
struct mb_numbers {};
template <int N, int... I>
struct mb_numbers_below : mb_numbers_below<N - 1, N - 1, I...> {};
template <int... I>
struct mb_numbers_below<0, I...> {
  using list = mb_numbers<I...>;
};

constexpr char mb_letter(const float*) { return 'f'; }
constexpr char mb_letter(const mb_bf16*) { return 'b'; }
constexpr char mb_letter(const mb_f16*) { return 'h'; }
constexpr char mb_letter(const int*) { return 'i'; }
constexpr char mb_letter(const unsigned char*) { return 'u'; }

template <class P>
struct mb_parameter;
template <class T>
struct mb_parameter<mb_in<T>> {
  static constexpr char kind = mb_letter((const T*)nullptr);
  static mb_in<T> from(const mb_argument& a) {
    return {(T*)a.data, a.count, a.shadows, a.name, (int)sizeof(T) / a.unit};
  }
};
template <class T>
struct mb_parameter<mb_out<T>> {
  static constexpr char kind = mb_parameter<mb_in<T>>::kind - 'a' + 'A';
  static mb_out<T> from(const mb_argument& a) { return {mb_parameter<mb_in<T>>::from(a)}; }
};
template <>
struct mb_parameter<mb_long> {
  static constexpr char kind = 'n';
  static mb_long from(const mb_argument& a) { return a.count; }
};

template <class... P>
struct mb_signature {
  static constexpr char kinds[] = {mb_parameter<P>::kind..., '\0'};
  template <void (*Kernel)(P...), int... I>
  static void call(const mb_argument* a, mb_numbers<I...>) {
    Kernel(mb_parameter<P>::from(a[I])...);
  }
  template <void (*Kernel)(P...)>
  static void call(const mb_argument* a) {
    call<Kernel>(a, typename mb_numbers_below<sizeof...(P)>::list());
  }
};
template <class... P>
mb_signature<P...> mb_signature_of(void (*)(P...));

#define MB_EMULATED_BEGIN extern "C" const mb_kernel* mb_emulated_kernels() { static const mb_kernel all[] = {
#define MB_EMULATED(name, threads, parameters) \
  {#name, parameters, decltype(mb_signature_of(name))::kinds, threads, decltype(mb_signature_of(name))::call<name>},
#define MB_EMULATED_END {nullptr, nullptr, nullptr, 0, nullptr}}; return all; }
