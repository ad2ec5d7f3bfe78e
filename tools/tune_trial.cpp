#include "tools/tune_trial.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "runtime/cpu_info.h"
#include "tools/kernel_work.h"
#include "tools/port_values.h"
#include "tools/random_inputs.h"
#include "tools/tune_times.h"
#include "tools/value_check.h"

namespace mambac::tools {
namespace {

constexpr uint64_t kSeed = 1;
constexpr char kPoison = static_cast<char>(0xff);  // of each byte: not a number
constexpr int64_t kLargestCache = int64_t{128} << 20;
constexpr int64_t kSample = int64_t{1} << 18;  // elements
constexpr int64_t kMostForReference = int64_t{1} << 22;  // elements of a value
constexpr double kBeyond = 1e30;  // what grows so far is compared no further

struct Tolerance {
  double relative, absolute;
};

/// The bars of the hand-written kernels' own tests (docs/design.md).
Tolerance tolerance_of(const Graph& alone) {
  DType narrowest = DType::f32;
  for (const Node& node : alone.nodes())
    if (is_float(node.type.dtype) && bytes_of(node.type.dtype) < bytes_of(narrowest)) narrowest = node.type.dtype;
  if (narrowest == DType::f32) return {6e-4, 2e-3};
  return narrowest == DType::f16 ? Tolerance{3e-3, 5e-3} : Tolerance{3e-2, 5e-2};
}

double error_of(const std::vector<double>& found, const std::vector<double>& expected, const Tolerance& tolerance) {
  std::vector<double> compared;
  for (const double x : expected)
    if (std::abs(x) < kBeyond) compared.push_back(x);
  const double typical = root_mean_square(compared);
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!(std::abs(expected[i]) < kBeyond)) continue;
    const double allowed = tolerance.relative * std::abs(expected[i]) + tolerance.absolute * typical;
    const double error = difference(found[i], expected[i]) / std::max(allowed, 1e-30);
    worst = std::max(worst, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  }
  return worst;
}

/// Outputs are poisoned: what a kernel does not write is not a number then.
void poison(const Executable& executable, const PortMemory& memory) {
  for (const Port& port : executable.outputs())
    memory.at(port.name).fill([&](char* to) { std::fill_n(to, memory.at(port.name).bytes(), kPoison); });
}

/// Elements of the largest one.
int64_t largest_value(const Graph& alone, const Bindings& sizes) {
  int64_t most = 0;
  for (const Node& node : alone.nodes()) most = std::max(most, elements_of(alone, node.type, sizes));
  return most;
}

/// Of a walk, floats from outside that do not change along it: rates, mostly. Where they are negative, decays of
/// exp(step * rate) are below 1, and states neither overflow nor drown the rest.
std::set<std::string> rates(const Graph& alone) {
  std::set<std::string> names;
  const KernelGroup& group = alone.kernels[0];
  for (const Node& node : alone.nodes())
    if (node.op == Op::Input && group.kind == KernelGroup::walk && is_float(node.type.dtype) &&
        !node.type.has(group.along))
      names.insert(node.name);
  return names;
}

Program::Scheduler always(const Schedule& schedule) {
  return [schedule](const Graph&, int) { return schedule; };
}

}  // namespace

KernelTask::KernelTask(Graph alone, Bindings sizes, Device& device, bool constant_parameters)
    : alone_(std::move(alone)),
      sizes_(std::move(sizes)),
      small_sizes_(with_default_sizes(alone_, {})),
      device_(device),
      options_{.constant_parameters = constant_parameters} {
  for (uint32_t i = 0; i < alone_.size(); ++i)
    if (Node& node = alone_.node(NodeId{i}); node.op == Op::Param) node.param.checkpoint_name = node.name;
  for (auto& [name, size] : small_sizes_)
    if (const auto own = sizes_.find(name); own != sizes_.end()) size = std::min(size, own->second);
  cold_ = device.memory_is_host() && parameter_bytes(alone_, sizes_) >= kColdParameterBytes;
  count_algorithms();
}

void KernelTask::evaluate_reference() {
  if (evaluated_ || largest_value(alone_, small_sizes_) > kMostForReference) return;
  evaluated_ = true;
  small_inputs_ = random_inputs(alone_, small_sizes_, {"", kSeed});
  for (const std::string& name : rates(alone_))
    for (double& x : small_inputs_.at(name).data) x = -std::abs(x);
  small_outputs_ = evaluate(alone_, small_sizes_, small_inputs_, {.round_storage = true});
  const Layouts layouts(alone_);
  for (const Output& output : alone_.outputs()) {
    Array& array = small_outputs_.at(output.name);
    array = in_memory_order(alone_, layouts, output.value, array);
  }
}

void KernelTask::count_algorithms() {
  const NodeId node = library_node(alone_, 0);
  if (!node.present()) return;
  std::vector<NodeId> roots;
  const Layouts layouts(alone_);
  const LibraryKernel kernel{alone_, layouts, node, sizes_, device_.schedule(alone_, 0), options_.constant_parameters};
  algorithms_ = static_cast<int>(device_.library_call(kernel, &roots)->algorithms().size());
}

void KernelTask::fill(const Executable& executable) {
  if (filled_) return;
  filled_ = true;
  Filling filling;
  for (const std::string& name : rates(alone_)) filling.ranges[name] = {-1, 0};
  filling.below = integers_below(alone_);
  fill_inputs(alone_, executable, memory_, filling);
}

void KernelTask::evict() {
  if (evictor_.empty())
    evictor_.resize(static_cast<size_t>(std::min(2 * cpu_info().l3_bytes + (int64_t{8} << 20), kLargestCache)));
  const auto bytes = static_cast<int64_t>(evictor_.size());
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < bytes; i += 64) ++evictor_[static_cast<size_t>(i)];
}

KernelTrial::KernelTrial(KernelTask& task, const Schedule& schedule)
    : task_(task),
      schedule_(schedule),
      program_(task.alone_, always(schedule), task.device_),
      executable_(program_.instantiate(task.sizes_, task.options_)) {
  task_.memory_.bind(*executable_);
  task_.fill(*executable_);
}

double KernelTrial::small_error() const {
  task_.evaluate_reference();
  if (task_.small_outputs_.empty()) return 0;
  // A library numbers its algorithms for each shape anew: another one than the first choice is compared with that.
  if (program_.graph().kernels[0].kind == KernelGroup::library && schedule_.algorithm > 0) return 0;
  const std::unique_ptr<Executable> small = program_.instantiate(task_.small_sizes_, task_.options_);
  PortMemory memory;
  memory.bind(*small);
  fill_inputs(task_.alone_, *small, memory, task_.small_inputs_);
  poison(*small, memory);
  small->run();
  const Arrays outputs = read_outputs(*small, memory);
  double worst = 0;
  for (const auto& [name, expected] : task_.small_outputs_)
    worst = std::max(worst, error_of(outputs.at(name).data, expected.data, tolerance_of(task_.alone_)));
  return worst;
}

void KernelTask::choose_samples(const Executable& executable) {
  for (const Port& port : executable.outputs())
    for (int64_t quarter = 0; quarter < (port.elements > 4 * kSample ? 4 : 1); ++quarter) {
      const int64_t all = port.elements, count = std::min(all, kSample);
      samples_.push_back({port.name, port.dtype, quarter * (all - count) / 3, count, {}});
    }
}

double KernelTrial::sample_error() {
  const bool first = task_.samples_.empty();
  if (first) task_.choose_samples(*executable_);
  const auto place = [&](const KernelTask::Sample& sample) {
    const auto bytes = static_cast<int64_t>(bytes_of(sample.dtype));
    return task_.memory_.at(sample.output).part(sample.first * bytes, sample.count * bytes);
  };
  for (const KernelTask::Sample& sample : task_.samples_)
    place(sample).fill([&](char* to) { std::fill_n(to, place(sample).bytes(), kPoison); });
  executable_->run();
  double worst = 0;
  for (KernelTask::Sample& sample : task_.samples_) {
    std::vector<char> memory(place(sample).bytes());
    place(sample).download(memory.data());
    std::vector<double> values = numbers_of(sample.dtype, memory.data(), sample.count);
    if (first) sample.values = std::move(values);
    else worst = std::max(worst, error_of(values, sample.values, tolerance_of(task_.alone_)));
  }
  return worst;
}

double KernelTrial::error() { return std::max(small_error(), sample_error()); }

double KernelTrial::seconds() {
  constexpr double kLongEnough = 1e-3;
  constexpr int64_t kMostColdRuns = 4;  // emptying the cache takes longer than they
  const bool host = task_.device_.memory_is_host();
  double spent = 0;
  int64_t runs = 0;
  for (; runs == 0 || (spent < kLongEnough && !(task_.cold_ && runs == kMostColdRuns)); ++runs) {
    if (task_.cold_) task_.evict();
    if (host) {
      const double begin = now();
      executable_->run();
      spent += now() - begin;
    } else {
      spent += executable_->run_timed().front().seconds;
    }
  }
  return spent / static_cast<double>(runs);
}

void compile_ahead(KernelTask& task, const std::vector<Schedule>& schedules) {
  if (task.graph().kernels[0].kind == KernelGroup::library) return;
  const Layouts layouts(task.graph());
  std::vector<LoweredKernel> lowered;
  std::vector<const loop::Kernel*> kernels;
  lowered.reserve(schedules.size());
  for (const Schedule& schedule : schedules)
    lowered.push_back(lower(task.graph(), layouts, 0, schedule, task.device().kind()));
  for (const LoweredKernel& one : lowered) kernels.push_back(&one.kernel);
  task.device().compile(kernels);
}

}  // namespace mambac::tools
