// What a run shows: progress and the learning curve.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "runtime/cpu_device.h"
#include "runtime/curve.h"
#include "runtime/device_array.h"
#include "runtime/memory_use.h"
#include "runtime/progress.h"

namespace mambac {
namespace {

/// Runs the action on a progress that writes into memory; returns what was written.
template <class Action>
std::string shown(bool terminal, bool colour, Action action) {
  char* buffer = nullptr;
  size_t size = 0;
  std::FILE* stream = open_memstream(&buffer, &size);
  Progress progress(stream, terminal, colour);
  action(progress);
  std::fclose(stream);
  const std::string text(buffer, size);
  std::free(buffer);
  return text;
}

void hundred_seconds(Progress& progress) {
  for (int i = 0; i <= 100; ++i) progress.update({i, i / 100.0, i * 2000, static_cast<double>(i), 100.0 - i, 3.0});
  progress.finish();
}

int64_t count(const std::string& text, const std::string& what) {
  int64_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(Progress, PlainLinesAfterASecondAndEveryTenSeconds) {
  const std::string text = shown(false, false, hundred_seconds);
  EXPECT_EQ(count(text, "\n"), 11);  // at 1, 11, ... 91 and at the end
  EXPECT_EQ(count(text, "\x1b"), 0);
  EXPECT_EQ(text.find("  1%  step 1 "), 0u) << text;
  EXPECT_NE(text.find(" 51%  step 51  3.000 bits/byte  2.00 kB/s  0:49 left"), std::string::npos) << text;
}

TEST(Progress, BarOnATerminal) {
  const std::string plain = shown(true, false, hundred_seconds);
  EXPECT_EQ(count(plain, "\r\x1b[K["), 100);
  EXPECT_EQ(count(plain, "\x1b[32m"), 0);
  EXPECT_NE(plain.find("[============            ]  50%"), std::string::npos);
  EXPECT_EQ(count(shown(true, true, hundred_seconds), "\x1b[32m"), 100);
}

TEST(Progress, PiecesAreCounted) {
  const auto thirty = [](Progress& progress) {
    for (int i = 1; i <= 30; ++i) progress.update(CountReport{i, 30, "kernels", static_cast<double>(i)});
    progress.finish();
  };
  const std::string text = shown(false, false, thirty);
  EXPECT_EQ(count(text, "\n"), 4);  // at 2, 12, 22 and 30
  EXPECT_NE(text.find(" 40%  12 of 30 kernels  0:18 left\n"), std::string::npos) << text;
  EXPECT_NE(text.find("100%  30 of 30 kernels  0:00 left\n"), std::string::npos) << text;
  EXPECT_NE(shown(true, false, thirty).find("[============            ]  50%  15 of 30 kernels"), std::string::npos);
}

TEST(Progress, NotesStandAboveTheBar) {
  const std::string text = shown(true, false, [](Progress& progress) {
    progress.update({1, 0.5, 10, 1, 1, 2});
    progress.note("hello");
  });
  EXPECT_NE(text.find("\r\x1b[Khello\n\r\x1b[K["), std::string::npos) << text;
}

TEST(Progress, Texts) {
  EXPECT_EQ(duration_text(7), "0:07");
  EXPECT_EQ(duration_text(754), "12:34");
  EXPECT_EQ(duration_text(10921), "3:02:01");
  EXPECT_EQ(duration_text(-5), "0:00");
  EXPECT_EQ(byte_text(0), "0 B");
  EXPECT_EQ(byte_text(999), "999 B");
  EXPECT_EQ(byte_text(12345), "12.3 kB");
  EXPECT_EQ(byte_text(999999), "1.00 MB");
  EXPECT_EQ(byte_text(4.56e9), "4.56 GB");
}

std::vector<CurvePoint> falling_curve() {
  std::vector<CurvePoint> points;
  for (int i = 1; i <= 200; ++i) {
    CurvePoint point{i, i * 10000, i * 0.5, 1e-3, 2 + 6.0 / i, std::nullopt};
    if (i % 20 == 0) point.valid_bits_per_byte = 2.1 + 6.0 / i;
    points.push_back(point);
  }
  return points;
}

TEST(Curve, SvgHasAxesLinesAndPoints) {
  const std::string svg = curve_svg(falling_curve(), {{"xz -9e", 2.57}}, "small & <fast>");
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_EQ(count(svg, "<circle"), 10);
  EXPECT_EQ(count(svg, "<polyline"), 2);
  EXPECT_NE(svg.find(">bits per byte<"), std::string::npos);
  EXPECT_NE(svg.find(">bytes seen<"), std::string::npos);
  EXPECT_NE(svg.find("xz -9e 2.570"), std::string::npos);
  EXPECT_NE(svg.find("small &amp; &lt;fast&gt;"), std::string::npos);
  EXPECT_NE(svg.find("held-out 2.130"), std::string::npos);
  EXPECT_GE(count(svg, "MB</text>"), 3);
  EXPECT_EQ(count(svg, "nan"), 0);
  EXPECT_EQ(count(svg, "inf"), 0);
}

TEST(Curve, FewPointsAreNoTrouble) {
  EXPECT_EQ(count(curve_svg({}, {}, "empty"), "nan"), 0);
  EXPECT_EQ(count(curve_svg({{1, 100, 1, 1, 3, std::nullopt}}, {}, "one"), "nan"), 0);
}

TEST(Curve, Csv) {
  const std::string csv = curve_csv({{1, 100, 2, 0.001, 3.5, std::nullopt}, {2, 200, 4, 0.002, 3, 3.25}});
  EXPECT_EQ(csv,
            "step,bytes,seconds,learning_rate,train_bits_per_byte,valid_bits_per_byte\n"
            "1,100,2.000,0.001,3.500000,\n"
            "2,200,4.000,0.002,3.000000,3.250000\n");
}

TEST(MemoryUse, SeesWhatIsTouched) {
  const int64_t before = memory_use().anonymous;
  const DeviceArray<float> memory(cpu_device(), int64_t{8} << 20);
  memory.fill([&](float* to) { std::fill_n(to, memory.size(), 1.0f); });
  const MemoryUse after = memory_use();
  EXPECT_GE(after.anonymous - before, int64_t{30} << 20);
  EXPECT_GE(after.peak_resident, after.anonymous);
}

}  // namespace
}  // namespace mambac
