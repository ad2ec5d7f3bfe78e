// What the device header and its twin for the host have in common: element types and elementary functions. The MB_POLY
// macros come from codegen/polynomials.h, the one table of coefficients.
#if defined(__CUDACC__)
#define MB_FN __device__ __forceinline__
#else
#define MB_FN inline
#endif

typedef long long mb_long;
struct mb_bf16 { unsigned short bits; };
struct mb_f16 { unsigned short bits; };

// Primitives, each defined by the header that follows.
MB_FN unsigned mb_bits(float x);
MB_FN float mb_number(unsigned bits);
MB_FN float mb_fma(float x, float y, float z);        // x * y + z
MB_FN float mb_abs(float x);
MB_FN float mb_max(float x, float y);                 // NaN when one of them is
MB_FN float mb_min(float x, float y);
MB_FN float mb_exp2(float x);                         // 0 below 2^-126
MB_FN float mb_reciprocal(float x);                   // 0 beyond 2^126
MB_FN float mb_floor_onto(float x, float big);        // floor(x) + big, for a big of 2^23 and more
MB_FN float mb_sqrt(float x);
MB_FN float mb_rsqrt(float x);
MB_FN float mb_div(float x, float y);

MB_FN mb_long mb_min_int(mb_long i, mb_long j) { return i < j ? i : j; }
MB_FN mb_long mb_max_int(mb_long i, mb_long j) { return i > j ? i : j; }

#define MB_INFINITY mb_number(0x7f800000u)

// What the map h -> a * h + b, of which a is a product of decays, makes of a state. Of one that is 0 nothing is left where
// the product is beyond f32, nor of any where it is no number: an infinite product times a decay of 0.
MB_FN float mb_mapped(float a, float b, float h) {
  const float left = a * h;
  return left == left ? mb_fma(a, h, b) : mb_fma(h, 0.f, b);
}

// Adding this to |x| < 2^22 leaves the nearest integer in the low bits of the sum.
#define MB_ROUNDER 12582912.f

// Rounding x * log2(e) costs a relative error of |x| * 8e-8, which is nothing where exp(x) is near 1.
MB_FN float mb_exp(float x) { return mb_exp2(x * MB_LOG2E); }

// 2^x without the special-function unit: 12 instructions on the FMA pipes. Below 2^-126: 0.
MB_FN float mb_exp2_poly(float x) {
  const float bias = MB_ROUNDER + 127.f;
  x = mb_max(mb_min(x, 128.f), -127.f);
  const float rounded = mb_floor_onto(x, bias);       // its low bits are the exponent of the result
  const float r = x - (rounded - bias);
  return mb_fma(r, MB_POLY_EXP2(r), 1.f) * mb_number(mb_bits(rounded) << 23);
}

// Of the powers of a loop that is written out one in kEvery comes from the FMA pipes. `step`: a constant there.
template <int kEvery>
MB_FN float mb_exp2_mixed(float x, mb_long step) {
  return step % kEvery == 0 ? mb_exp2_poly(x) : mb_exp2(x);
}

MB_FN float mb_log(float x) {
  const int exponent = (int)(mb_bits(x) - 0x3f3504f3u) >> 23;  // the mantissa lies in [sqrt(1/2), sqrt(2))
  const float f = mb_number(mb_bits(x) - ((unsigned)exponent << 23)) - 1.f;
  const float e = (float)exponent;
  const float square = f * f;
  const float tail = mb_fma(e, MB_LN2_LOW, mb_fma(-0.5f, square, square * f * MB_POLY_LOG(f)));
  const float inner = mb_fma(e, MB_LN2_HIGH, f + tail);
  const float finite = x < 1.17549435e-38f ? (x >= 0.f ? -MB_INFINITY : mb_number(0x7fc00000u)) : inner;
  return x <= 3.40282347e+38f ? finite : x;           // infinity and NaN stay
}

MB_FN float mb_sigmoid(float x) { return mb_reciprocal(1.f + mb_exp(-x)); }

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): the second part is right also where it is tiny.
MB_FN float mb_softplus(float x) {
  const float y = mb_exp(-mb_abs(x));
  return mb_max(x, 0.f) + mb_fma(y * y, MB_POLY_LOG1P(y), y);
}

MB_FN float mb_tanh(float x) {
  const float magnitude = mb_abs(x);
  const float e = mb_exp(-2.f * magnitude);
  const float far = (1.f - e) * mb_reciprocal(1.f + e);
  const float square = x * x;
  const float near = mb_fma(square * x, MB_POLY_TANH(square), x);
  return magnitude < MB_TANH_SMALL ? near : x != x ? x : mb_number(mb_bits(far) | (mb_bits(x) & 0x80000000u));
}

// sin(x + quadrants_ahead * pi / 2), for |x| below some ten thousand.
MB_FN float mb_wave(float x, unsigned quadrants_ahead) {
  const float rounded = mb_fma(x, 0.6366197723675814f, MB_ROUNDER);
  const float n = -(rounded - MB_ROUNDER);
  const float r = mb_fma(n, MB_HALF_PI_2, mb_fma(n, MB_HALF_PI_1, mb_fma(n, MB_HALF_PI_0, x)));
  const unsigned quadrant = mb_bits(rounded) + quadrants_ahead;
  const float square = r * r;
  const float sine = mb_fma(square * r, MB_POLY_SIN(square), r);
  const float cosine = mb_fma(square * square, MB_POLY_COS(square), mb_fma(square, -0.5f, 1.f));
  return mb_number(mb_bits(quadrant & 1u ? cosine : sine) ^ ((quadrant & 2u) << 30));
}

MB_FN float mb_sin(float x) { return mb_wave(x, 0u); }
MB_FN float mb_cos(float x) { return mb_wave(x, 1u); }
