// How far long work has come: a bar on a terminal, a plain line now and then in a log.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace mambac {

struct ProgressReport {
  int64_t step = 0;
  double fraction = 0;  // of the whole work, 0 to 1
  int64_t bytes = 0;    // seen so far
  double seconds = 0;   // since the work began, those of earlier runs included
  double seconds_left = 0;
  double bits_per_byte = 0;  // of the latest step
};

/// Of work that is a number of like pieces.
struct CountReport {
  int64_t done = 0, all = 1;
  std::string pieces;  // "kernels"
  double seconds = 0;  // since the work began
  double most_seconds = 0;  // above 0: the work ends then, if not before
};

class Progress {
 public:
  /// On a terminal a bar is drawn anew up to ten times a second; otherwise a line is printed after a second and then
  /// about every ten seconds.
  Progress(std::FILE* stream, bool terminal, bool colour);
  /// Standard error, a bar when it is a terminal, coloured unless the environment has a NO_COLOR that is not empty.
  static Progress on_stderr();

  /// Cheap when it is not yet time to show anything.
  void update(const ProgressReport& report);
  void update(const CountReport& report);
  /// Prints a line of its own, above the bar.
  void note(const std::string& line);
  /// Shows the last report and leaves the bar standing.
  void finish();

 private:
  void show_when_due();
  void show();
  std::string text() const;

  std::FILE* stream_;
  bool terminal_, colour_;
  ProgressReport latest_;
  std::string counted_;  // of the latest CountReport
  bool any_ = false;                 // reports came
  bool any_shown_ = false;           // at least one was shown
  bool shown_ = false;               // the latest was
  double shown_at_ = 0;              // seconds of the report shown last
  double bytes_per_second_ = 0;      // a moving mean
  double smooth_bits_per_byte_ = 0;  // a moving mean
};

/// "0:07", "12:34", "3:02:01"
std::string duration_text(double seconds);
/// "812 B", "12.3 kB", "4.56 MB"
std::string byte_text(double bytes);

}  // namespace mambac
