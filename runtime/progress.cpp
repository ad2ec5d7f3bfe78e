#include "runtime/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace mambac {
namespace {

constexpr double kBarInterval = 0.1, kFirstLine = 1, kLineInterval = 10;  // seconds
constexpr int kBarWidth = 24;
constexpr double kMemory = 0.95;  // of the moving means, per report

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string byte_text(double bytes) {
  const char* units[] = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit < 4) bytes /= 1000, ++unit;
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes, bytes < 9.995 ? 2 : bytes < 99.95 ? 1 : 0, units[unit]);
}

Progress::Progress(std::FILE* stream, bool terminal, bool colour)
    : stream_(stream), terminal_(terminal), colour_(colour) {}

Progress Progress::on_stderr() {
  const char* no_colour = std::getenv("NO_COLOR");
  const bool terminal = isatty(STDERR_FILENO) != 0;
  return Progress(stderr, terminal, terminal && !(no_colour && *no_colour));
}

void Progress::update(const ProgressReport& report) {
  if (any_ && report.seconds > latest_.seconds) {
    const double rate = static_cast<double>(report.bytes - latest_.bytes) / (report.seconds - latest_.seconds);
    bytes_per_second_ = bytes_per_second_ > 0 ? kMemory * bytes_per_second_ + (1 - kMemory) * rate : rate;
    smooth_bits_per_byte_ = kMemory * smooth_bits_per_byte_ + (1 - kMemory) * report.bits_per_byte;
  }
  if (!any_) smooth_bits_per_byte_ = report.bits_per_byte, shown_at_ = report.seconds;
  latest_ = report;
  show_when_due();
}

void Progress::update(const CountReport& report) {
  if (!any_) shown_at_ = report.seconds;
  counted_ = fmt::format("{} of {} {}", report.done, report.all, report.pieces);
  latest_.seconds = report.seconds;
  latest_.fraction = static_cast<double>(report.done) / static_cast<double>(std::max<int64_t>(report.all, 1));
  latest_.seconds_left = latest_.fraction > 0 ? report.seconds / latest_.fraction - report.seconds : 0;
  if (report.most_seconds > 0) latest_.seconds_left = std::max(0.0, report.most_seconds - report.seconds);
  show_when_due();
}

void Progress::show_when_due() {
  any_ = true;
  shown_ = false;
  const double interval = terminal_ ? kBarInterval : any_shown_ ? kLineInterval : kFirstLine;
  if (latest_.seconds - shown_at_ >= interval) show();
}

void Progress::note(const std::string& line) {
  fmt::print(stream_, "{}{}\n", terminal_ ? "\r\x1b[K" : "", line);
  if (terminal_ && any_) show();
  std::fflush(stream_);
}

void Progress::finish() {
  if (any_ && !shown_) show();
  if (any_ && terminal_) fmt::print(stream_, "\n");
  std::fflush(stream_);
  any_ = any_shown_ = false;
}

std::string Progress::text() const {
  if (!counted_.empty()) return fmt::format("{}  {} left", counted_, duration_text(latest_.seconds_left));
  return fmt::format("step {}  {:.3f} bits/byte  {}/s  {} left", latest_.step, smooth_bits_per_byte_,
                     byte_text(bytes_per_second_), duration_text(latest_.seconds_left));
}

void Progress::show() {
  any_shown_ = shown_ = true;
  shown_at_ = latest_.seconds;
  const double fraction = std::clamp(latest_.fraction, 0.0, 1.0);
  if (terminal_) {
    const int filled = static_cast<int>(std::lround(fraction * kBarWidth));
    const std::string bar =
        std::string(static_cast<size_t>(filled), '=') + std::string(static_cast<size_t>(kBarWidth - filled), ' ');
    fmt::print(stream_, "\r\x1b[K[{}{}{}] {:3.0f}%  {}", colour_ ? "\x1b[32m" : "", bar, colour_ ? "\x1b[0m" : "",
               fraction * 100, text());
  } else {
    fmt::print(stream_, "{:3.0f}%  {}\n", fraction * 100, text());
  }
  std::fflush(stream_);
}

}  // namespace mambac
