#include "tools/tune_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/tune_quality.h"

namespace mambac::tools {
namespace {

constexpr double kWidth = 420, kHeight = 190, kLeft = 46, kRight = 410, kTop = 12, kBottom = 160;

constexpr const char* kHead = R"page(<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{0}: tuned schedules</title><style>
:root{{color-scheme:light dark;--line:#8885;--dot:#3b7dd8;--best:#d9480f;--own:#2b8a3e}}
body{{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em}}
h2{{font-size:16px;margin:2em 0 .2em}}code{{font-size:13px}}svg{{max-width:100%;font-size:12px}}
.pictures{{display:flex;flex-wrap:wrap;gap:1em}}text{{fill:currentColor}}table{{border-collapse:collapse}}
td,th{{padding:.15em .8em .15em 0;text-align:right}}td:first-child,th:first-child{{text-align:left}}
</style><h1>{0}: tuned schedules</h1>
<p>Each dot is a schedule that was timed, by its time relative to the heuristic's in the same round: below 1 is faster.
<span style="color:var(--own)">Green</span> is the heuristic, <span style="color:var(--best)">red</span> the chosen
schedule; the pointer on a dot shows what is different in it. On the right, predicted against measured.</p>
)page";

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text)
    safe += c == '<' ? "&lt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return safe;
}

/// What a schedule is beside the heuristic.
std::string changes(const Schedule& schedule, const Schedule& heuristic) {
  const std::string text = schedule.changes_from(heuristic);
  return text.empty() ? "the heuristic" : text;
}

/// Where a logarithm of a value lies between two ends.
double place(double value, double low, double high, double begin, double end) {
  const double share = high > low ? std::log(value / low) / std::log(high / low) : 0.5;
  return begin + share * (end - begin);
}

struct Extent {
  double low = 1e300, high = 0;
  void see(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

/// The schedules that were timed for a record, the heuristic among them, fastest first.
std::vector<TriedSchedule> timed(const TuningRecord& record, const std::vector<LoggedTrial>& trials) {
  std::vector<TriedSchedule> found;
  found.emplace_back().schedule = record.heuristic;
  found.back().ratio = 1;
  for (const LoggedTrial& trial : trials)
    if (trial.task.kernel == record.kernel && trial.task.sizes == record.sizes &&
        trial.task.threads == record.threads && trial.task.toolkit == record.toolkit &&
        trial.task.driver == record.driver && trial.tried.ratio > 0)
      found.push_back(trial.tried);
  std::ranges::stable_sort(found, {}, &TriedSchedule::ratio);
  return found;
}

std::string dot(double x, double y, const TriedSchedule& one, const TuningRecord& record) {
  const char* colour = one.schedule == record.heuristic   ? "var(--own)"
                       : one.schedule == record.schedule ? "var(--best)"
                                                         : "var(--dot)";
  return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"><title>{:.3f}: {}</title></circle>", x, y,
                     colour, one.ratio, escaped(changes(one.schedule, record.heuristic)));
}

std::string frame(const std::string& below, const Extent& y) {
  std::string text = fmt::format("<svg viewBox=\"0 0 {} {}\" width=\"{}\" role=\"img\">", kWidth, kHeight, kWidth);
  for (const double value : {y.low, std::sqrt(y.low * y.high), y.high}) {
    const double at = place(value, y.low, y.high, kBottom, kTop);
    text += fmt::format("<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"var(--line)\"/>"
                        "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.2f}</text>",
                        kLeft, kRight, at, at, kLeft - 6, at + 4, value);
  }
  return text + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>", (kLeft + kRight) / 2,
                            kHeight - 8, below);
}

std::string landscape(const std::vector<TriedSchedule>& all, const TuningRecord& record) {
  Extent y;
  for (const TriedSchedule& one : all) y.see(one.ratio);
  std::string text = frame(fmt::format("{} schedules, fastest first", all.size()), y);
  for (size_t i = 0; i < all.size(); ++i) {
    const double x = kLeft + 8 + (kRight - kLeft - 16) * static_cast<double>(i) /
                                     static_cast<double>(std::max<size_t>(1, all.size() - 1));
    text += dot(x, place(all[i].ratio, y.low, y.high, kBottom, kTop), all[i], record);
  }
  return text + "</svg>";
}

/// Empty where fewer than three schedules have a prediction.
std::string against_prediction(const std::vector<TriedSchedule>& all, const TuningRecord& record) {
  Extent x, y;
  std::vector<double> predicted, measured;
  for (const TriedSchedule& one : all) {
    if (one.predicted <= 0) continue;
    x.see(one.predicted);
    y.see(one.ratio);
    predicted.push_back(one.predicted);
    measured.push_back(one.ratio);
  }
  if (predicted.size() < 3) return "";
  std::string text = frame(fmt::format("predicted {:.3g} to {:.3g} ms; rank correlation {:.2f}", 1e3 * x.low,
                                       1e3 * x.high, rank_correlation(predicted, measured)),
                           y);
  for (const TriedSchedule& one : all)
    if (one.predicted > 0)
      text += dot(place(one.predicted, x.low, x.high, kLeft + 8, kRight - 8),
                  place(one.ratio, y.low, y.high, kBottom, kTop), one, record);
  return text + "</svg>";
}

std::string sizes_text(const TuningRecord& record) {
  std::string text;
  for (const auto& [name, size] : record.sizes) text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, size);
  return text.empty() ? "fixed sizes" : text;
}

std::string section(const TuningRecord& record, const std::vector<LoggedTrial>& trials) {
  const std::vector<TriedSchedule> all = timed(record, trials);
  std::string text = fmt::format(
      "<h2>{}</h2>\n<p>{}: {:.4g} ms, the heuristic {:.4g} ms, {:.2f} times as fast{} ({})<br><code>{}</code></p>\n",
      escaped(record.name), escaped(sizes_text(record)), 1e3 * record.seconds, 1e3 * record.heuristic_seconds,
      record.heuristic_seconds / record.seconds,
      record.predicted_seconds > 0 ? fmt::format(", predicted {:.4g} ms", 1e3 * record.predicted_seconds) : "",
      escaped(record.date), escaped(changes(record.schedule, record.heuristic)));
  if (all.size() < 2) return text;
  return text + fmt::format("<div class=\"pictures\">{}{}</div>\n", landscape(all, record),
                            against_prediction(all, record));
}

}  // namespace

std::string tuning_page(const TuningFile& records, const std::vector<LoggedTrial>& trials) {
  std::vector<TuningRecord> sorted = records.records;
  std::ranges::stable_sort(sorted, std::greater(), &TuningRecord::heuristic_seconds);
  std::string page = fmt::format(fmt::runtime(kHead), escaped(records.device));
  for (const TuningRecord& record : sorted) page += section(record, trials);
  return page + "</html>\n";
}

}  // namespace mambac::tools
