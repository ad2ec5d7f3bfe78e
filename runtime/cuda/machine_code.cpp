#include "runtime/cuda/machine_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "ir/error.h"

namespace mambac::cuda {

using machine::Flow;
using machine::Instruction;
using machine::IssueControl;

namespace {

/// Takes the first line off the text.
std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

/// Without the spaces at its end.
std::string_view without_end(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t\r") + 1);
}

std::string_view first_word(std::string_view text) {
  return text.substr(0, text.find_first_of(" \t;"));
}

int number_at(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// The names between `open` and the next `close`.
std::vector<std::string> names_between(std::string_view text, std::string_view open, char close) {
  std::vector<std::string> names;
  size_t at = text.find(open);
  if (at == std::string_view::npos) return names;
  text = text.substr(at + open.size());
  text = text.substr(0, text.find(close));
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find(','), rest.size());
    names.emplace_back(trimmed(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

/// One function while it is read: labels stand in front of their instruction, and may come after what leads to them.
class Body {
 public:
  void label(std::string_view name) { labels_[std::string(name)] = static_cast<int>(function_.instructions.size()); }
  void add(Instruction instruction, std::vector<std::string> targets) {
    function_.instructions.push_back(std::move(instruction));
    targets_.push_back(std::move(targets));
  }
  void control(const IssueControl& control) {
    if (!empty()) function_.instructions.back().control = control;
  }
  bool empty() const { return function_.instructions.empty(); }

  machine::Function finish(std::string name) {
    function_.name = std::move(name);
    for (size_t i = 0; i < targets_.size(); ++i)
      for (const std::string& target : targets_[i]) {
        const auto found = labels_.find(target);
        if (found == labels_.end() || found->second >= static_cast<int>(targets_.size()))
          throw InternalError(fmt::format("the machine code of {} has no label {}", function_.name, target));
        function_.instructions[i].targets.push_back(found->second);
      }
    return std::move(function_);
  }

 private:
  machine::Function function_;
  std::vector<std::vector<std::string>> targets_;
  std::map<std::string, int> labels_;
};

// ---- SASS ----

Flow flow_of_sass(std::string_view opcode) {
  const std::string_view base = opcode.substr(0, opcode.find('.'));
  // BRA.DIV leads to a way for warps that have come apart, which none here does.
  if (opcode.starts_with("BRA.DIV")) return Flow::next;
  if (base == "BRA" || base == "BRX" || base == "BRXU" || base == "JMP" || base == "JMX" || base == "JMXU")
    return Flow::branch;
  if (base == "CALL") return Flow::call;
  return base == "EXIT" || base == "RET" || base == "KILL" ? Flow::end : Flow::next;
}

/// What stands behind "/*0010*/", if it is closed.
std::string_view after_address(std::string_view row) {
  const size_t end = row.find("*/");
  return end == std::string_view::npos ? std::string_view() : trimmed(row.substr(end + 2));
}

/// Of "/* 0x000fe20000000800 */", the upper half of an instruction: what stands from bit 41 on.
IssueControl control_of(std::string_view row) {
  constexpr unsigned kNone = 7;  // of the eight numbers of a scoreboard
  uint64_t bits = 0;
  const size_t digits = row.find("0x") + 2;
  std::from_chars(row.data() + digits, row.data() + row.size(), bits, 16);
  bits >>= 41;
  const auto scoreboard = [](uint64_t number) { return number == kNone ? -1 : static_cast<int>(number); };
  return {static_cast<int>(bits & 15), scoreboard(bits >> 5 & 7), scoreboard(bits >> 8 & 7),
          static_cast<unsigned>(bits >> 11 & 63)};
}

/// "@!P0 BRA `(.L_x_2)": what stands between the address and the semicolon.
void add_sass(Body& body, std::string_view text, int line) {
  Instruction instruction;
  instruction.line = line;
  if (text.starts_with('@')) {
    const std::string_view guard = first_word(text);
    instruction.conditional = !guard.ends_with("PT") || guard.starts_with("@!");
    text = trimmed(text.substr(guard.size()));
  }
  instruction.opcode = first_word(text);
  instruction.flow = flow_of_sass(instruction.opcode);
  std::vector<std::string> targets;
  if (instruction.flow == Flow::branch || instruction.flow == Flow::call) {
    targets = names_between(text, "BRANCH_TARGETS ", '"');
    if (targets.empty()) targets = names_between(text, "`(", ')');
    // A condition may also stand in front of the target: BRA P1, `(.L_x_2)
    const std::string_view operands =
        text.substr(instruction.opcode.size(), text.find('`') - instruction.opcode.size());
    if (instruction.flow == Flow::branch && operands.find('P') != std::string_view::npos && targets.size() == 1)
      instruction.conditional = true;
    if (instruction.flow == Flow::call && targets.empty()) instruction.flow = Flow::next;  // by a pointer
  }
  body.add(std::move(instruction), std::move(targets));
}

// ---- PTX ----

Flow flow_of_ptx(std::string_view opcode) {
  if (opcode == "bra" || opcode.starts_with("bra.") || opcode.starts_with("brx.")) return Flow::branch;
  return opcode == "ret" || opcode.starts_with("ret.") || opcode == "exit" || opcode == "trap" ? Flow::end : Flow::next;
}

/// The numbers of ".loc 1 49 20, function_name $L__info_string0, inlined_at 1 469 5", resolved to where the code was
/// inlined to.
class Places {
 public:
  explicit Places(int first_line) : first_line_(first_line) {}

  int line_of(std::string_view loc) {
    Place place = place_at(loc.substr(loc.find(".loc") + 4));
    if (const size_t at = loc.find("inlined_at"); at != std::string_view::npos)
      inlined_[place] = place_at(loc.substr(at + 10));
    for (int depth = 0; place.first < first_line_ && depth < 64; ++depth) {
      const auto around = inlined_.find(place);  // a place that is repeated comes without it
      if (around == inlined_.end()) return 0;
      place = around->second;
    }
    return place.first;
  }

 private:
  using Place = std::pair<int, int>;  // line and column

  /// Of " 1 49 20, ...": the file's number, line, column.
  static Place place_at(std::string_view text) {
    Place place{0, 0};
    for (int* number : {static_cast<int*>(nullptr), &place.first, &place.second}) {
      text = trimmed(text);
      if (number) *number = number_at(text);
      text.remove_prefix(std::min(text.find_first_of(" \t,"), text.size()));
    }
    return place;
  }

  const int first_line_;
  std::map<Place, Place> inlined_;
};

void add_ptx(Body& body, std::string_view text, int line) {
  Instruction instruction;
  instruction.line = line;
  if (text.starts_with('@')) {
    instruction.conditional = true;
    text = trimmed(text.substr(first_word(text).size()));
  }
  instruction.opcode = first_word(text);
  instruction.flow = flow_of_ptx(instruction.opcode);
  std::vector<std::string> targets;
  if (instruction.flow == Flow::branch) targets.emplace_back(trimmed(text.substr(text.find_last_of(" \t,") + 1)));
  body.add(std::move(instruction), std::move(targets));
}

enum class Row : uint8_t { section, function, label, instruction, encoding };

/// Calls visit(kind, row, line of the source) for these rows.
template <typename Visit>
void each_sass_row(std::string_view text, const Visit& visit) {
  int line = 0;
  while (!text.empty()) {
    const std::string_view full = take_line(text), row = trimmed(full);
    if (row.starts_with(".section")) {
      line = 0;
      visit(Row::section, full, line);
    } else if (row.starts_with("//## File")) {
      line = number_at(row.substr(row.rfind(' ') + 1));  // of several, the place inlined to comes last
    } else if (row.ends_with(':')) {
      if (row.starts_with('$')) line = 0;  // a function of the assembler's own
      visit(row.starts_with(".text.") ? Row::function : Row::label, full, line);
    } else if (row.starts_with("/*") && !after_address(row).empty()) {
      visit(Row::instruction, full, line);
    } else if (row.starts_with("/* 0x")) {  // behind its instruction, with the first half at its end
      visit(Row::encoding, full, line);
    }
  }
}

}  // namespace

std::vector<machine::Function> parse_sass(std::string_view text) {
  std::vector<machine::Function> functions;
  Body body;
  std::string name;
  const auto finish = [&] {
    if (!name.empty() && !body.empty()) functions.push_back(body.finish(name));
    body = {};
    name.clear();
  };
  each_sass_row(text, [&](Row kind, std::string_view row, int line) {
    row = trimmed(row);
    if (kind == Row::section) return finish();
    if (kind == Row::encoding) return body.control(control_of(row));
    if (kind == Row::instruction) {
      const std::string_view instruction = after_address(row);
      return add_sass(body, instruction.substr(0, instruction.find(';')), line);
    }
    if (kind == Row::function) name = row.substr(6, row.size() - 7);
    body.label(kind == Row::function ? name : row.substr(0, row.size() - 1));
  });
  finish();
  return functions;
}

std::vector<CodeLine> sass_lines(std::string_view text) {
  std::vector<CodeLine> lines;
  bool inside = false;
  each_sass_row(text, [&](Row kind, std::string_view row, int line) {
    inside = kind == Row::function || (inside && kind != Row::section);
    if (inside) lines.push_back({std::string(without_end(row)), line});
  });
  return lines;
}

namespace {

/// Reads the rows of PTX one by one.
class PtxReader {
 public:
  explicit PtxReader(int first_line) : places_(first_line) {}

  void take(std::string_view row) {
    const bool was_inside = !name_.empty();
    read(trimmed(row.substr(0, row.find("//"))));
    if ((was_inside || !name_.empty()) && !trimmed(row).starts_with(".loc") && !trimmed(row).empty())
      lines.push_back({std::string(without_end(row)), line_});
  }

  std::vector<machine::Function> functions;
  std::vector<CodeLine> lines;

 private:
  void read(std::string_view row) {
    if (depth_ == 0) return outside(row);
    depth_ += static_cast<int>(std::count(row.begin(), row.end(), '{') - std::count(row.begin(), row.end(), '}'));
    if (depth_ <= 0) return finish();
    if (row.starts_with(".loc")) {
      line_ = places_.line_of(row);
    } else if (row.starts_with('$') && row.ends_with(':')) {
      body_.label(row.substr(0, row.size() - 1));
    } else if (!row.starts_with('.')) {
      statement(row);
    }
  }

  void outside(std::string_view row) {
    if (const size_t at = row.find(".entry "); at != std::string_view::npos)
      name_ = row.substr(at + 7, row.find('(') - at - 7);
    else if (row == "{" && !name_.empty())
      depth_ = 1;
  }

  /// A call goes over several rows.
  void statement(std::string_view row) {
    row = trimmed(row.substr(row.starts_with('{') ? 1 : 0));
    if (row.empty() || row == "}") return;
    if (!goes_on_) add_ptx(body_, row.substr(0, row.find(';')), line_);
    goes_on_ = row.find(';') == std::string_view::npos;
  }

  void finish() {
    functions.push_back(body_.finish(name_));
    body_ = {};
    name_.clear();
    depth_ = line_ = 0;
    goes_on_ = false;
  }

  Places places_;
  Body body_;
  std::string name_;  // empty: outside of kernels
  int depth_ = 0, line_ = 0;
  bool goes_on_ = false;
};

}  // namespace

std::vector<machine::Function> parse_ptx(std::string_view text, int first_line) {
  PtxReader reader(first_line);
  while (!text.empty()) reader.take(take_line(text));
  return std::move(reader.functions);
}

std::vector<CodeLine> ptx_lines(std::string_view text, int first_line) {
  PtxReader reader(first_line);
  while (!text.empty()) reader.take(take_line(text));
  return std::move(reader.lines);
}

bool is_special(const Instruction& instruction) {
  if (instruction.opcode.starts_with("MUFU")) return true;
  for (const char* name : {"ex2.approx", "lg2.approx", "rcp.approx", "rsqrt.approx", "sqrt.approx", "sin.approx",
                           "cos.approx", "tanh.approx"})
    if (instruction.opcode.starts_with(name)) return true;
  return false;
}

}  // namespace mambac::cuda
