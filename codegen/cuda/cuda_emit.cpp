#include "codegen/cuda/cuda_emit.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "codegen/cuda/cuda_names.h"
#include "codegen/loop_rewrite.h"
#include "codegen/loop_verify.h"
#include "codegen/loop_writer.h"
#include "codegen/threads.h"
#include "ir/error.h"

namespace mambac::cuda_emit {

using loop::Block;
using loop::Int;
using loop::IntOp;
using loop::Stmt;
using loop::StmtKind;
using machine::Nest;
using machine::NestNode;

namespace {

std::string float_text(double value) {
  const float single = static_cast<float>(value);  // what is beyond its range is infinite, as on every device
  if (std::isnan(single)) return "(0.f / 0.f)";
  if (std::isinf(single)) return single < 0 ? "(-MB_INFINITY)" : "MB_INFINITY";
  std::string text = fmt::format("{:.9g}", single);
  if (text.find_first_of(".e") == std::string::npos) text += '.';
  text += 'f';
  return std::signbit(single) ? fmt::format("({})", text) : text;
}

/// Writes the function of one stage.
class StageText : public loop::LoopWriter {
 public:
  StageText(const loop::Kernel& kernel, size_t number, std::string& out, std::vector<int>* line_origins)
      : LoopWriter(out, line_origins),
        kernel_(kernel),
        stage_(kernel.stages[number]),
        symbol_(stage_symbol(kernel, number)) {}

  void write() {
    from(stage_.origin, [&] { write_stage(); });
  }

  Nest take_nest() { return std::move(nest_); }

 private:
  void write_stage() {
    for (const loop::Buffer& buffer : kernel_.buffers) buffers_.push_back(names_.make(buffer.name));
    for (const std::string& size : kernel_.sizes) {
      sizes_.push_back(names_.make(size));
      long_sizes_.push_back(names_.make(size + "_size"));
    }
    std::map<loop::Value, Definition> definitions;
    find_values(stage_.body, 0, definitions);
    open_nest({});
    signature();
    depth_ = 1;
    if (pieces() > 1) {
      line("const int thread = mb_lane(), lane = thread / {}, piece = thread % {};", pieces(), pieces());
    } else if (stage_.teams > 1) {
      line("const int thread = mb_lane(), lane = thread % {}, team = thread / {};", width(), width());
    } else {
      line("const int lane = mb_lane();");
    }
    line("const int i{} = (int)mb_task();  // of {}", stage_.task, str(stage_.tasks));
    largest_[stage_.task] = INT32_MAX;  // of a grid's first dimension
    scope_.insert(stage_.task);
    for (size_t i = 0; i < sizes_.size(); ++i) line("const int {} = (int){};", sizes_[i], long_sizes_[i]);
    name_numbers(stage_.body);
    for (const loop::Array& array : stage_.arrays) declare(array);
    block(stage_.body);
    depth_ = 0;
    line("}}");
    close_nest();
  }

  // ---- which lines are in which loops and branches ----

  /// The next line is the first one of it, the last line before close_nest the last.
  void open_nest(NestNode node) {
    node.parent = nested_;
    node.first = lines_ + 1;
    nested_ = static_cast<int>(nest_.nodes.size());
    nest_.nodes.push_back(std::move(node));
  }
  void close_nest() {
    NestNode& node = nest_.nodes[static_cast<size_t>(nested_)];
    node.last = lines_;
    nested_ = node.parent;
  }
  static NestNode nest_of(const Stmt& loop, int64_t step, bool written_out) {
    return {.kind = NestNode::loop, .var = loop.var, .begin = loop.begin, .end = loop.end, .step = step,
            .written_out = written_out};
  }

  int width() const { return kernel_.schedule.width; }
  int pieces() const { return stage_.pieces; }
  int threads() const { return threads_of(kernel_, stage_); }
  /// Of the block; in a loop that teams share out, of the team.
  const char* thread() const { return pieces() > 1 || (stage_.teams > 1 && !in_team_) ? "thread" : "lane"; }
  /// The number of the thread, counted from another one.
  std::string thread_from(int64_t first) const {
    if (first % threads() == 0) return thread();
    return fmt::format("({} + {}) % {}", thread(), threads() - first % threads(), threads());
  }
  /// What all teams compute alike the first one stores.
  std::string of_first_team(const std::string& condition) const {
    if (stage_.teams == 1 || in_team_) return condition;
    return condition.empty() ? "team == 0" : condition + " && team == 0";
  }

  struct Definition {
    const Stmt* stmt = nullptr;
    int depth = 0;  // loops around it
  };

  void find_values(const Block& statements, int depth, std::map<loop::Value, Definition>& definitions) {
    for (const Stmt& s : statements) {
      used_.insert(s.args.begin(), s.args.end());
      for (int64_t c = 0; c < result_count(s); ++c)
        definitions[s.result + static_cast<loop::Value>(c)] = {&s, depth};
      if (s.kind == StmtKind::Apply && s.op == Op::Exp) find_power(s, definitions);
      find_values(s.body, depth + (s.kind == StmtKind::For ? 1 : 0), definitions);
      find_values(s.otherwise, depth, definitions);
    }
  }

  void find_power(const Stmt& s, const std::map<loop::Value, Definition>& definitions) {
    const Stmt& product = *definitions.at(s.args[0]).stmt;
    if (product.kind != StmtKind::Apply || product.op != Op::Mul) return;
    loop::Value x = product.args[0], y = product.args[1];
    if (definitions.at(x).depth < definitions.at(y).depth) std::swap(x, y);
    if (definitions.at(x).depth == definitions.at(y).depth) return;
    powers_[s.result] = {x, y};
    scaled_.insert(y);
  }

  /// MB_IN_PLACE and MB_OUT_PLACE: buffers that may lie in one place.
  void signature() {
    std::set<size_t> in_place;
    for (size_t i = 0; i < buffers_.size(); ++i)
      for (const int other : kernel_.buffers[i].in_place_of) in_place.insert({i, static_cast<size_t>(other)});
    line("MB_KERNEL({}, {}) {}(", threads(), std::max(1, kernel_.schedule.blocks_per_sm), symbol_);
    std::vector<std::string> parameters;
    for (size_t i = 0; i < buffers_.size(); ++i) {
      const loop::Buffer& buffer = kernel_.buffers[i];
      parameters.push_back(fmt::format("{}{}({}) {}", buffer.written ? "MB_OUT" : "MB_IN",
                                       in_place.count(i) ? "_PLACE" : "", type_name(buffer.dtype), buffers_[i]));
    }
    for (const std::string& size : long_sizes_) parameters.push_back(fmt::format("mb_long {}", size));
    line("    {}) {{", fmt::join(parameters, ", "));
  }

  void declare(const loop::Array& array) {
    arrays_.push_back(names_.make(array.name));
    line("{}({}, {}, {});", array.space == loop::Space::shared ? "MB_SHARED" : "MB_LOCAL", type_name(array.dtype),
         arrays_.back(), array.count);
  }

  // ---- integers ----

  /// What stays below 2^31 is computed in 32 bits.
  bool is_small(const Int& a) const {
    const auto bound = upper_bound(a, largest_, kLargestSize);
    return bound && *bound <= INT32_MAX && (!a->a || (is_small(a->a) && is_small(a->b)));
  }

  /// Divisions by numbers that are known when the kernel runs cost as much as hundreds of other instructions. Where
  /// task and sizes decide about them, they are done once.
  void name_numbers(const Block& statements) {
    for (const Stmt& s : statements) {
      for (const Int* a : {&s.offset, &s.lane_stride, &s.valid, &s.begin, &s.end, &s.below, &s.limit, &s.piece})
        if (*a) name_numbers(*a);
      name_numbers(s.body);
      name_numbers(s.otherwise);
    }
  }

  void name_numbers(const Int& a) {
    if (!divides(a) || !known(a).empty()) return;
    const std::set<loop::Var> used = loop::variables(a);
    if (used.empty() || (used.size() == 1 && *used.begin() == stage_.task)) {
      const std::string text = str(a);
      numbers_.emplace_back(a, fmt::format("n{}", numbers_.size()));
      line("const {} {} = {};", is_small(a) ? "int" : "mb_long", numbers_.back().second, text);
      return;
    }
    name_numbers(a->a);
    name_numbers(a->b);
  }

  static bool divides(const Int& a) {
    return a->a && (a->op == IntOp::Div || a->op == IntOp::Mod || divides(a->a) || divides(a->b));
  }

  std::string known(const Int& a) const override {
    int64_t by = 0;
    if (spread_var_ >= 0 && a->op == IntOp::Div && is_same(a->a, loop::variable(spread_var_)) &&
        is_constant(a->b, &by) && by == threads())
      return fmt::format("k{}", spread_var_);  // of which the variable is a multiple of the width, and the thread
    for (const auto& [number, name] : numbers_)
      if (is_same(number, a)) return name;
    return "";
  }

  std::string size(size_t number) const override { return sizes_.at(number); }
  std::string number(int64_t value) const override {
    return fmt::format("{}{}", value, value > INT32_MAX || value < INT32_MIN ? "LL" : "");
  }
  const char* function(IntOp op) const override { return op == IntOp::Min ? "mb_min_int" : "mb_max_int"; }
  /// A product of small factors may still be large.
  std::string cast(const Int& a) const override {
    return !is_small(a) && is_small(a->a) && is_small(a->b) ? "(mb_long)" : "";
  }

  // ---- statements ----

  void block(const Block& statements) {
    for (const Stmt& s : statements) from(s.origin, [&] { statement(s); });
  }

  void nested(const Block& statements) {
    depth_++;
    block(statements);
    depth_--;
  }

  void loop(const Stmt& s) {
    const auto end = upper_bound(s.end, largest_, kLargestSize);
    const bool small = is_small(s.end) && is_small(s.begin);
    const char* type = small ? "int" : "mb_long";
    if (small) largest_[s.var] = std::max<int64_t>(*end, 0);
    if (s.spread) {
      spread_loop(s, type);
      return;
    }
    const bool outer_team = std::exchange(in_team_, in_team_ || s.teams);
    const int64_t step = s.teams ? stage_.teams : s.step;
    const bool outermost = s.unroll && !unrolled_;
    if (outermost) hoist_pointers(s);
    unrolled_ |= outermost;
    open_nest(nest_of(s, step, s.unroll));
    line("#pragma unroll{}", s.unroll ? "" : " 1");
    line("for ({} i{} = {}; i{} < {}; i{} += {}) {{", type, s.var, s.teams ? "team" : str(s.begin), s.var, str(s.end),
         s.var, step);
    scope_.insert(s.var);
    const loop::Var around = std::exchange(written_out_, s.unroll ? s.var : written_out_);
    nested(s.body);
    written_out_ = around;
    scope_.erase(s.var);
    if (outermost) {
      unrolled_ = false;
      pointers_.clear();
    }
    in_team_ = outer_team;
    line("}}");
    close_nest();
  }

  // ---- pointers: what unrolled loops leave of an offset becomes a constant in the instruction ----

  struct Pointer {
    std::string name;
    std::map<loop::Var, int64_t> factors;
  };

  void hoist_pointers(const Stmt& loop) {
    std::set<loop::Var> vars;
    std::map<std::string, std::string> names;  // by what they point at
    collect_unrolled(loop, vars);
    hoist_pointers(loop.body, vars, names);
  }

  static void collect_unrolled(const Stmt& s, std::set<loop::Var>& vars) {
    if (s.kind == StmtKind::For && s.unroll) vars.insert(s.var);
    for (const Stmt& inner : s.body) collect_unrolled(inner, vars);
    for (const Stmt& inner : s.otherwise) collect_unrolled(inner, vars);
  }

  void hoist_pointers(const Block& statements, const std::set<loop::Var>& vars,
                      std::map<std::string, std::string>& names) {
    for (const Stmt& s : statements) {
      hoist_pointers(s.body, vars, names);
      hoist_pointers(s.otherwise, vars, names);
      const bool block = s.kind == StmtKind::LoadBlock || s.kind == StmtKind::StoreBlock;
      const bool single = s.kind == StmtKind::Load || s.kind == StmtKind::Fetch || s.kind == StmtKind::Prefetch ||
                          s.kind == StmtKind::Store;
      if (!single && !block) continue;
      const auto moving = factors(s.offset, vars);
      if (!moving || moving->empty()) continue;
      std::map<loop::Var, Int> zero;
      for (loop::Var var : vars) zero[var] = loop::constant(0);
      Stmt fixed = s;
      fixed.body.clear();
      fixed.offset = substitute(s.offset, zero);
      const std::set<loop::Var> used = variables(fixed.offset);
      if (!std::includes(scope_.begin(), scope_.end(), used.begin(), used.end())) continue;
      const std::string target = fmt::format("{} + ({})", buffer(s), block ? block_place(fixed) : place(fixed));
      auto [entry, fresh] = names.emplace(target, "");
      if (fresh) {
        entry->second = names_.make(buffer(s) + "_at");
        from(s.origin, [&] { line("const auto {} = {};", entry->second, target); });
      }
      pointers_[&s] = {entry->second, *moving};
    }
  }

  /// What an access names: a buffer and an offset.
  std::string target(const Stmt& s, const std::string& place) const {
    const auto found = pointers_.find(&s);
    if (found == pointers_.end()) return fmt::format("{}, {}", buffer(s), place);
    Int moving = loop::constant(0);
    for (const auto& [var, factor] : found->second.factors) moving = moving + loop::variable(var) * factor;
    return fmt::format("{}, {}", found->second.name, str(moving));
  }

  /// Few iterations for each thread are written out.
  void spread_loop(const Stmt& s, const char* type) {
    constexpr int64_t kMostWrittenOut = 16;
    spread_ = true;
    int64_t count = 0;
    const bool known = is_constant(s.end, &count) && count <= kMostWrittenOut * threads();
    open_nest(nest_of(s, threads(), known));
    if (known) {
      spread_var_ = s.var;
      line("#pragma unroll");
      line("for (int k{} = 0; k{} < {}; ++k{}) {{", s.var, s.var, (count + threads() - 1) / threads(), s.var);
      depth_++;
      line("const int i{} = {} + k{} * {};", s.var, thread_from(s.first), s.var, threads());
      if (count % threads() != 0) line("if (i{} < {}) {{", s.var, count);
    } else {
      line("#pragma unroll 1");
      line("for ({} i{} = {}; i{} < {}; i{} += {}) {{", type, s.var, thread_from(s.first), s.var, str(s.end), s.var,
           threads());
    }
    nested(s.body);
    if (known && count % threads() != 0) line("}}");
    if (known) depth_--;
    line("}}");
    close_nest();
    spread_ = false;
    spread_var_ = -1;
  }

  void branch(const Stmt& s) {
    line("if ({} < {}) {{", str(s.begin), str(s.end));
    open_nest({.kind = NestNode::taken, .begin = s.begin, .end = s.end});
    nested(s.body);
    close_nest();
    if (!s.otherwise.empty()) {
      line("}} else {{");
      open_nest({.kind = NestNode::otherwise, .begin = s.begin, .end = s.end});
      nested(s.otherwise);
      close_nest();
    }
    line("}}");
  }

  static std::string v(loop::Value value) { return fmt::format("v{}", value); }
  std::string array(const Stmt& s) const {
    return fmt::format("{}[{}]", arrays_.at(static_cast<size_t>(s.buffer)), str(s.offset));
  }
  const std::string& buffer(const Stmt& s) const { return buffers_.at(static_cast<size_t>(s.buffer)); }

  std::string place(const Stmt& s) const {
    if (!s.lane_stride) return str(s.offset);
    int64_t stride = 0;
    const std::string lanes = is_constant(s.lane_stride, &stride) && stride == 1
                                  ? "lane"
                                  : fmt::format("lane * {}", str(s.lane_stride, 3));
    int64_t offset = 0;
    return is_constant(s.offset, &offset) && offset == 0 ? lanes : fmt::format("{} + {}", str(s.offset), lanes);
  }

  std::string block_place(const Stmt& s) const {
    if (s.lane_stride) return place(s);
    const auto columns = s.kind == StmtKind::LoadBlock ? static_cast<size_t>(s.columns) : s.args.size();
    return fmt::format("{} + lane * {}", str(s.offset, 1), columns);
  }

  /// The condition under which a lane exists; empty: always.
  std::string exists(const Int& valid) const {
    int64_t count = 0;
    if (!valid || (is_constant(valid, &count) && count >= width())) return "";
    return fmt::format("lane < {}", str(valid));
  }

  void define(const Stmt& s, const std::string& text) { define(s.result, text); }
  void define(loop::Value value, const std::string& text) {
    line("const float v{} = {};", value, text);
    if (scaled_.count(value)) line("const float v{}_log2e = v{} * MB_LOG2E;", value, value);
  }

  void statement(const Stmt& s) {
    if (!s.comment.empty()) line("// {}", s.comment);
    switch (s.kind) {
      case StmtKind::For: loop(s); break;
      case StmtKind::If: branch(s); break;
      case StmtKind::Number: define(s, float_text(s.number)); break;
      case StmtKind::Index: define(s, fmt::format("(float)({})", str(s.offset))); break;
      case StmtKind::LaneIndex: define(s, fmt::format("(float)({} + lane)", str(s.offset, 1))); break;
      case StmtKind::Apply: define(s, apply(s)); break;
      case StmtKind::Load: {
        const std::string text = fmt::format("mb_load({})", target(s, place(s)));
        const std::string condition = exists(s.valid);
        define(s, condition.empty() ? text : fmt::format("{} ? {} : 0.f", condition, text));
        break;
      }
      case StmtKind::Fetch: fetch(s); break;
      case StmtKind::CopyAsync:
        line("mb_copy_async16({}, {}, {});", arrays_.at(static_cast<size_t>(s.array)), str(s.place),
             target(s, place(s)));
        break;
      case StmtKind::CommitCopies: line("mb_copy_commit();"); break;
      case StmtKind::WaitCopies: line("mb_copy_wait<{}>();", s.groups); break;
      case StmtKind::Prefetch: {
        const std::string condition = exists(s.valid);
        line("{}mb_prefetch({});", condition.empty() ? "" : fmt::format("if ({}) ", condition), target(s, place(s)));
        break;
      }
      case StmtKind::Store: store(s); break;
      case StmtKind::LoadBlock: load_block(s); break;
      case StmtKind::StoreBlock: store_block(s); break;
      case StmtKind::LoadArray: {
        const auto number = static_cast<size_t>(s.buffer);
        const bool raw = stage_.arrays.at(number).dtype != DType::f32;
        define(s, raw ? fmt::format("mb_load({}, {})", arrays_.at(number), str(s.offset)) : array(s));
        break;
      }
      case StmtKind::StoreArray: {
        const loop::Array& to = stage_.arrays.at(static_cast<size_t>(s.buffer));
        const bool one = to.space == loop::Space::shared && !spread_;
        line("{}{} = {};", one ? fmt::format("if ({} == 0) ", thread()) : "", array(s), v(s.args[0]));
        break;
      }
      case StmtKind::LoadPiece:
        define(s, fmt::format("mb_of_piece<{}>({}, {})", pieces(), array(s), str(s.piece)));
        break;
      case StmtKind::SumPieces: sum_pieces(s); break;
      case StmtKind::ScanPieces: scan_pieces(s); break;
      case StmtKind::Reduce: reduce(s); break;
      case StmtKind::ReduceInto: reduce_into(s); break;
      case StmtKind::AwaitKernels: line("mb_await_kernels();"); break;
      case StmtKind::Barrier: line("__syncthreads();"); break;
    }
  }

  void fetch(const Stmt& s) {
    const std::string condition = exists(s.valid);
    line("{}mb_take({}, {}, {});", condition.empty() ? "" : fmt::format("if ({}) ", condition),
         arrays_.at(static_cast<size_t>(s.array)), str(s.place), target(s, place(s)));
    if (!condition.empty())
      line("else mb_clear({}, {});", arrays_.at(static_cast<size_t>(s.array)), str(s.place));
  }

  void store(const Stmt& s) {
    const bool own = spread_ || differs_between_lanes(s.offset) || differs_between_lanes(s.below);
    std::string condition = s.lane_stride ? of_first_team(exists(s.valid))
                            : own         ? ""
                                          : fmt::format("{} == 0", thread());
    if (s.below)
      condition = fmt::format("{}{} < {}", condition.empty() ? "" : condition + " && ", str(s.below), str(s.limit));
    line("{}mb_store({}, {});", condition.empty() ? "" : fmt::format("if ({}) ", condition), target(s, place(s)),
         v(s.args[0]));
  }

  void load_block(const Stmt& s) {
    const std::string condition = exists(s.valid);
    line("float b{}[{}]{};", s.result, s.columns, condition.empty() ? "" : " = {}");
    line("{}mb_load_block<{}>(b{}, {});", condition.empty() ? "" : fmt::format("if ({}) ", condition), s.columns,
         s.result, target(s, block_place(s)));
    for (int64_t c = 0; c < s.columns; c++)
      define(s.result + static_cast<loop::Value>(c), fmt::format("b{}[{}]", s.result, c));
  }

  void store_block(const Stmt& s) {
    std::vector<std::string> columns;
    for (loop::Value value : s.args) columns.push_back(v(value));
    const std::string name = fmt::format("b{}", s.args[0]), condition = of_first_team("");
    line("{}{{", condition.empty() ? "" : fmt::format("if ({}) ", condition));
    depth_++;
    line("const float {}[{}] = {{{}}};", name, columns.size(), fmt::join(columns, ", "));
    line("mb_store_block<{}>({}, {});", columns.size(), target(s, block_place(s)), name);
    depth_--;
    line("}}");
  }

  void reduce(const Stmt& s) {
    const bool sum = s.op == Op::Sum;
    std::string value = v(s.args[0]);
    if (const std::string condition = exists(s.valid); !condition.empty())
      value = fmt::format("{} ? {} : {}", condition, value, sum ? "0.f" : "-MB_INFINITY");
    define(s, width() == 1 ? value : fmt::format("{}<{}>({})", sum ? "mb_sum" : "mb_amax", width(), value));
  }

  void reduce_into(const Stmt& s) {
    std::vector<std::string> values;
    for (loop::Value value : s.args) values.push_back(v(value));
    const int group = std::min(width(), loop::kReduceGroup), channels = group / pieces();
    line("{{");
    depth_++;
    line("float r[{}] = {{{}}};", values.size(), fmt::join(values, ", "));
    line("mb_reduce_scatter<{}, {}, {}>(r);", values.size(), channels, pieces());
    line("if (lane % {} < {}) {}[{} + {} / {} * {} + lane % {} * {}] = r[0];", channels, values.size(),
         arrays_.at(static_cast<size_t>(s.buffer)), str(s.offset), thread(), group, str(s.lane_stride, 3), channels,
         s.step);
    depth_--;
    line("}}");
  }

  void sum_pieces(const Stmt& s) {
    if (s.args.size() == 1) return define(s, fmt::format("mb_sum<{}>({})", pieces(), v(s.args[0])));
    std::vector<std::string> values;
    for (loop::Value value : s.args) values.push_back(v(value));
    line("float r{}[{}] = {{{}}};", s.result, pieces(), fmt::join(values, ", "));
    line("mb_reduce_scatter<{}, {}>(r{});", pieces(), pieces(), s.result);
    define(s, fmt::format("r{}[0]", s.result));
  }

  void scan_pieces(const Stmt& s) {
    const std::string a = fmt::format("a{}", s.result), b = fmt::format("b{}", s.result);
    line("float {} = {}, {} = {};", a, v(s.args[0]), b, v(s.args[1]));
    line("mb_scan_pairs<{}>({}, {});", pieces(), a, b);
    const auto before = [&](const std::string& x, const char* none) {
      return fmt::format("mb_shift_up<{}>({}, {})", pieces(), x, none);
    };
    const auto last = [&](const std::string& x) {
      return fmt::format("mb_of_piece<{}>({}, {})", pieces(), x, pieces() - 1);
    };
    const std::string results[loop::kScanResults] = {before(a, "1.f"), before(b, "0.f"), last(a), last(b)};
    for (int64_t i = 0; i < loop::kScanResults; ++i) {
      const loop::Value value = s.result + static_cast<loop::Value>(i);
      if (used_.count(value)) define(value, results[i]);  // an exchange of values costs
    }
  }

  std::string apply(const Stmt& s) const {
    const auto arg = [&](size_t i) { return v(s.args.at(i)); };
    const auto infix = [&](const char* op) { return fmt::format("{} {} {}", arg(0), op, arg(1)); };
    const auto call = [&](const char* name) {
      std::vector<std::string> args;
      for (loop::Value value : s.args) args.push_back(v(value));
      return fmt::format("{}({})", name, fmt::join(args, ", "));
    };
    switch (s.op) {
      case Op::Neg: return "-" + arg(0);
      case Op::Stop: return arg(0);
      case Op::Add: return infix("+");
      case Op::Sub: return infix("-");
      case Op::Mul: return infix("*");
      case Op::Lt: return infix("<") + " ? 1.f : 0.f";
      case Op::Le: return infix("<=") + " ? 1.f : 0.f";
      case Op::Eq: return infix("==") + " ? 1.f : 0.f";
      case Op::Select: return fmt::format("{} != 0.f ? {} : {}", arg(0), arg(1), arg(2));
      case Op::Abs: return call("mb_abs");
      case Op::Div: return call("mb_div");
      case Op::Max: return call("mb_max");
      case Op::Min: return call("mb_min");
      case Op::Exp: {
        const auto product = powers_.find(s.result);
        if (product == powers_.end()) return call("mb_exp");
        const std::string power = fmt::format("{} * {}_log2e", v(product->second.first), v(product->second.second));
        const int every = kernel_.schedule.exp_on_fma;
        return every > 0 && written_out_ >= 0 ? fmt::format("mb_exp2_mixed<{}>({}, i{})", every, power, written_out_)
                                              : fmt::format("mb_exp2({})", power);
      }
      case Op::Log: return call("mb_log");
      case Op::Sqrt: return call("mb_sqrt");
      case Op::Rsqrt: return call("mb_rsqrt");
      case Op::Sigmoid: return call("mb_sigmoid");
      case Op::Tanh: return call("mb_tanh");
      case Op::Softplus: return call("mb_softplus");
      case Op::Sin: return call("mb_sin");
      case Op::Cos: return call("mb_cos");
      default: throw InternalError(fmt::format("CUDA: op {} cannot be applied", mambac::name_of(s.op)));
    }
  }

  const loop::Kernel& kernel_;
  const loop::Stage& stage_;
  const std::string symbol_;
  Names names_;
  std::vector<std::string> buffers_, sizes_, long_sizes_, arrays_;
  std::map<loop::Var, int64_t> largest_;  // of loop variables, where known
  // exp(x * y), as the decays of a scan are, where y is computed in fewer loops than x: y is scaled there, once.
  std::map<loop::Value, std::pair<loop::Value, loop::Value>> powers_;  // by the exponential: x and y
  std::set<loop::Value> scaled_;                                       // the y
  std::set<loop::Value> used_;                                         // by some statement
  std::map<const Stmt*, Pointer> pointers_;                            // of accesses in the unrolled loop that is open
  std::set<loop::Var> scope_;                                          // variables of open loops, and the task
  bool spread_ = false, unrolled_ = false;
  bool in_team_ = false;                               // in a loop that teams share out
  loop::Var spread_var_ = -1;                          // of the loop that is shared out and written out
  std::vector<std::pair<Int, std::string>> numbers_;   // that have a name
  loop::Var written_out_ = -1;  // of the innermost loop that is unrolled
  Nest nest_;
  int nested_ = -1;  // the node that is open
};

}  // namespace

void check_sizes(const std::vector<std::string>& names, const std::vector<int64_t>& sizes) {
  for (size_t i = 0; i < sizes.size(); ++i)
    if (sizes[i] > kLargestSize)
      throw InputError(fmt::format("{}={} is more than kernels of a GPU take, which is {}", names.at(i), sizes[i],
                                   kLargestSize));
}

std::string type_name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "float";
    case DType::bf16: return "mb_bf16";
    case DType::f16: return "mb_f16";
    case DType::i32: return "int";
    case DType::u8: return "unsigned char";
  }
  throw InternalError("unknown element type");
}

std::string stage_symbol(const loop::Kernel& kernel, size_t stage) {
  std::string symbol;
  for (char c : kernel.name) symbol += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  if (kernel.stages.size() > 1) symbol += fmt::format("_{}_{}", stage, kernel.stages[stage].name);
  return symbol;
}

std::string emit(const loop::Kernel& lowered, std::vector<machine::Nest>* nests, std::vector<int>* line_origins) {
  for (const loop::Stage& stage : lowered.stages)
    check(stage.pieces >= 1 && lowered.schedule.width % stage.pieces == 0, "a block has whole channels");
  check(lowered.schedule.width >= 1 && std::has_single_bit(static_cast<unsigned>(lowered.schedule.width)),
        "the width of a kernel must be a power of two");
  const loop::Kernel kernel = for_threads(lowered, kSharedBytes);
  verify(kernel);
  std::string text = fmt::format("// {}\n// {}\n", kernel.name, kernel.schedule.str());
  for (size_t i = 0; i < kernel.stages.size(); ++i) {
    text += '\n';
    StageText stage(kernel, i, text, line_origins);
    stage.write();
    if (nests) nests->push_back(stage.take_nest());
  }
  return text;
}

}  // namespace mambac::cuda_emit
