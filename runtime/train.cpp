#include "runtime/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <tuple>

#include "ir/error.h"
#include "ir/trace.h"
#include "runtime/atomic_file.h"
#include "runtime/held_out.h"
#include "runtime/interrupt.h"
#include "runtime/optimiser.h"

namespace mambac {
namespace {

constexpr uint64_t kDataStream = 1;  // of the random numbers; initial values have streams by name
constexpr int64_t kCurvePoints = 1000;
constexpr int64_t kResultPoints = 10;

class Run {
 public:
  explicit Run(const TrainingJob& job)
      : job_(job), optimiser_(job_.settings, job.layout, job.graphs), rng_(job.settings.seed, kDataStream) {
    job.data.set_window(optimiser_.length() + 1);
    if (job.valid) {
      check(job.graphs.valid, "train: held-out data needs the graph `valid`");
      job.layout.bind(*job.graphs.valid, optimiser_.arrays().values);
      held_out_.emplace(*job.graphs.valid, *job.valid, job.settings.valid_windows);
    }
    begin();
  }

  TrainingResult go() {
    const InterruptGuard interrupt;
    while (!finished() && !interrupt.signal()) {
      step();
      if (part(job_.settings.evaluations) > evaluations_done_ ||
          seconds() - checkpoint_at_ > job_.settings.checkpoint_minutes * 60) {
        evaluate();
        checkpoint();
      } else if (part(kCurvePoints) > points_done_) {
        add_point(std::nullopt);
      }
    }
    if (!interrupt.signal() && !evaluated()) evaluate();
    checkpoint();
    if (job_.progress) job_.progress->finish();
    return result(interrupt.signal());
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// Training time so far, earlier runs included.
  double seconds() const { return seconds_before_ + std::chrono::duration<double>(Clock::now() - started_).count(); }
  double limit() const { return job_.settings.minutes * 60; }

  double fraction() const {
    const TrainSettings& settings = job_.settings;
    return settings.steps > 0 ? static_cast<double>(record_.step) / static_cast<double>(settings.steps)
                              : record_.seconds / limit();
  }
  /// How many of `parts` equal parts of the run are done.
  int64_t part(int64_t parts) const {
    if (job_.settings.steps > 0) return record_.step * parts / job_.settings.steps;
    return static_cast<int64_t>(fraction() * static_cast<double>(parts));
  }
  bool finished() const {
    if (job_.settings.steps > 0) return record_.step >= job_.settings.steps;
    return seconds() + 0.5 * record_.step_seconds >= limit();
  }
  bool evaluated() const {
    return !held_out_ || (!record_.curve.empty() && record_.curve.back().step == record_.step &&
                          record_.curve.back().valid_bits_per_byte);
  }

  void note(const std::string& line) const {
    if (job_.progress) job_.progress->note(line);
  }

  void begin() {
    const trace::Span span("step", "first values");
    std::optional<TrainingRecord> found;
    if (job_.resume) {
      found = read_latest_checkpoint(job_.folder, job_.layout, optimiser_.arrays());
      if (!found) note(fmt::format("'{}' has no checkpoint yet; starting from the beginning", job_.folder.string()));
    } else if (has_checkpoint(job_.folder)) {
      throw InputError(fmt::format("'{}' holds a training run already; go on with it (--resume) or name another folder",
                                   job_.folder.string()));
    }
    if (found) {
      record_ = std::move(*found);
      settle_checkpoints(job_.folder, record_);
      written_step_ = record_.step;
      // The order of data belongs to the run, not to the command that goes on with it.
      rng_ = Rng(record_.settings.seed, kDataStream, record_.rng_counter);
      job_.settings.seed = record_.settings.seed;
      note(fmt::format("going on from step {}", record_.step));
    } else if (job_.start) {
      job_.layout.load(*job_.start, optimiser_.arrays().values);
    } else {
      job_.layout.initialise(job_.settings.seed, optimiser_.arrays().values);
    }
    record_.settings = job_.settings;
    evaluations_done_ = part(job_.settings.evaluations);
    points_done_ = part(kCurvePoints);
    seconds_before_ = checkpoint_at_ = record_.seconds;
    started_ = Clock::now();
    create_folder();
  }

  void create_folder() const {
    std::error_code error;
    std::filesystem::create_directories(job_.folder, error);
    if (error)
      throw EnvironmentError(fmt::format("cannot make the folder '{}': {}", job_.folder.string(), error.message()));
  }

  void step() {
    const trace::Span span("step", "train step", record_.step + 1);
    const double before = seconds();
    // The schedule looks at the end of the step, so that the first step's rate is not zero.
    const double at = job_.settings.steps > 0
                          ? static_cast<double>(record_.step + 1) / static_cast<double>(job_.settings.steps)
                          : (before + record_.step_seconds) / limit();
    learning_rate_ = learning_rate_at(job_.settings, at);
    const double loss = run_or_explain();
    ++record_.step;
    record_.bytes += optimiser_.batch() * optimiser_.length() * job_.settings.accumulate;
    record_.loss_sum += loss;
    ++record_.loss_steps;
    record_.seconds = seconds();
    record_.step_seconds = record_.seconds - before;
    report(loss / std::numbers::ln2);
  }

  /// A step's loss. Where it diverges and somebody can say why, the run stays as it was before the step.
  double run_or_explain() {
    const Rng before = rng_;
    try {
      return optimiser_.run(job_.data, rng_, record_.step + 1, learning_rate_);
    } catch (const Diverged& failure) {
      if (!job_.find_not_finite) throw;
      rng_ = before;
      const std::string found = optimiser_.find_not_finite(job_.data, before, job_.find_not_finite);
      checkpoint();
      throw InputError(fmt::format("{}{}\n  '{}' is written, as the run was before that step", failure.what(),
                                   explanation(found), checkpoint_folder().string()));
    }
  }

  /// Another line of a message.
  static std::string explanation(const std::string& found) {
    return "\n" + (found.empty() ? "  all values of its graph are finite when it is run once more" : found);
  }

  std::filesystem::path checkpoint_folder() const {
    return job_.folder / fmt::format("checkpoint-{}", record_.step);
  }

  void report(double bits_per_byte) {
    if (!job_.progress) return;
    const double per_step = (record_.seconds - seconds_before_) / static_cast<double>(++steps_here_);
    const double left = job_.settings.steps > 0 ? per_step * static_cast<double>(job_.settings.steps - record_.step)
                                                : limit() - record_.seconds;
    job_.progress->update({record_.step, fraction(), record_.bytes, record_.seconds, left, bits_per_byte});
  }

  void add_point(std::optional<double> valid) {
    points_done_ = part(kCurvePoints);
    const double steps = static_cast<double>(record_.loss_steps);
    const double train = record_.loss_steps      ? record_.loss_sum / steps / std::numbers::ln2
                         : record_.curve.empty() ? 8.0
                                                 : record_.curve.back().train_bits_per_byte;
    record_.curve.push_back({record_.step, record_.bytes, record_.seconds, learning_rate_, train, valid});
    record_.loss_sum = 0;
    record_.loss_steps = 0;
  }

  void evaluate() {
    evaluations_done_ = part(job_.settings.evaluations);
    if (!held_out_) return add_point(std::nullopt);
    const trace::Span span("step", "evaluation after step", record_.step);
    const double valid = held_out_->bits_per_byte();
    if (!std::isfinite(valid))
      throw InputError(fmt::format("training diverged at step {}: the held-out loss is {}{}", record_.step, valid,
                                   job_.find_not_finite ? explanation(job_.find_not_finite(*job_.graphs.valid)) : ""));
    add_point(valid);
    if (!record_.best_valid || valid < *record_.best_valid) {
      record_.best_valid = valid;
      record_.best_step = record_.step;
    }
    note(fmt::format("step {}  {}  training {:.4f}  held-out {:.4f} bits per byte", record_.step,
                     duration_text(record_.seconds), record_.curve.back().train_bits_per_byte, valid));
  }

  void checkpoint() {
    if (written_step_ == record_.step) return;
    const trace::Span span("step", "checkpoint after step", record_.step);
    record_.rng_counter = rng_.counter();
    record_.seconds = seconds();
    write_checkpoint(job_.folder, record_, job_.layout, optimiser_.arrays(), job_.texts);
    write_file(job_.folder / "curve.svg", curve_svg(record_.curve, job_.references, job_.title));
    write_file(job_.folder / "curve.csv", curve_csv(record_.curve));
    written_step_ = record_.step;
    checkpoint_at_ = seconds();
  }

  TrainingResult result(int signal) const {
    TrainingResult result;
    std::tie(result.step, result.bytes, result.seconds) = std::tie(record_.step, record_.bytes, record_.seconds);
    const auto& curve = record_.curve;
    const int64_t points = std::min(kResultPoints, static_cast<int64_t>(curve.size()));
    for (auto point = curve.end() - points; point != curve.end(); ++point)
      result.train_bits_per_byte += point->train_bits_per_byte / static_cast<double>(points);
    if (held_out_ && evaluated()) result.valid_bits_per_byte = curve.back().valid_bits_per_byte;
    result.best_valid = record_.best_valid;
    result.signal = signal;
    result.checkpoint = checkpoint_folder();
    result.planned_bytes = optimiser_.planned_bytes() + (held_out_ ? job_.graphs.valid->planned_bytes() : 0);
    result.memory = memory_use();
    if (signal)
      note(fmt::format("interrupted at step {}; '{}' is written{}{}", record_.step, result.checkpoint.string(),
                       job_.resume_command.empty() ? "" : "; go on with: ", job_.resume_command));
    return result;
  }

  TrainingJob job_;
  Optimiser optimiser_;
  Rng rng_;
  std::optional<HeldOut> held_out_;
  TrainingRecord record_;
  Clock::time_point started_;
  double seconds_before_ = 0, checkpoint_at_ = 0, learning_rate_ = 0;
  int64_t evaluations_done_ = 0, points_done_ = 0, written_step_ = -1, steps_here_ = 0;
};

}  // namespace

TrainingResult train(const TrainingJob& job) {
  check_settings(job.settings);
  return Run(job).go();
}

}  // namespace mambac
