#include "codegen/cuda/device_header.h"

#include <fmt/format.h>

#include <span>
#include <string>

#include "codegen/cuda/device_texts.h"
#include "codegen/polynomials.h"

namespace mambac {
namespace {

namespace poly = polynomials;

/// A macro in Horner's form: #define MB_POLY_X(x) mb_fma(mb_fma(c2, x, c1), x, c0)
std::string polynomial(const char* name, std::span<const float> coefficients) {
  std::string sum = fmt::format("{:a}f", coefficients.back());
  for (size_t i = coefficients.size() - 1; i-- > 0;) sum = fmt::format("mb_fma({}, x, {:a}f)", sum, coefficients[i]);
  return fmt::format("#define MB_POLY_{}(x) {}\n", name, sum);
}

std::string number(const std::string& name, float value) {
  return fmt::format("#define MB_{} {:a}f\n", name, value);
}

std::string coefficients() {
  std::string text = polynomial("EXP2", poly::kExp2) + polynomial("LOG", poly::kLog) +
                     polynomial("LOG1P", poly::kLog1p) + polynomial("TANH", poly::kTanh) +
                     polynomial("SIN", poly::kSin) + polynomial("COS", poly::kCos);
  text += number("LOG2E", poly::kLog2E) + number("LN2_HIGH", poly::kLn2High) + number("LN2_LOW", poly::kLn2Low) +
          number("TANH_SMALL", poly::kTanhSmall);
  for (size_t i = 0; i < poly::kHalfPi.size(); ++i) text += number("HALF_PI_" + std::to_string(i), poly::kHalfPi[i]);
  return text;
}

}  // namespace

std::string_view cuda_device_header() {
  static const std::string text = coefficients().append(kCommonText).append(kDeviceText);
  return text;
}

std::string_view cuda_emulation_header() {
  static const std::string text = coefficients().append(kCommonText).append(kEmulationAbiText).append(kEmulatedText);
  return text;
}

std::string_view cuda_library_text() {
  return kLibraryText;
}

}  // namespace mambac
