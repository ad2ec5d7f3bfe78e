// The beginning of a kernel that overlaps with the end of the one before.
//
// Its blocks wait until that one is done before they touch what kernels store. No kernel of the graph stores its
// parameters: what a block will read of them is brought into the cache meanwhile.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::Stmt;
using loop::StmtKind;

constexpr int64_t kMostLines = 4096;  // of what a block brings near at once

/// So many times, so many elements further on each time.
struct Step {
  int64_t by = 0, times = 1;
  bool operator==(const Step&) const = default;
};

/// Neighbouring elements of a buffer that a block reads, and the same again at each combination of steps.
struct Run {
  int buffer = -1;
  Int first;
  int64_t count = 0;
  std::vector<Step> steps;
  int origin = -1;  // of the first load
};

class RunFinder {
 public:
  RunFinder(const loop::Kernel& kernel, const loop::Stage& stage) : kernel_(kernel) { block(stage.body); }

  std::vector<Run> runs() && {
    for (Run& run : runs_) join(run);
    return std::move(runs_);
  }

 private:
  void block(const Block& statements) {
    for (const Stmt& s : statements) {
      if (s.kind == StmtKind::Load || s.kind == StmtKind::LoadBlock) access(s);
      if (s.kind == StmtKind::For) loops_.push_back(&s);
      block(s.body);
      block(s.otherwise);
      if (s.kind == StmtKind::For) loops_.pop_back();
    }
  }

  void access(const Stmt& load) {
    const bool parameter = kernel_.buffers[static_cast<size_t>(load.buffer)].parameter;
    if (!parameter || load.valid || differs_between_lanes(load.offset)) return;
    Run run{load.buffer, load.offset, load.kind == StmtKind::LoadBlock ? load.columns : 1, {}, load.origin};
    int64_t stride = run.count;
    if (load.lane_stride && !is_constant(load.lane_stride, &stride)) return;
    if (load.lane_stride || load.kind == StmtKind::LoadBlock) run.steps.push_back({stride, kernel_.schedule.width});
    if (add_loops(run)) add(std::move(run));
  }

  /// Moves the run to where it is first. False where a loop around it moves it in a way that is not known.
  bool add_loops(Run& run) const {
    for (const Stmt* l : loops_) {
      const std::optional<int64_t> times = times_of(*l);
      const auto factor = times == 1 ? std::map<loop::Var, int64_t>() : loop::factors(run.first, {l->var});
      if (!times || !factor) return false;
      const int64_t by = factor->empty() ? 0 : factor->begin()->second * l->step;
      run.first = substitute(run.first, {{l->var, by < 0 ? l->begin + (*times - 1) * l->step : l->begin}});
      if (by != 0) run.steps.push_back({std::abs(by), *times});
    }
    return true;
  }

  /// The iterations of a loop. One over the rows of a task, from its first row on, has one where it has at most one.
  static std::optional<int64_t> times_of(const Stmt& loop) {
    int64_t begin = 0, end = 0;
    if (is_constant(loop.begin, &begin) && is_constant(loop.end, &end))
      return std::max<int64_t>(1, (end - begin + loop.step - 1) / loop.step);
    const Int& most = loop.end->op == loop::IntOp::Min ? loop.end->a : loop.end;
    return is_same(most, loop.begin + loop.step) ? std::optional<int64_t>(1) : std::nullopt;
  }

  void add(Run run) {
    for (Run& r : runs_) {
      if (r.buffer != run.buffer || r.steps != run.steps) continue;
      if (is_same(r.first, run.first) && r.count >= run.count) return;
      if (!is_same(r.first + r.count, run.first)) continue;
      r.count += run.count;
      return;
    }
    runs_.push_back(std::move(run));
  }

  /// Steps that leave no gap make the run longer.
  static void join(Run& run) {
    std::ranges::sort(run.steps, {}, &Step::by);
    std::vector<Step> gaps;
    for (const Step& step : run.steps) {
      if (step.by > run.count) gaps.push_back(step);
      else run.count += (step.times - 1) * step.by;
    }
    run.steps = std::move(gaps);
  }

  const loop::Kernel& kernel_;
  std::vector<const Stmt*> loops_;
  std::vector<Run> runs_;
};

/// The threads of the block share its lines. Nothing where there are too many.
std::optional<Stmt> prefetch(const loop::Kernel& kernel, loop::Stage& stage, const Run& run) {
  const int64_t line =
      kLineBytes / static_cast<int64_t>(bytes_of(kernel.buffers[static_cast<size_t>(run.buffer)].dtype));
  const int64_t lines = (run.count + line - 1) / line;
  int64_t all = lines;
  for (const Step& step : run.steps) all *= step.times;
  if (all > kMostLines) return std::nullopt;
  Stmt spread;
  spread.kind = StmtKind::For;
  spread.origin = run.origin;
  spread.var = stage.vars++;
  spread.begin = loop::constant(0);
  spread.end = loop::constant(all);
  spread.spread = true;
  Stmt one;
  one.kind = StmtKind::Prefetch;
  one.origin = run.origin;
  one.buffer = run.buffer;
  Int rest = loop::variable(spread.var);
  one.offset = run.first + rest % lines * line;
  rest = rest / lines;
  for (const Step& step : run.steps) {
    one.offset = one.offset + rest % step.times * step.by;
    rest = rest / step.times;
  }
  spread.body = {std::move(one)};
  return spread;
}

}  // namespace

void begin_early(const loop::Kernel& kernel, loop::Stage& stage) {
  Block beginning;
  for (const Run& run : RunFinder(kernel, stage).runs())
    if (std::optional<Stmt> lines = prefetch(kernel, stage, run)) beginning.push_back(std::move(*lines));
  Stmt await;
  await.kind = StmtKind::AwaitKernels;
  beginning.push_back(std::move(await));
  stage.body.insert(stage.body.begin(), std::make_move_iterator(beginning.begin()),
                    std::make_move_iterator(beginning.end()));
}

}  // namespace mambac
