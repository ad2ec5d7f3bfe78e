#include "runtime/program.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <map>
#include <set>

#include <fmt/format.h>

#include "passes/fuse.h"
#include "passes/plan.h"
#include "runtime/cuda/driver_errors.h"
#include "runtime/placement.h"
#include "runtime/progress.h"

namespace mambac {

namespace {

std::string port_name(const Node& node) {
  return node.op == Op::Param && !node.param.checkpoint_name.empty() ? node.param.checkpoint_name : node.name;
}

class PlannedExecutable : public Executable {
 public:
  PlannedExecutable(const Program& program, const Bindings& bindings, const ExecutableOptions& options)
      : program_(program),
        options_(options),
        label_(trace::interned({"run", program.graph().name})),
        placement_(place_all(program.graph(), program.lowered(), bindings, options.constant_parameters)) {
    add_steps(bindings);
    reserve_memory(bindings);
    make_ports(bindings);
  }

  const std::vector<Port>& inputs() const override { return inputs_; }
  const std::vector<Port>& outputs() const override { return outputs_; }
  Device& device() const override { return program_.device(); }

  void bind(std::string_view name, void* data) override {
    auto found = bindable_.find(name);
    check(found != bindable_.end(), "bind: no input or output of this name");
    for (uint32_t node : found->second) {
      pointers_[node] = static_cast<char*>(data);
      forget(NodeId{node});
    }
    bound_ = nullptr;
  }

  void run() override {
    const trace::Span span(label_);
    if (!bound_) bound_ = &runs_with(pointers_);
    if (!constants_computed_) run_steps(true);
    constants_computed_ = true;
    // The first run lets libraries prepare what they need, which they cannot while calls are recorded.
    if (!bound_->captured && ++bound_->runs == 2)
      bound_->captured = program_.device().capture([&] { run_steps(false); });
    if (!bound_->captured) return run_steps(false);
    const trace::Span launch("launch", "captured calls");
    bound_->captured->run();
  }

  void run_observed(const KernelObserver& done) override {
    if (!bound_) bound_ = &runs_with(pointers_);
    for (size_t k = 0; k < steps_.size(); ++k) {
      run(steps_[k]);
      done(static_cast<int>(k), pointers_);
    }
    constants_computed_ = true;
  }

  std::vector<KernelTime> run_timed() override {
    // Where launches return before their work is done, waiting for it takes some 10 us.
    constexpr double kShort = 2e-4;
    constexpr int kRuns = 20;
    if (!bound_) bound_ = &runs_with(pointers_);
    program_.device().synchronize();
    std::vector<KernelTime> times;
    for (Step& step : steps_) {
      double seconds = 0;
      if (!step.constant || !constants_computed_) seconds = seconds_of(step, 1);
      if (!step.constant && !program_.device().memory_is_host() && seconds < kShort) seconds = seconds_of(step, kRuns);
      times.push_back({step.name, seconds});
    }
    constants_computed_ = true;
    return times;
  }

  size_t planned_bytes() const override {
    return arena_->bytes() + (scratch_ ? scratch_->bytes() : 0) + kept_bytes_;
  }

 private:
  struct Step {
    struct Source {
      NodeId node;  // absent: a temporary at the offset
      int64_t offset = 0;
    };
    std::string name;
    const trace::Label* label = nullptr;
    std::unique_ptr<Call> call;
    std::vector<Source> sources;
    bool constant = false;  // needs to run once only, until a parameter is bound
  };

  /// Those that need to run once only, or the others.
  void run_steps(bool constant) {
    for (Step& step : steps_)
      if (step.constant == constant) run(step);
  }

  void run(Step& step) {
    const trace::Span span(*step.label);
    buffers_.clear();
    for (const Step::Source& source : step.sources)
      buffers_.push_back(source.node.present() ? pointers_[source.node.index] : in_arena(source.offset));
    step.call->run(buffers_.data(), scratch_ ? scratch_->data() : nullptr);
  }

  /// Seconds of one of `runs` runs.
  double seconds_of(Step& step, int runs) {
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < runs; ++i) run(step);
    program_.device().synchronize();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count() / runs;
  }

  /// The runs with one set of pointers. A state changes between two sets.
  struct Runs {
    std::vector<char*> pointers;
    int64_t runs = 0;
    std::unique_ptr<CapturedCalls> captured;
  };

  /// Those with these pointers, which are checked when they are new; those of the set that was used longest ago make
  /// room.
  Runs& runs_with(const std::vector<char*>& pointers) {
    constexpr size_t kMostSets = 4;
    auto found = std::ranges::find(runs_, pointers, &Runs::pointers);
    if (found == runs_.end()) {
      check_ports();
      check_sources();
      if (runs_.size() == kMostSets) runs_.pop_back();
      runs_.push_front({pointers, 0, nullptr});
    } else {
      runs_.splice(runs_.begin(), runs_, found);
    }
    return runs_.front();
  }

  void reserve_memory(const Bindings& bindings) {
    Device& device = program_.device();
    try {
      arena_ = device.allocate(placement_.bytes);
      if (scratch_bytes_ > 0) scratch_ = device.allocate(static_cast<int64_t>(scratch_bytes_));
    } catch (const cuda::OutOfDeviceMemory& failure) {
      std::string sizes;
      for (const auto& [name, size] : bindings) sizes += fmt::format("{}{}={}", sizes.empty() ? "" : " ", name, size);
      const size_t free = failure.free() + (arena_ ? static_cast<size_t>(placement_.bytes) : 0);
      throw cuda::OutOfDeviceMemory(
          fmt::format("{}; the plan for {} needs {} for values and {} of scratch memory{}", failure.what(), sizes,
                      byte_text(static_cast<double>(placement_.bytes)), byte_text(static_cast<double>(scratch_bytes_)),
                      smaller_batch(bindings, free)),
          static_cast<size_t>(placement_.bytes) + scratch_bytes_, failure.free(), failure.total());
    }
  }

  /// The largest smaller batch whose plan takes so many bytes or fewer, for the end of a message.
  std::string smaller_batch(Bindings sizes, size_t free) const {
    const auto batch = sizes.find("B");
    if (batch == sizes.end() || batch->second <= 1) return "";
    int64_t fitting = 0;
    for (int64_t low = 1, high = batch->second - 1; low <= high;) {
      const int64_t middle = batch->second = low + (high - low) / 2;
      const int64_t bytes =
          place_all(program_.graph(), program_.lowered(), sizes, options_.constant_parameters).bytes;
      const bool fits = static_cast<size_t>(bytes) + scratch_bytes_ <= free;
      if (fits) fitting = middle;
      (fits ? low : high) = fits ? middle + 1 : middle - 1;
    }
    return fitting > 0 ? fmt::format("; B={} would fit", fitting) : "; not even B=1 would fit";
  }

  Port make_port(const std::string& name, NodeId id, const std::vector<DimId>& dims, const Bindings& bindings) const {
    const Graph& graph = program_.graph();
    Port port{name, graph.node(id).type.dtype, {}, elements_of(graph, graph.node(id).type, bindings)};
    for (DimId d : dims) port.shape.push_back(size_of(graph, d, bindings));
    return port;
  }

  void make_ports(const Bindings& bindings) {
    const Graph& graph = program_.graph();
    pointers_.assign(graph.size(), nullptr);
    for (uint32_t i = 0; i < graph.size(); ++i) {
      const Node& node = graph.node(NodeId{i});
      if (placement_.value_offset[i] >= 0) pointers_[i] = in_arena(placement_.value_offset[i]);
      if (node.op != Op::Input && node.op != Op::Param) continue;
      inputs_.push_back(make_port(port_name(node), NodeId{i}, node.type.dims, bindings));
      bindable_[inputs_.back().name].push_back(i);
    }
    for (const Output& output : graph.outputs()) {
      outputs_.push_back(make_port(output.name, output.value, program_.layouts().of(graph, output.value), bindings));
      bindable_[output.name].push_back(output.value.index);
    }
  }

  void add_steps(const Bindings& bindings) {
    const trace::Span span("compile", "prepare calls");
    std::vector<bool> constant(program_.graph().kernels.size());
    if (options_.constant_parameters) constant = constant_kernels(program_.graph());
    for (size_t k = 0; k < constant.size(); ++k) {
      add_step(k, bindings);
      steps_.back().constant = constant[k];
    }
  }

  void add_step(size_t k, const Bindings& bindings) {
    const Graph& graph = program_.graph();
    Step step;
    step.name = graph.kernels[k].name;
    step.label = options_.labels.empty() ? &trace::interned({"kernel", step.name}) : options_.labels[k];
    if (const NodeId node = library_node(graph, static_cast<int>(k)); node.present()) {
      std::vector<NodeId> roots;
      step.call = library_call(
          {graph, program_.layouts(), node, bindings, program_.schedule(k), options_.constant_parameters}, &roots);
      for (NodeId root : roots) step.sources.push_back({root, 0});
    } else {
      const LoweredKernel& lowered = program_.lowered()[k];
      step.call =
          program_.compiled()[k]->call(sizes_of(lowered.kernel, bindings), elements_of(graph, lowered, bindings));
      for (size_t i = 0; i < lowered.buffers.size(); ++i) {
        step.sources.push_back({lowered.buffers[i].root, placement_.temporary[k][i]});
        for (const int input : lowered.kernel.buffers[i].in_place_of)
          in_place_.emplace(lowered.buffers[i].root.index, lowered.buffers[static_cast<size_t>(input)].root.index);
      }
    }
    scratch_bytes_ = std::max(scratch_bytes_, step.call->scratch_bytes());
    kept_bytes_ += step.call->kept_bytes();
    steps_.push_back(std::move(step));
  }

  std::unique_ptr<Call> library_call(LibraryKernel kernel, std::vector<NodeId>* roots) const {
    try {
      return program_.device().library_call(kernel, roots);
    } catch (const InputError&) {
      if (!options_.first_choice_instead || kernel.schedule.algorithm == 0) throw;
      kernel.schedule.algorithm = 0;
      return program_.device().library_call(kernel, roots);
    }
  }

  char* in_arena(int64_t offset) const { return static_cast<char*>(arena_->data()) + offset; }

  void forget(NodeId bound) {
    if (program_.graph().node(bound).op == Op::Param) constants_computed_ = false;
    for (Step& step : steps_)
      if (std::any_of(step.sources.begin(), step.sources.end(),
                      [&](const Step::Source& source) { return source.node == bound; }))
        step.call->forget();
  }

  /// What the caller bound, one entry for each node that lies there.
  struct Bound {
    const Port* port;
    uint32_t node;
    bool output;
    const char* begin;
    const char* end;
  };

  /// What a call comes to and nothing placed would be at address 0.
  void check_sources() const {
    for (const Step& step : steps_)
      for (const Step::Source& source : step.sources)
        if (source.node.present() && pointers_[source.node.index] == nullptr)
          throw InternalError(fmt::format("run: {} comes to {}, which has no memory", step.name,
                                          program_.graph().node(source.node).name));
  }

  /// That everything is bound, and that no output lies where another port does unless its kernel allows it.
  void check_ports() const {
    std::vector<Bound> bound;
    for (const auto* ports : {&inputs_, &outputs_})
      for (const Port& p : *ports)
        for (uint32_t node : bindable_.find(p.name)->second) {
          const char* begin = pointers_[node];
          if (!begin) throw InternalError(fmt::format("run: {} is not bound", p.name));
          const auto bytes = static_cast<size_t>(p.elements) * bytes_of(p.dtype);
          bound.push_back({&p, node, ports == &outputs_, begin, begin + bytes});
        }
    std::ranges::sort(bound, {}, &Bound::begin);
    for (size_t i = 0; i < bound.size(); ++i)
      for (size_t j = i + 1; j < bound.size() && bound[j].begin < bound[i].end; ++j) check_pair(bound[i], bound[j]);
  }

  void check_pair(const Bound& a, const Bound& b) const {
    if (a.node == b.node || (!a.output && !b.output)) return;
    const Bound& output = a.output ? a : b;
    const Bound& other = a.output ? b : a;
    if (a.begin == b.begin && a.end == b.end && in_place_.contains({output.node, other.node})) return;
    throw InternalError(fmt::format("run: output {} is bound to memory of {} {}, in whose place it cannot be computed",
                                    output.port->name, other.output ? "output" : "input", other.port->name));
  }

  const Program& program_;
  ExecutableOptions options_;
  const trace::Label& label_;
  Placement placement_;
  std::unique_ptr<DeviceMemory> arena_;
  std::vector<Port> inputs_, outputs_;
  std::map<std::string, std::vector<uint32_t>, std::less<>> bindable_;
  std::vector<char*> pointers_;
  std::vector<Step> steps_;
  std::set<std::pair<uint32_t, uint32_t>> in_place_;  // an output, and an input whose memory it may have
  std::list<Runs> runs_;
  Runs* bound_ = nullptr;            // those with the pointers that are bound; null: to be found
  bool constants_computed_ = false;  // since a parameter was bound
  std::vector<void*> buffers_;
  size_t scratch_bytes_ = 0, kept_bytes_ = 0;
  std::unique_ptr<DeviceMemory> scratch_;
};

}  // namespace

std::vector<LoweredKernel> lower_all(const Graph& fused, const Layouts& layouts, DeviceKind kind,
                                     const Program::Scheduler& scheduler) {
  const trace::Span span("compile", "lower");
  std::vector<LoweredKernel> lowered(fused.kernels.size());
  for (size_t k = 0; k < lowered.size(); ++k) {
    const int number = static_cast<int>(k);
    const Schedule schedule = scheduler(fused, number);
    if (fused.kernels[k].kind == KernelGroup::library) {
      check(why_illegal(fused, number, schedule, kind).empty(), "an illegal schedule of a library kernel");
      lowered[k].kernel.schedule = schedule;
      continue;
    }
    const trace::Span kernel("lower", fused.kernels[k].name);
    lowered[k] = lower(fused, layouts, number, schedule, kind);
  }
  return lowered;
}

Program::Scheduler schedules_of(const Device& device) {
  return [&device](const Graph& fused, int number) { return device.schedule(fused, number); };
}

Program::Program(Graph fused, const Scheduler& scheduler, Device& device)
    : device_(device),
      fused_(std::move(fused)),
      layouts_(fused_),
      lowered_(lower_all(fused_, layouts_, device.kind(), scheduler ? scheduler : schedules_of(device))),
      compiled_(fused_.kernels.size()) {
  std::vector<const loop::Kernel*> kernels;
  std::vector<size_t> numbers;
  for (size_t k = 0; k < fused_.kernels.size(); ++k) {
    if (fused_.kernels[k].kind == KernelGroup::library) continue;
    kernels.push_back(&lowered_[k].kernel);
    numbers.push_back(k);
  }
  const trace::Span span("compile", "make machine code");
  auto compiled = device.compile(kernels);
  for (size_t i = 0; i < numbers.size(); ++i) compiled_[numbers[i]] = std::move(compiled[i]);
}

std::unique_ptr<Executable> Program::instantiate(const Bindings& bindings, const ExecutableOptions& options) const {
  const trace::Span span("compile", "make executable");
  return std::make_unique<PlannedExecutable>(*this, bindings, options);
}

int64_t planned_arena_bytes(const Graph& fused, DeviceKind kind, const Program::Scheduler& scheduler,
                            const Bindings& bindings, bool constant_parameters) {
  return place_all(fused, lower_all(fused, Layouts(fused), kind, scheduler), bindings, constant_parameters).bytes;
}

}  // namespace mambac
