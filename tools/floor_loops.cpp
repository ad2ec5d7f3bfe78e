#include "tools/floor_loops.h"

#include <immintrin.h>

#include "codegen/polynomials.h"

namespace mambac::floors {
namespace {

using namespace polynomials;

// The compiler may not see through these: a value that it must have in a register, and a result that is wanted.
#define MAMBAC_OPAQUE(value) __asm__ volatile("" : "+v"(value))
#define MAMBAC_WANTED(value) __asm__ volatile("" ::"v"(value))

/// How far ahead of the loads lines are asked for.
constexpr size_t kAhead = 2048;

// The three sets differ in the intrinsics only. They are spelled out by one macro because a template that is inlined
// must have been compiled for the same instruction set as its caller.
#define MAMBAC_LOOPS(TARGET, NAME, VECTOR, INTEGERS, LANES, SET, LOAD, STORE, FMA, EXP2, LOAD_INTEGERS, OR)          \
  __attribute__((target(TARGET))) void exponentials_##NAME(int64_t iterations) {                                     \
    VECTOR x = SET(-0.3f), factor = SET(1.25f);                                                                      \
    for (int64_t i = 0; i < iterations; ++i) {                                                                       \
      _Pragma("GCC unroll 12") for (int chain = 0; chain < kChains; ++chain) {                                       \
        MAMBAC_OPAQUE(x);                                                                                            \
        VECTOR power = EXP2(x * factor);                                                                             \
        MAMBAC_WANTED(power);                                                                                        \
      }                                                                                                              \
    }                                                                                                                \
  }                                                                                                                  \
  __attribute__((target(TARGET))) void multiply_adds_##NAME(int64_t iterations) {                                    \
    VECTOR sums[kChains], factor = SET(0.5f), term = SET(0.25f);                                                     \
    _Pragma("GCC unroll 12") for (int chain = 0; chain < kChains; ++chain) sums[chain] = SET(chain);                 \
    for (int64_t i = 0; i < iterations; ++i) {                                                                       \
      _Pragma("GCC unroll 12") for (int chain = 0; chain < kChains; ++chain) {                                       \
        sums[chain] = FMA(sums[chain], factor, term);                                                                \
        MAMBAC_OPAQUE(sums[chain]);                                                                                  \
      }                                                                                                              \
    }                                                                                                                \
  }                                                                                                                  \
  __attribute__((target(TARGET))) void read_##NAME(const char* from, size_t bytes) {                                 \
    constexpr size_t kStep = 8 * sizeof(INTEGERS);                                                                   \
    INTEGERS seen[8] = {};                                                                                           \
    for (size_t at = 0; at < bytes; at += kStep) {                                                                   \
      _Pragma("GCC unroll 8") for (size_t line = 0; line < kStep; line += 64) {                                      \
        _mm_prefetch(from + at + kAhead + line, _MM_HINT_T0);                                                        \
      }                                                                                                              \
      _Pragma("GCC unroll 8") for (int part = 0; part < 8; ++part) {                                                 \
        seen[part] = OR(seen[part], LOAD_INTEGERS(from + at + part * sizeof(INTEGERS)));                             \
      }                                                                                                              \
    }                                                                                                                \
    for (INTEGERS& part : seen) MAMBAC_WANTED(part);                                                                 \
  }                                                                                                                  \
  __attribute__((target(TARGET))) void exp2_##NAME(const float* from, float* to) { STORE(to, EXP2(LOAD(from))); }    \
  }                                                                                                                  \
  const Loops k##NAME##Loops = {LANES, exponentials_##NAME, multiply_adds_##NAME, read_##NAME, exp2_##NAME};         \
  namespace {

// 2^x as kernels compute it with AVX512DQ, seven instructions; see Maths::exp2_avx512. Masks are of all lanes: without
// them GCC 12 warns.
__attribute__((target("avx512f,avx512dq"), always_inline)) inline __m512 exp2_16(__m512 x) {
  constexpr int kMinusFloor = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC, kCells = 5 << 4;
  constexpr float kRounder = 0x1.8p+18f;  // its last place is 1/32
  const __m512 low = _mm512_loadu_ps(kExp2Cells.data()), high = _mm512_loadu_ps(kExp2Cells.data() + 16);
  __m512 f = _mm512_reduce_ps(x, kMinusFloor | kCells);
  __m512 cell = _mm512_mask_add_round_ps(x, 0xffff, x, _mm512_set1_ps(kRounder), kMinusFloor);
  __m512 entry = _mm512_permutex2var_ps(low, _mm512_castps_si512(cell), high);
  __m512 mantissa = entry * _mm512_fmadd_ps(f, f + _mm512_set1_ps(kExp2Slope), _mm512_set1_ps(kExp2Level));
  return _mm512_mask_scalef_ps(mantissa, 0xffff, mantissa, x);
}

// 2^x = 2^floor(x) * (1 + r P(r)) with r = x - floor(x).
__attribute__((target("avx2,fma"), always_inline)) inline __m256 exp2_8(__m256 x) {
  __m256 whole = _mm256_floor_ps(x);
  __m256 r = _mm256_sub_ps(x, whole);
  __m256 p = _mm256_set1_ps(kExp2[4]);
  for (int power = 3; power >= 0; --power) p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExp2[power]));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}

inline __m128 multiply_add_4(__m128 a, __m128 b, __m128 c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }

__attribute__((target("sse4.1"), always_inline)) inline __m128 exp2_4(__m128 x) {
  __m128 whole = _mm_floor_ps(x);
  __m128 r = _mm_sub_ps(x, whole);
  __m128 p = _mm_set1_ps(kExp2[4]);
  for (int power = 3; power >= 0; --power) p = multiply_add_4(p, r, _mm_set1_ps(kExp2[power]));
  p = multiply_add_4(p, r, _mm_set1_ps(1.0f));
  __m128i exponent = _mm_slli_epi32(_mm_cvtps_epi32(whole), 23);
  return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), exponent));
}

#define MAMBAC_LOAD_4(from) _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))
#define MAMBAC_LOAD_8(from) _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))
#define MAMBAC_LOAD_16(from) _mm512_loadu_si512(from)

MAMBAC_LOOPS("sse4.1", Sse, __m128, __m128i, 4, _mm_set1_ps, _mm_loadu_ps, _mm_storeu_ps, multiply_add_4, exp2_4,
             MAMBAC_LOAD_4, _mm_or_si128)
MAMBAC_LOOPS("avx2,fma", Avx2, __m256, __m256i, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
             _mm256_fmadd_ps, exp2_8, MAMBAC_LOAD_8, _mm256_or_si256)
MAMBAC_LOOPS("avx512f,avx512dq", Avx512, __m512, __m512i, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
             _mm512_fmadd_ps, exp2_16, MAMBAC_LOAD_16, _mm512_or_si512)

}  // namespace
}  // namespace mambac::floors
