#include "codegen/loop_interpret.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ir/error.h"

namespace mambac::loop {
namespace {

using Lanes = std::vector<float>;  // one element: uniform

float from_half(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  double value = 0;
  if (exponent == 31) value = mantissa ? NAN : INFINITY;
  else if (exponent == 0) value = std::ldexp(mantissa, -24);
  else value = std::ldexp(1024 + mantissa, exponent - 25);
  return static_cast<float>(h & 0x8000 ? -value : value);
}

/// Rounds to nearest even among numbers with `digits` binary digits, the smallest normal one being 2^lowest.
double nearest(double x, int digits, int lowest) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 1, lowest) - (digits - 1));
  return std::nearbyint(x / unit) * unit;
}

uint16_t to_half(float x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  if (std::isnan(x)) return sign | 0x7e00;
  const double magnitude = std::isinf(x) ? 1e9 : nearest(std::fabs(x), 11, -14);
  if (magnitude > 65504) return sign | 0x7c00;
  if (magnitude < 0x1p-14) return static_cast<uint16_t>(sign | static_cast<int>(magnitude * 0x1p24));
  int exponent = 0;
  const double fraction = std::frexp(magnitude, &exponent);  // in [1/2, 1)
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) | (static_cast<int>(fraction * 2048) - 1024));
}

float from_bfloat(uint16_t b) {
  const uint32_t bits = static_cast<uint32_t>(b) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint16_t to_bfloat(float x) {
  if (std::isnan(x)) return 0x7fc0;
  const auto rounded = static_cast<float>(std::isinf(x) ? x : nearest(x, 8, -126));
  uint32_t bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

template <typename T>
T get(const void* base, int64_t at) {
  T value;
  std::memcpy(&value, static_cast<const char*>(base) + at * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T>
void put(void* base, int64_t at, T value) {
  std::memcpy(static_cast<char*>(base) + at * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

float read(DType dtype, const void* base, int64_t at) {
  switch (dtype) {
    case DType::f32: return get<float>(base, at);
    case DType::bf16: return from_bfloat(get<uint16_t>(base, at));
    case DType::f16: return from_half(get<uint16_t>(base, at));
    case DType::i32: return static_cast<float>(get<int32_t>(base, at));
    case DType::u8: return static_cast<float>(get<uint8_t>(base, at));
  }
  throw InternalError("unknown element type");
}

void write(DType dtype, void* base, int64_t at, float value) {
  switch (dtype) {
    case DType::f32: put(base, at, value); return;
    case DType::bf16: put(base, at, to_bfloat(value)); return;
    case DType::f16: put(base, at, to_half(value)); return;
    case DType::i32: put(base, at, static_cast<int32_t>(value)); return;
    case DType::u8: put(base, at, static_cast<uint8_t>(static_cast<int32_t>(value))); return;
  }
}

float larger(float x, float y) { return std::isnan(x) ? x : x > y ? x : y; }
float smaller(float x, float y) { return std::isnan(x) ? x : x < y ? x : y; }

float elementary(Op op, double x) {
  switch (op) {
    case Op::Exp: return static_cast<float>(std::exp(x));
    case Op::Log: return static_cast<float>(std::log(x));
    case Op::Sqrt: return static_cast<float>(std::sqrt(x));
    case Op::Rsqrt: return static_cast<float>(1 / std::sqrt(x));
    case Op::Sigmoid: return static_cast<float>(1 / (1 + std::exp(-x)));
    case Op::Tanh: return static_cast<float>(std::tanh(x));
    case Op::Softplus: return static_cast<float>(std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))));
    case Op::Sin: return static_cast<float>(std::sin(x));
    case Op::Cos: return static_cast<float>(std::cos(x));
    default: throw InternalError(fmt::format("loop IR: op {} cannot be applied", mambac::name_of(op)));
  }
}

float pointwise(Op op, float x, float y, float z) {
  switch (op) {
    case Op::Neg: return -x;
    case Op::Abs: return std::fabs(x);
    case Op::Stop: return x;
    case Op::Add: return x + y;
    case Op::Sub: return x - y;
    case Op::Mul: return x * y;
    case Op::Div: return x / y;
    case Op::Max: return std::isnan(y) ? y : larger(x, y);
    case Op::Min: return std::isnan(y) ? y : smaller(x, y);
    case Op::Lt: return x < y ? 1.f : 0.f;
    case Op::Le: return x <= y ? 1.f : 0.f;
    case Op::Eq: return x == y ? 1.f : 0.f;
    case Op::Select: return x != 0 ? y : z;
    default: return elementary(op, x);
  }
}

class Interpreter {
 public:
  Interpreter(const Kernel& kernel, const Stage& stage, void* const* buffers, const std::vector<int64_t>& sizes,
              const int64_t* elements)
      : elements_(elements),
        kernel_(kernel),
        stage_(stage),
        buffers_(buffers),
        sizes_(sizes),
        width_(static_cast<size_t>(kernel.schedule.width)),
        values_(static_cast<size_t>(stage.values)),
        vars_(static_cast<size_t>(stage.vars)) {}

  void task(int64_t number) {
    arrays_.clear();
    for (const Array& a : stage_.arrays)
      arrays_.emplace_back(static_cast<size_t>(a.count), Lanes(a.lanes ? width_ : 1, NAN));
    vars_[static_cast<size_t>(stage_.task)] = number;
    block(stage_.body);
  }

 private:
  int64_t eval(const Int& a, int64_t lane = 0) const { return evaluate(a, vars_, sizes_, lane % pieces()); }
  int64_t pieces() const { return stage_.pieces; }
  /// The number of elements that differ: one, or one for each lane.
  size_t shape(const Int& a) const { return differs_between_lanes(a) ? width_ : 1; }
  bool stores(const Stmt& s, int64_t lane) const { return !s.below || eval(s.below, lane) < eval(s.limit, lane); }
  const Lanes& value(Value v) const { return values_.at(static_cast<size_t>(v)); }
  static float lane(const Lanes& v, size_t i) { return v[v.size() == 1 ? 0 : i]; }
  int64_t count(const Int& valid) const { return valid ? eval(valid) : static_cast<int64_t>(width_); }
  void* base(const Stmt& s) const { return buffers_[s.buffer]; }
  DType dtype(const Stmt& s) const { return kernel_.buffers.at(static_cast<size_t>(s.buffer)).dtype; }

  /// The element's index, which must lie in the buffer.
  int64_t inside(const Stmt& s, int64_t at) const {
    if (at < 0 || (elements_ && at >= elements_[s.buffer]))
      throw InternalError(fmt::format("loop IR: {} reaches element {} of buffer '{}', which has {}", kernel_.name, at,
                                      kernel_.buffers[static_cast<size_t>(s.buffer)].name,
                                      elements_ ? elements_[s.buffer] : 0));
    return at;
  }

  Lanes& element(const Stmt& s, int64_t lane = 0) {
    const int64_t at = eval(s.offset, lane);
    auto& array = arrays_.at(static_cast<size_t>(s.buffer));
    if (at < 0 || at >= static_cast<int64_t>(array.size()))
      throw InternalError(fmt::format("loop IR: element {} of array '{}' does not exist", at,
                                      stage_.arrays[static_cast<size_t>(s.buffer)].name));
    return array[static_cast<size_t>(at)];
  }

  void block(const Block& statements) {
    for (const Stmt& s : statements) statement(s);
  }

  Lanes apply(const Stmt& s) const {
    const Lanes none(1, 0.f);
    auto arg = [&](size_t i) -> const Lanes& { return i < s.args.size() ? value(s.args[i]) : none; };
    Lanes result(std::max({arg(0).size(), arg(1).size(), arg(2).size()}));
    for (size_t i = 0; i < result.size(); i++)
      result[i] = pointwise(s.op, lane(arg(0), i), lane(arg(1), i), lane(arg(2), i));
    return result;
  }

  Lanes load(const Stmt& s) const {
    Lanes result(s.lane_stride ? width_ : shape(s.offset), 0.f);
    const int64_t stride = s.lane_stride ? eval(s.lane_stride) : 0, valid = count(s.valid);
    for (int64_t i = 0; i < static_cast<int64_t>(result.size()) && i / pieces() < valid; i++)
      result[static_cast<size_t>(i)] = read(dtype(s), base(s), inside(s, eval(s.offset, i) + i / pieces() * stride));
    return result;
  }

  void load_block(const Stmt& s) {
    const int64_t stride = s.lane_stride ? eval(s.lane_stride) : s.columns;
    for (int64_t c = 0; c < s.columns; c++) {
      Lanes& column = values_.at(static_cast<size_t>(s.result + c));
      column.assign(width_, 0.f);
      for (int64_t i = 0; i < std::min(static_cast<int64_t>(width_), count(s.valid)); i++)
        column[static_cast<size_t>(i)] = read(dtype(s), base(s), inside(s, eval(s.offset) + i * stride + c));
    }
  }

  void store(const Stmt& s) const {
    const int64_t lanes = static_cast<int64_t>(s.lane_stride || s.below ? width_ : shape(s.offset));
    const int64_t stride = s.lane_stride ? eval(s.lane_stride) : 0, valid = count(s.valid);
    for (int64_t i = 0; i < lanes && i / pieces() < valid; i++)
      if (stores(s, i))
        write(dtype(s), base(s), inside(s, eval(s.offset, i) + i / pieces() * stride),
              lane(value(s.args[0]), static_cast<size_t>(i)));
  }

  Lanes load_array(const Stmt& s) {
    Lanes& first = element(s);
    if (!differs_between_lanes(s.offset)) return first;
    Lanes result(width_);
    for (size_t i = 0; i < width_; i++) result[i] = lane(element(s, static_cast<int64_t>(i)), i);
    return result;
  }

  Lanes load_piece(const Stmt& s) {
    const Lanes& all = element(s);
    const auto p = static_cast<size_t>(pieces());
    Lanes result(width_);
    for (size_t i = 0; i < width_; i++) result[i] = lane(all, i / p * p + static_cast<size_t>(eval(s.piece)));
    return result;
  }

  Lanes sum_pieces(const Stmt& s) const {
    const auto p = static_cast<size_t>(pieces());
    Lanes result(width_, 0.f);
    for (size_t i = 0; i < width_; i++)
      for (size_t q = 0; q < p; q++) result[i] += lane(value(s.args[s.args.size() == 1 ? 0 : i % p]), i / p * p + q);
    return result;
  }

  void scan_pieces(const Stmt& s) {
    const auto p = static_cast<size_t>(pieces());
    std::vector<Lanes> found(kScanResults, Lanes(width_));
    for (size_t first = 0; first < width_; first += p) {
      float a = 1, b = 0;
      for (size_t i = first; i < first + p; i++) {
        found[0][i] = a, found[1][i] = b;
        const float own = lane(value(s.args[0]), i), left = own * b;
        b = (std::isnan(left) ? b * 0 : left) + lane(value(s.args[1]), i);
        a *= own;
      }
      for (size_t i = first; i < first + p; i++) found[2][i] = a, found[3][i] = b;
    }
    for (size_t r = 0; r < found.size(); r++) values_.at(static_cast<size_t>(s.result) + r) = std::move(found[r]);
  }

  // Halves are folded onto each other.
  Lanes reduce(const Stmt& s) const {
    const int64_t valid = count(s.valid);
    Lanes v(width_);
    for (size_t i = 0; i < width_; i++)
      v[i] = static_cast<int64_t>(i) < valid ? lane(value(s.args[0]), i) : s.op == Op::Sum ? 0.f : -INFINITY;
    for (size_t half = width_ / 2; half > 0; half /= 2)
      for (size_t i = 0; i < half; i++)
        v[i] = s.op == Op::Sum ? v[i] + v[i + half] : pointwise(Op::Max, v[i], v[i + half], 0);
    return {v[0]};
  }

  void reduce_into(const Stmt& s) {
    const size_t group = std::min<size_t>(width_, kReduceGroup), p = static_cast<size_t>(pieces());
    auto& array = arrays_.at(static_cast<size_t>(s.buffer));
    for (size_t first = 0; first < width_; first += group)
      for (size_t piece = 0; piece < p; piece++)
        for (size_t i = 0; i < s.args.size(); i++) {
          float sum = 0;
          for (size_t l = piece; l < group; l += p) sum += lane(value(s.args[i]), first + l);
          const int64_t at = eval(s.offset, static_cast<int64_t>(piece)) +
                             static_cast<int64_t>(first / group) * eval(s.lane_stride) +
                             static_cast<int64_t>(i) * s.step;
          array.at(static_cast<size_t>(at)) = {sum};
        }
  }

  Lanes lane_index(int64_t first) const {
    Lanes v(width_);
    for (size_t i = 0; i < width_; i++) v[i] = static_cast<float>(first + static_cast<int64_t>(i) / pieces());
    return v;
  }

  void statement(const Stmt& s) {
    auto set = [&](Lanes v) { values_.at(static_cast<size_t>(s.result)) = std::move(v); };
    switch (s.kind) {
      case StmtKind::For:
        for (int64_t i = eval(s.begin), end = eval(s.end); i < end; i += s.step) {
          vars_.at(static_cast<size_t>(s.var)) = i;
          block(s.body);
        }
        break;
      case StmtKind::If: block(eval(s.begin) < eval(s.end) ? s.body : s.otherwise); break;
      case StmtKind::Number: set({static_cast<float>(s.number)}); break;
      case StmtKind::Index: {
        Lanes v(shape(s.offset));
        for (size_t i = 0; i < v.size(); i++) v[i] = static_cast<float>(eval(s.offset, static_cast<int64_t>(i)));
        set(v);
        break;
      }
      case StmtKind::LaneIndex: set(lane_index(eval(s.offset))); break;
      case StmtKind::Apply: set(apply(s)); break;
      case StmtKind::Load: set(load(s)); break;
      case StmtKind::Fetch:
      case StmtKind::CopyAsync:
      case StmtKind::CommitCopies:
      case StmtKind::WaitCopies:
      case StmtKind::Prefetch: throw InternalError("only threads fetch ahead");
      case StmtKind::Store: store(s); break;
      case StmtKind::LoadBlock:
        load_block(s);
        break;
      case StmtKind::StoreBlock:
        for (size_t c = 0; c < s.args.size(); c++)
          for (size_t i = 0; i < width_; i++)
            write(dtype(s), base(s), inside(s, eval(s.offset) + static_cast<int64_t>(i * s.args.size() + c)),
                  lane(value(s.args[c]), i));
        break;
      case StmtKind::LoadArray: set(load_array(s)); break;
      case StmtKind::LoadPiece: set(load_piece(s)); break;
      case StmtKind::SumPieces: set(sum_pieces(s)); break;
      case StmtKind::ScanPieces: scan_pieces(s); break;
      case StmtKind::StoreArray: {
        Lanes& to = element(s);
        for (size_t i = 0; i < to.size(); i++) to[i] = lane(value(s.args[0]), i);
        break;
      }
      case StmtKind::Reduce: set(reduce(s)); break;
      case StmtKind::ReduceInto: reduce_into(s); break;
      case StmtKind::AwaitKernels:
      case StmtKind::Barrier: break;  // lanes are in step
    }
  }

  const int64_t* elements_;
  const Kernel& kernel_;
  const Stage& stage_;
  void* const* buffers_;
  const std::vector<int64_t>& sizes_;
  size_t width_;
  std::vector<Lanes> values_;
  std::vector<int64_t> vars_;
  std::vector<std::vector<Lanes>> arrays_;
};

}  // namespace

void interpret(const Kernel& kernel, void* const* buffers, const int64_t* sizes, const int64_t* elements) {
  const std::vector<int64_t> all(sizes, sizes + kernel.sizes.size());
  for (const Stage& stage : kernel.stages) {
    Interpreter interpreter(kernel, stage, buffers, all, elements);
    const int64_t tasks = evaluate(stage.tasks, {}, all);
    for (int64_t i = 0; i < tasks; i++) interpreter.task(i);
  }
}

}  // namespace mambac::loop
