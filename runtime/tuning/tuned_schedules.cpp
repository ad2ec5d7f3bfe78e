#include "runtime/tuning/tuned_schedules.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "codegen/lower.h"

namespace mambac {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double apart(double a, double b) {
  return std::abs(std::log2(a / b));
}

/// Never: a record that lacks one of the dimensions, or one of threads for a kernel without any.
double distance_of(const TuningRecord& record, const Bindings& sizes, int threads) {
  double distance = record.threads == threads ? 0 : apart(threads, record.threads);
  for (const auto& [name, size] : sizes) {
    const auto own = record.sizes.find(name);
    if (own == record.sizes.end()) return kNever;
    distance += apart(static_cast<double>(size), static_cast<double>(own->second));
  }
  return std::round(distance * 1e9) / 1e9;  // equally near ones would otherwise differ in the last digit
}

double elements(const TuningRecord& record) {
  double product = 1;
  for (const auto& [name, size] : record.sizes) product *= static_cast<double>(size);
  return product;
}

bool comes_before(const TunedChoice& a, const TunedChoice& b) {
  const auto rank = [](const TunedChoice& choice) {
    return std::tuple(choice.distance, -static_cast<int>(choice.source), -elements(*choice.record));
  };
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  // Any order will do, if it is always the same.
  return std::tie(a.record->sizes, a.record->threads) > std::tie(b.record->sizes, b.record->threads);
}

}  // namespace

TunedSchedules::TunedSchedules(std::vector<Layer> layers, int threads, std::string library)
    : threads_(threads), library_(std::move(library)) {
  for (Layer& layer : layers)
    for (TuningRecord& record : layer.file.records) {
      std::string kernel = record.kernel;
      by_kernel_.emplace(std::move(kernel), Entry{layer.source, std::move(record)});
    }
}

TunedChoice TunedSchedules::find(const Graph& fused, int number, DeviceKind kind, const Bindings& sizes) const {
  if (empty()) return {};
  const KernelKey key = kernel_key(fused, number);
  const Bindings own = sizes_for(fused, key, sizes);
  std::vector<TunedChoice> near;
  const auto [first, last] = by_kernel_.equal_range(key.digest());
  for (auto found = first; found != last; ++found) {
    const Entry& entry = found->second;
    const TunedChoice choice{&entry.record, entry.source, distance_of(entry.record, own, threads_),
                             entry.record.sizes == own};
    const bool of_library = entry.record.schedule.algorithm > 0;
    if (of_library && !library_.empty() && entry.record.toolkit != library_) continue;
    if (choice.distance <= (of_library ? 0 : kFarthest)) near.push_back(choice);
  }
  std::stable_sort(near.begin(), near.end(), comes_before);
  for (const TunedChoice& choice : near)
    if (why_illegal(fused, number, choice.record->schedule, kind).empty()) return choice;
  return {};
}

const TuningRecord* TunedSchedules::measured(const Graph& fused, int number, DeviceKind kind,
                                             const Bindings& sizes) const {
  const TunedChoice choice = find(fused, number, kind, sizes);
  if (!choice.same_sizes) return nullptr;
  used_.insert(choice.record);
  return choice.record;
}

Program::Scheduler TunedSchedules::scheduler(const Program::Scheduler& own, DeviceKind kind,
                                             const Bindings& sizes) const {
  return [this, own, kind, sizes](const Graph& fused, int number) {
    const TuningRecord* record = find(fused, number, kind, sizes).record;
    if (record == nullptr) return own(fused, number);
    used_.insert(record);
    return record->schedule;
  };
}

std::vector<TuningRecord> TunedSchedules::used() const {
  std::vector<TuningRecord> records;
  for (const TuningRecord* record : used_) records.push_back(*record);
  return records;
}

}  // namespace mambac
