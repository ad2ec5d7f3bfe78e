// Coefficients of the elementary functions, the one table for all emitters. f32, lowest power first.
//
// Each is a minimax fit (Remez exchange in 40-digit arithmetic, coefficients rounded to f32 one after another, the rest
// fitted again). `error` is the largest relative error of the function before rounding of the arithmetic; one f32 ulp
// is 1.2e-7. Argument reductions follow Cody and Waite, Software Manual for the Elementary Functions (1980).
#pragma once

#include <array>

namespace mambac::polynomials {

/// 2^r = 1 + r * P(r) for r in [0, 1]; exact at 0. error 8.3e-8
inline constexpr std::array<float, 5> kExp2 = {0x1.62e4bap-1f, 0x1.ebdb6ap-3f, 0x1.c91c10p-5f, 0x1.277c1cp-7f,
                                               0x1.e96912p-10f};
/// 2^x = 2^floor(x) * kExp2Cells[j] * (f * (f + kExp2Slope) + kExp2Level) with j / 32 <= x - floor(x) < (j + 1) / 32
/// and f = x - floor(x) - j / 32. error 5.3e-8; entries are those of the seven nearest f32 with which the rounded
/// result errs least (2.1e-7), the first gives 1 at 0.
inline constexpr float kExp2Slope = 0x1.6d568ap+1f, kExp2Level = 0x1.078c20p+2f;
inline constexpr std::array<float, 32> kExp2Cells = {
    0x1.f1566ap-3f, 0x1.fc3a54p-3f, 0x1.03ada4p-2f, 0x1.095d5p-2f,  0x1.0f2cdcp-2f, 0x1.151cfap-2f, 0x1.1b2e62p-2f,
    0x1.2161cep-2f, 0x1.27b7fcp-2f, 0x1.2e31bp-2f,  0x1.34cfbp-2f,  0x1.3b92c8p-2f, 0x1.427bc8p-2f, 0x1.498b84p-2f,
    0x1.50c2d6p-2f, 0x1.58229cp-2f, 0x1.5fabb8p-2f, 0x1.675f12p-2f, 0x1.6f3d96p-2f, 0x1.774836p-2f, 0x1.7f7fecp-2f,
    0x1.87e5b2p-2f, 0x1.907a8ap-2f, 0x1.993f7ep-2f, 0x1.a2359ap-2f, 0x1.ab5df2p-2f, 0x1.b4b9ap-2f,  0x1.be49c4p-2f,
    0x1.c80f82p-2f, 0x1.d20c08p-2f, 0x1.dc408ap-2f, 0x1.e6ae4p-2f};
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLog2ELow = 0x1.4ae0c0p-26f;  // log2(e) - kLog2E
/// exp overflows above kExpHighest (ln of the largest f32) and counts as 0 below kExpLowest (ln 2^-126).
inline constexpr float kExpHighest = 0x1.62e42ep+6f;
inline constexpr float kExpLowest = -0x1.5d589ep+6f;

/// log(1 + f) = f - f^2 / 2 + f^3 * P(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1]. error 8.9e-9
inline constexpr std::array<float, 8> kLog = {0x1.555554p-2f,  -0x1.000228p-2f, 0x1.99a036p-3f, -0x1.5470b6p-3f,
                                              0x1.22d374p-3f, -0x1.0d9e5ap-3f, 0x1.059626p-3f, -0x1.385c48p-4f};
/// log(1 + y) = y + y^2 * P(y) for y in [0, 1]. error 3.3e-8
inline constexpr std::array<float, 8> kLog1p = {-0x1.ffff14p-2f, 0x1.5535dep-2f, -0x1.fd1368p-3f, 0x1.884554p-3f,
                                                -0x1.19af8ep-3f, 0x1.44707ap-4f, -0x1.eca398p-6f, 0x1.5fa0dap-8f};
/// ln 2 in two parts, the first short, so that its product with an exponent is exact.
inline constexpr float kLn2High = 0x1.63p-1f;
inline constexpr float kLn2Low = -0x1.bd0106p-13f;

/// sin(r) = r + r^3 * P(r^2) for |r| <= pi/4. error 3.8e-9
inline constexpr std::array<float, 3> kSin = {-0x1.555546p-3f, 0x1.11077ap-7f, -0x1.9954a4p-13f};
/// cos(r) = 1 - r^2 / 2 + r^4 * P(r^2) for |r| <= pi/4. error 1.1e-10
inline constexpr std::array<float, 3> kCos = {0x1.55554ap-5f, -0x1.6c0c1ap-10f, 0x1.99e0eep-16f};
/// pi/2 in three parts; the products of the first two with a quadrant number below 2^13 are exact.
inline constexpr std::array<float, 3> kHalfPi = {0x1.92p+0f, 0x1.fb4p-12f, 0x1.4442d2p-24f};

/// tanh(x) = x + x^3 * P(x^2) for |x| <= kTanhSmall. error 4.2e-9
inline constexpr std::array<float, 5> kTanh = {-0x1.555534p-2f, 0x1.11075ep-3f, -0x1.b842c4p-5f, 0x1.524c40p-6f,
                                               -0x1.767a14p-8f};
inline constexpr float kTanhSmall = 0.625f;

}  // namespace mambac::polynomials
