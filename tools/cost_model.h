// What a kernel would take under a schedule, on a device that is described and need not be there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codegen/lower.h"
#include "ir/graph.h"

namespace mambac::tools {

/// A resource that takes so much of the time is what the kernel waits for.
constexpr double kBusy = 0.8;

struct Prediction {
  double seconds = 0;        // of one launch
  std::string_view bound;    // the resource that it waits for: "bytes", "issue", "exponentials", "latency", ...
  double bytes = 0;          // to and from memory
  double slots = 0;          // GPU: instructions of threads; CPU: instructions of all threads, vectors counting as one
  double exponentials = 0;
  double use = 0;            // GPU: occupancy; CPU: the share of lanes and pipes that is used; 0 to 1
};

class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual DeviceKind kind() const = 0;
  /// Of the description.
  virtual const std::string& name() const = 0;
  /// What the described device would choose.
  virtual Schedule heuristic(const Graph& fused, int number) const = 0;
  /// One for each of the schedules, which are legal for the kernel; `sizes` of all its free dimensions. InputError when
  /// the description's numbers are such that a time is not finite.
  std::vector<Prediction> predict(const Graph& fused, int number, const std::vector<Schedule>& schedules,
                                  const Bindings& sizes);

 protected:
  virtual std::vector<Prediction> times(const Graph& fused, int number, const std::vector<Schedule>& schedules,
                                        const Bindings& sizes) = 0;
};

/// Of a device description: the name of a shipped one (models/devices/), or the path of a file. InputError for another
/// name and for a file that describes no device.
std::unique_ptr<CostModel> cost_model(const std::string& device);

}  // namespace mambac::tools
