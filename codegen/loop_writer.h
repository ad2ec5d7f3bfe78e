// What the text of kernels has in common in dumps and in emitted source: indented lines, and integer expressions in C's
// syntax.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "codegen/loop_ir.h"

namespace mambac::loop {

class LoopWriter {
 public:
  /// `line_origins`, where asked for: by line of `out` the origin of its statement; -1: none.
  explicit LoopWriter(std::string& out, std::vector<int>* line_origins = nullptr)
      : out_(out), lines_(static_cast<int>(std::count(out.begin(), out.end(), '\n'))), line_origins_(line_origins) {}
  virtual ~LoopWriter() = default;

  /// A variable k is written ik. Without parentheses around it when it binds as tightly as `least`: 0 anything, 1 a
  /// sum, 2 a product, 3 a single term.
  std::string str(const Int& a, int least = 0) const;

 protected:
  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    out_.append(static_cast<size_t>(depth_) * 2, ' ');
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
    out_ += '\n';
    ++lines_;
    if (!line_origins_) return;
    line_origins_->resize(static_cast<size_t>(lines_), -1);
    line_origins_->back() = origin_;
  }

  /// Writes lines that belong to a statement of this origin.
  template <typename Write>
  void from(int origin, Write write) {
    const int around = std::exchange(origin_, origin);
    write();
    origin_ = around;
  }

  virtual std::string size(size_t number) const = 0;
  virtual std::string number(int64_t value) const { return fmt::format("{}", value); }
  virtual const char* function(IntOp op) const { return op == IntOp::Min ? "min" : "max"; }
  /// What stands for a whole expression; empty: it is written out.
  virtual std::string known(const Int& /*a*/) const { return ""; }
  /// Stands before the left operand of an operation: a cast, or nothing.
  virtual std::string cast(const Int& /*a*/) const { return ""; }

  std::string& out_;
  int lines_;  // of the text so far
  int depth_ = 0;

 private:
  std::string infix(const Int& a, const char* op, int level, int least) const;

  std::vector<int>* line_origins_;
  int origin_ = -1;
};

}  // namespace mambac::loop
