// What the text of kernels has in common in dumps and in emitted source: indented lines, and integer expressions in C's
// syntax.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "codegen/loop_ir.h"

namespace mambac::loop {

class LoopWriter {
 public:
  explicit LoopWriter(std::string& out)
      : out_(out), lines_(static_cast<int>(std::count(out.begin(), out.end(), '\n'))) {}
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
};

}  // namespace mambac::loop
