// The learning curve of a training run, as a picture and as a table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mambac {

/// A place on the curve. The training figure is the mean over the steps since the point before.
struct CurvePoint {
  int64_t step = 0;
  int64_t bytes = 0;   // seen so far
  double seconds = 0;  // of training so far
  double learning_rate = 0;
  double train_bits_per_byte = 0;
  std::optional<double> valid_bits_per_byte;
};

/// A horizontal line to compare with, such as what a compressor needs for the same text.
struct CurveReference {
  std::string label;
  double bits_per_byte = 0;
};

/// An SVG picture of 900 by 520: bits per byte over bytes seen; training smoothed, held-out data as points.
std::string curve_svg(const std::vector<CurvePoint>& points, const std::vector<CurveReference>& references,
                      const std::string& title);

/// "step,bytes,seconds,learning_rate,train_bits_per_byte,valid_bits_per_byte", the last empty where not measured.
std::string curve_csv(const std::vector<CurvePoint>& points);

}  // namespace mambac
