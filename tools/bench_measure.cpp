#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "ir/trace.h"
#include "tools/bench.h"
#include "tools/roofline.h"

namespace mambac::tools {
namespace {

constexpr double kRoundSeconds = 0.5;
constexpr int kMostRuns = 30;
constexpr double kBatchSeconds = 0.1;  // of runs that follow each other on a GPU
constexpr int kMostBatch = 1000;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Times of all runs and floors of all rounds.
class Measurement {
 public:
  Measurement(PreparedRow& row, Device& device) : row_(row), device_(device) {
    for (const BenchPart& part : row.parts) count_ += part.work.size();
    times_.resize(count_);
    floors_.resize(count_);
    bounds_.resize(count_);
  }

  /// Every kernel by itself. On the CPU nothing lies between them, and together they are a whole run.
  void run_kernels() {
    const trace::Span span("step", "kernel by kernel", ++rounds_);
    const auto begin = Clock::now();
    size_t i = 0;
    for (BenchPart& part : row_.parts)
      for (const KernelTime& time : (**part.compiled).run_timed()) times_[i++].push_back(time.seconds);
    if (device_.memory_is_host()) totals_.push_back(seconds_since(begin));
  }
  /// Runs that follow each other without waiting, as those of training and generation do; one of them.
  double run_whole(int runs) {
    const trace::Span span("step", fmt::format("{} runs", runs));
    device_.synchronize();
    const auto begin = Clock::now();
    for (int i = 0; i < runs; ++i)
      for (BenchPart& part : row_.parts) (**part.compiled).run();
    device_.synchronize();
    return seconds_since(begin) / runs;
  }
  void add_total(double seconds) { totals_.push_back(seconds); }
  double last() const { return totals_.back(); }

  void measure_floors() {
    const trace::Span span("step", "floors");
    Machine machine;  // anew in each round
    double sum = 0;
    size_t i = 0;
    for (const BenchPart& part : row_.parts) {
      for (const KernelWork& work : part.work) {
        const ResourceTime floor = longest(machine.times_of(work));
        sum += floor.seconds;
        floors_[i].push_back(floor.seconds);
        bounds_[i++] = floor.resource;
      }
    }
    row_floors_.push_back(row_.weight_bytes > 0 ? machine.read_seconds(row_.weight_bytes) : sum);
  }

  RowResult result() const {
    const double seconds = median(totals_);
    RowResult result{seconds, static_cast<double>(row_.tokens) / seconds, floor(row_floors_), bound(), {}};
    std::map<std::string, size_t> by_key;
    size_t i = 0;
    for (const BenchPart& part : row_.parts) {
      for (const KernelWork& work : part.work) {
        KernelResult kernel{work.name, bounds_[i], median(times_[i]), floor(floors_[i]), 1};
        ++i;
        add(result.kernels, by_key, work, kernel);
      }
    }
    return result;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  static std::optional<double> floor(const std::vector<double>& measured) {
    return measured.empty() ? std::nullopt : std::optional(median(measured));
  }

  /// Kernels of equal work and name (but for its number) are one line: layers.
  static void add(std::vector<KernelResult>& list, std::map<std::string, size_t>& by_key, const KernelWork& work,
                  const KernelResult& kernel) {
    const std::string plain = work.name.substr(std::min(work.name.find('_') + 1, work.name.size()));
    const std::string key = fmt::format("{} {} {} {} {}", plain, work.flops, work.exponentials, work.bytes_read,
                                        work.bytes_written);
    const auto [entry, fresh] = by_key.emplace(key, list.size());
    if (fresh) return list.push_back(kernel);
    KernelResult& whole = list[entry->second];
    whole.median_s += kernel.median_s;
    if (whole.floor_s) *whole.floor_s += *kernel.floor_s;
    ++whole.count;
  }

  std::string bound() const {
    if (row_floors_.empty()) return "";
    if (row_.weight_bytes > 0) return fmt::format("reading {:.0f} MB of weights", row_.weight_bytes / 1e6);
    std::map<std::string, double> parts;
    double sum = 0;
    for (size_t i = 0; i < count_; ++i) {
      parts[bounds_[i]] += median(floors_[i]);
      sum += median(floors_[i]);
    }
    std::vector<std::pair<double, std::string>> sorted;
    for (const auto& [name, seconds] : parts) sorted.emplace_back(seconds, name);
    std::sort(sorted.rbegin(), sorted.rend());
    std::string text;
    for (const auto& [seconds, name] : sorted)
      if (seconds / sum >= 0.005)
        text += fmt::format("{}{:.0f}% {}", text.empty() ? "" : ", ", 100 * seconds / sum, name);
    return text;
  }

  PreparedRow& row_;
  Device& device_;
  size_t count_ = 0;
  int64_t rounds_ = 0;
  std::vector<double> totals_, row_floors_;
  std::vector<std::vector<double>> times_, floors_;  // by kernel
  std::vector<std::string> bounds_;
};

}  // namespace

RowResult measure(PreparedRow& row, Device& device, int rounds, bool floors) {
  constexpr int kWarm = 3;  // pages are touched, code is loaded, and what can be captured is
  Measurement measurement(row, device);
  for (int i = 0; i < (device.memory_is_host() ? 1 : kWarm); ++i)
    for (BenchPart& part : row.parts) (**part.compiled).run();
  for (int round = 0; round < rounds; ++round) {
    if (device.memory_is_host()) {
      double spent = 0;
      for (int run = 0; run < kMostRuns && (run < 2 || spent < kRoundSeconds); ++run, spent += measurement.last())
        measurement.run_kernels();
    } else {
      const double one = measurement.run_whole(1);
      measurement.add_total(measurement.run_whole(std::clamp(static_cast<int>(kBatchSeconds / one), 1, kMostBatch)));
      measurement.run_kernels();
    }
    if (floors) measurement.measure_floors();
  }
  return measurement.result();
}

}  // namespace mambac::tools
