#include "runtime/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mambac {
namespace {

constexpr double kWidth = 900, kHeight = 520;
constexpr double kLeft = 70, kRight = 870, kTop = 50, kBottom = 460;
constexpr const char* kTrainColour = "#3b6fb6";
constexpr const char* kValidColour = "#c8452d";

/// Values to label between two ends: 1, 2 or 5 times a power of ten apart, about `wanted` of them.
std::vector<double> ticks_between(double least, double most, int wanted) {
  const double raw = (most - least) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double step = raw / power < 1.5   ? power
                      : raw / power < 3.5 ? 2 * power
                      : raw / power < 7.5 ? 5 * power
                                          : 10 * power;
  std::vector<double> ticks;
  for (double i = std::ceil(least / step - 1e-9); i * step <= most + step * 1e-9; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

/// A moving mean over a fiftieth of the curve to both sides.
std::vector<double> smoothed(const std::vector<CurvePoint>& points) {
  const size_t reach = points.size() / 50;
  std::vector<double> means;
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t left = std::min(reach, i);
    const size_t right = std::min({reach, i, points.size() - 1 - i});  // the steep start is not bent
    double sum = 0;
    for (size_t k = i - left; k <= i + right; ++k) sum += points[k].train_bits_per_byte;
    means.push_back(sum / static_cast<double>(left + right + 1));
  }
  return means;
}

class Picture {
 public:
  Picture(const std::vector<CurvePoint>& points, const std::vector<CurveReference>& references)
      : points_(points), references_(references) {
    const auto see = [&](double value) { least_ = std::min(least_, value), most_ = std::max(most_, value); };
    for (const CurvePoint& point : points) {
      see(std::min(point.train_bits_per_byte,
                   8.5));  // 8 bits is no model at all; a wilder start would flatten the rest
      if (point.valid_bits_per_byte) see(std::min(*point.valid_bits_per_byte, 8.5));
      bytes_ = std::max(bytes_, static_cast<double>(point.bytes));
    }
    for (const CurveReference& reference : references) see(reference.bits_per_byte);
    if (least_ > most_) least_ = 0, most_ = 8;
    least_ = std::floor(least_ * 4 - 0.2) / 4;
    most_ = std::max(least_ + 0.5, std::ceil(most_ * 4) / 4);
  }

  std::string draw(const std::string& title) {
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
        "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#333\">\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n"
        "<text x=\"{2}\" y=\"28\" font-size=\"17\">{3}</text>\n",
        kWidth, kHeight, kLeft, escaped(title));
    axes();
    for (const CurveReference& reference : references_) reference_line(reference);
    train_line();
    valid_points();
    legend();
    return out_ + "</svg>\n";
  }

 private:
  double x_of(double bytes) const { return kLeft + (kRight - kLeft) * bytes / bytes_; }
  double y_of(double bits) const {
    return kBottom - (kBottom - kTop) * (std::clamp(bits, least_, most_) - least_) / (most_ - least_);
  }

  void line(double x1, double y1, double x2, double y2, const char* style) {
    out_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
  }
  void text(double x, double y, const char* anchor, const std::string& content, const std::string& more = "") {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
                        escaped(content));
  }

  void axes() {
    for (const double bits : ticks_between(least_, most_, 8)) {
      line(kLeft, y_of(bits), kRight, y_of(bits), "stroke=\"#e4e4e4\"");
      text(kLeft - 8, y_of(bits) + 4.5, "end", fmt::format("{:.4g}", bits));
    }
    for (const double bytes : ticks_between(0, bytes_, 8)) {
      line(x_of(bytes), kBottom, x_of(bytes), kBottom + 5, "stroke=\"#888\"");
      text(x_of(bytes), kBottom + 21, "middle", tick_text(bytes));
    }
    line(kLeft, kBottom, kRight, kBottom, "stroke=\"#888\"");
    line(kLeft, kTop, kLeft, kBottom, "stroke=\"#888\"");
    text((kLeft + kRight) / 2, kHeight - 14, "middle", "bytes seen");
    const double middle = (kTop + kBottom) / 2;
    text(20, middle, "middle", "bits per byte", fmt::format(" transform=\"rotate(-90 20 {:.1f})\"", middle));
  }

  /// All ticks in one unit: that of the last.
  std::string tick_text(double bytes) const {
    const auto [unit, name] = bytes_ < 1e3   ? std::pair(1.0, "B")
                              : bytes_ < 1e6 ? std::pair(1e3, "kB")
                              : bytes_ < 1e9 ? std::pair(1e6, "MB")
                                             : std::pair(1e9, "GB");
    return bytes == 0 ? "0" : fmt::format("{:g} {}", bytes / unit, name);
  }

  void reference_line(const CurveReference& reference) {
    const double y = y_of(reference.bits_per_byte);
    line(kLeft, y, kRight, y, "stroke=\"#777\" stroke-dasharray=\"6 4\"");
    text(kRight - 4, y - 5, "end", fmt::format("{} {:.3f}", reference.label, reference.bits_per_byte));
  }

  std::string path(const std::vector<std::pair<double, double>>& places) const {
    std::string text;
    for (const auto& [x, y] : places) text += fmt::format("{}{:.1f},{:.1f}", text.empty() ? "" : " ", x, y);
    return text;
  }

  void train_line() {
    const std::vector<double> means = smoothed(points_);
    std::vector<std::pair<double, double>> places;
    for (size_t i = 0; i < points_.size(); ++i)
      places.emplace_back(x_of(static_cast<double>(points_[i].bytes)), y_of(means[i]));
    out_ += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" points=\"{}\"/>\n", kTrainColour,
                        path(places));
  }

  void valid_points() {
    std::vector<std::pair<double, double>> places;
    for (const CurvePoint& point : points_)
      if (point.valid_bits_per_byte)
        places.emplace_back(x_of(static_cast<double>(point.bytes)), y_of(*point.valid_bits_per_byte));
    if (places.empty()) return;
    out_ += fmt::format("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\" points=\"{}\"/>\n", kValidColour,
                        path(places));
    for (const auto& [x, y] : places)
      out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.2\" fill=\"{}\"/>\n", x, y, kValidColour);
  }

  void legend() {
    std::string train = "training", valid;
    if (!points_.empty()) train += fmt::format(" {:.3f}", smoothed(points_).back());
    for (const CurvePoint& point : points_)
      if (point.valid_bits_per_byte) valid = fmt::format("held-out {:.3f}", *point.valid_bits_per_byte);
    line(kRight - 170, kTop + 14, kRight - 140, kTop + 14,
         fmt::format("stroke=\"{}\" stroke-width=\"2\"", kTrainColour).c_str());
    text(kRight - 132, kTop + 18.5, "start", train);
    if (valid.empty()) return;
    line(kRight - 170, kTop + 36, kRight - 140, kTop + 36,
         fmt::format("stroke=\"{}\" stroke-width=\"2\"", kValidColour).c_str());
    text(kRight - 132, kTop + 40.5, "start", valid);
  }

  const std::vector<CurvePoint>& points_;
  const std::vector<CurveReference>& references_;
  double least_ = 1e9, most_ = -1e9, bytes_ = 1;
  std::string out_;
};

}  // namespace

std::string curve_svg(const std::vector<CurvePoint>& points, const std::vector<CurveReference>& references,
                      const std::string& title) {
  return Picture(points, references).draw(title);
}

std::string curve_csv(const std::vector<CurvePoint>& points) {
  std::string out = "step,bytes,seconds,learning_rate,train_bits_per_byte,valid_bits_per_byte\n";
  for (const CurvePoint& point : points)
    out += fmt::format("{},{},{:.3f},{:.6g},{:.6f},{}\n", point.step, point.bytes, point.seconds, point.learning_rate,
                       point.train_bits_per_byte,
                       point.valid_bits_per_byte ? fmt::format("{:.6f}", *point.valid_bits_per_byte) : "");
  return out;
}

}  // namespace mambac
