// Text of kernels and integer expressions.
#include <fmt/format.h>

#include "codegen/loop_ir.h"
#include "codegen/loop_writer.h"

namespace mambac::loop {
namespace {

const char* space_text(Space space) {
  switch (space) {
    case Space::registers: return " registers";
    case Space::shared: return " shared";
    case Space::scratch: break;
  }
  return "";
}

std::string spread_text(const Stmt& s) {
  return s.first == 0 ? " spread" : fmt::format(" spread from {}", s.first);
}

class Printer : public LoopWriter {
 public:
  Printer(const Kernel& kernel, std::string& out, std::vector<int>* line_origins)
      : LoopWriter(out, line_origins), kernel_(kernel) {}

  void kernel() {
    line("kernel {}  # {}", kernel_.name, kernel_.schedule.str());
    depth_ = 1;
    for (const std::string& size : kernel_.sizes) line("size {}", size);
    for (const Buffer& b : kernel_.buffers)
      line("buffer {}: {}{}{}", b.name, mambac::name_of(b.dtype), b.written ? " written" : "", in_place(b));
    for (const Stage& s : kernel_.stages) from(s.origin, [&] { stage(s); });
  }

 private:
  std::string size(size_t number) const override { return kernel_.sizes.at(number); }

  std::string in_place(const Buffer& buffer) const {
    std::string text;
    for (const int other : buffer.in_place_of)
      text += (text.empty() ? " in place of " : ", ") + kernel_.buffers.at(static_cast<size_t>(other)).name;
    return text;
  }

  void stage(const Stage& s) {
    stage_ = &s;
    line("stage {}: for i{} < {}{} {{", s.name, s.task, str(s.tasks),
         (s.pieces > 1 ? fmt::format(" pieces {}", s.pieces) : "") +
             (s.teams > 1 ? fmt::format(" teams {}", s.teams) : ""));
    depth_++;
    for (const Array& a : s.arrays)
      line("array {}: {}[{}]{}{}", a.name, a.lanes ? "lanes" : "uniform", a.count, space_text(a.space),
           a.dtype == DType::f32 ? "" : fmt::format(" {}", mambac::name_of(a.dtype)));
    block(s.body);
    depth_--;
    line("}}");
  }

  void block(const Block& statements) {
    for (const Stmt& s : statements) from(s.origin, [&] { statement(s); });
  }

  void nested(const Block& statements) {
    depth_++;
    block(statements);
    depth_--;
  }

  std::string access(const Stmt& s) const {
    std::string text = str(s.offset);
    if (s.lane_stride) {
      int64_t stride = 0;
      text += is_constant(s.lane_stride, &stride) && stride == 1 ? " + lane"
                                                                 : fmt::format(" + lane * ({})", str(s.lane_stride));
    }
    std::string subscript = fmt::format("{}[{}]", kernel_.buffers.at(static_cast<size_t>(s.buffer)).name, text);
    if (s.valid) subscript += fmt::format(" valid {}", str(s.valid));
    if (s.below) subscript += fmt::format(" where {} < {}", str(s.below), str(s.limit));
    return s.ahead != 0 ? fmt::format("{} ahead {}", subscript, s.ahead) : subscript;
  }

  std::string block(const Stmt& s, int64_t columns) const {
    std::string text = fmt::format("{}[{} + lane * {} ..]", kernel_.buffers.at(static_cast<size_t>(s.buffer)).name,
                                   str(s.offset), s.lane_stride ? str(s.lane_stride, 3) : std::to_string(columns));
    if (s.valid) text += fmt::format(" valid {}", str(s.valid));
    return s.ahead != 0 ? fmt::format("{} ahead {}", text, s.ahead) : text;
  }

  std::string element(const Stmt& s) const {
    return fmt::format("{}[{}]", stage_->arrays.at(static_cast<size_t>(s.buffer)).name, str(s.offset));
  }

  static std::string arguments(const Stmt& s) {
    std::string text;
    for (Value v : s.args) text += fmt::format("{}v{}", text.empty() ? "" : ", ", v);
    return text;
  }

  void statement(const Stmt& s) {
    if (!s.comment.empty()) line("# {}", s.comment);
    switch (s.kind) {
      case StmtKind::For:
        line("for i{} = {}; i{} < {}; i{} += {}{}{} {{", s.var, str(s.begin), s.var, str(s.end), s.var, s.step,
             s.unroll ? " unroll" : "",
             s.spread  ? spread_text(s)
             : s.teams ? std::string(" teams")
                       : "");
        nested(s.body);
        line("}}");
        break;
      case StmtKind::If:
        line("if {} < {} {{", str(s.begin), str(s.end));
        nested(s.body);
        if (!s.otherwise.empty()) {
          line("}} else{} {{", s.once ? " once" : "");
          nested(s.otherwise);
        }
        line("}}");
        break;
      case StmtKind::Number: line("v{} = {}", s.result, s.number); break;
      case StmtKind::Index: line("v{} = f32({})", s.result, str(s.offset)); break;
      case StmtKind::LaneIndex: line("v{} = f32({} + lane)", s.result, str(s.offset)); break;
      case StmtKind::Apply: line("v{} = {}({})", s.result, mambac::name_of(s.op), arguments(s)); break;
      case StmtKind::Load: line("v{} = {}", s.result, access(s)); break;
      case StmtKind::Fetch:
        line("{}[{}] = {}", stage_->arrays.at(static_cast<size_t>(s.array)).name, str(s.place), access(s));
        break;
      case StmtKind::CopyAsync:
        line("copy {}[{}] = {}", stage_->arrays.at(static_cast<size_t>(s.array)).name, str(s.place), access(s));
        break;
      case StmtKind::CommitCopies: line("commit copies"); break;
      case StmtKind::WaitCopies: line("wait for copies but {} groups", s.groups); break;
      case StmtKind::Prefetch: line("prefetch {}", access(s)); break;
      case StmtKind::Store: line("{} = {}", access(s), arguments(s)); break;
      case StmtKind::LoadBlock:
        line("v{}..v{} = {}", s.result, s.result + s.columns - 1, block(s, s.columns));
        break;
      case StmtKind::StoreBlock:
        line("{} = {}", block(s, static_cast<int64_t>(s.args.size())), arguments(s));
        break;
      case StmtKind::LoadArray: line("v{} = {}", s.result, element(s)); break;
      case StmtKind::LoadPiece: line("v{} = {} of piece {}", s.result, element(s), str(s.piece)); break;
      case StmtKind::SumPieces: line("v{} = sums over pieces({})", s.result, arguments(s)); break;
      case StmtKind::ScanPieces:
        line("v{}..v{} = maps over pieces({})", s.result, s.result + kScanResults - 1, arguments(s));
        break;
      case StmtKind::StoreArray: line("{} = {}", element(s), arguments(s)); break;
      case StmtKind::Reduce:
        line("v{} = {} over lanes({}){}", s.result, mambac::name_of(s.op), arguments(s),
             s.valid ? fmt::format(" valid {}", str(s.valid)) : "");
        break;
      case StmtKind::ReduceInto:
        line("{} + group * {} by {} = sums over lanes({})", element(s), str(s.lane_stride), s.step, arguments(s));
        break;
      case StmtKind::AwaitKernels: line("await kernels"); break;
      case StmtKind::Barrier: line("barrier"); break;
    }
  }

  const Kernel& kernel_;
  const Stage* stage_ = nullptr;
};

}  // namespace

std::string print(const Kernel& kernel, std::vector<int>* line_origins) {
  std::string text;
  Printer(kernel, text, line_origins).kernel();
  return text;
}

}  // namespace mambac::loop
