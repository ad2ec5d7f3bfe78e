#include "codegen/kernel_writer.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <numeric>

#include "codegen/kernel_name.h"
#include "codegen/loop_rewrite.h"
#include "passes/fuse.h"
#include "passes/group.h"

namespace mambac {

using loop::Int;
using loop::Value;

std::string plain_name(const std::string& name) {
  std::string plain;
  for (size_t i = 0; i < name.size();) {
    size_t end = i + 1;
    while (end < name.size() && name[end] != '.') ++end;
    const bool number = name[i] == '.' && end > i + 1 && std::all_of(name.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                                                      name.begin() + static_cast<std::ptrdiff_t>(end),
                                                                      [](char c) { return c >= '0' && c <= '9'; });
    if (!number) plain.append(name, i, end - i);
    i = end;
  }
  return plain;
}

KernelWriter::KernelWriter(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule)
    : graph_(fused), layouts_(layouts), number_(number), group_(fused.kernels[static_cast<size_t>(number)]),
      schedule_(schedule), stored_(fused.size(), false) {
  out_.kernel.name = kernel_name(fused, number);
  out_.kernel.schedule = schedule;
  for (uint32_t i = 0; i < fused.size(); ++i) {
    const NodeId id{i};
    const Node& n = fused.node(id);
    if (n.kernel == number) nodes_.push_back(id);
    for (NodeId o : n.operands) {
      if (!o.present() || fused.node(o).kernel != number) continue;
      if (n.kernel == number)
        readers_[o].push_back(id);
      else
        stored_[o.index] = true;
    }
    if (n.kernel == number && n.op == Op::ChunkStarts) stored_[i] = true;
  }
  for (const Output& output : fused.outputs())
    if (fused.node(output.value).kernel == number) stored_[output.value.index] = true;
}

const std::vector<NodeId>& KernelWriter::readers(NodeId id) const {
  static const std::vector<NodeId> none;
  auto found = readers_.find(id);
  return found == readers_.end() ? none : found->second;
}

bool KernelWriter::has_lane(NodeId id) const { return group_.lane != DimId{} && spans(id, group_.lane); }

bool KernelWriter::spans(NodeId id, DimId dim) const { return touches(graph_, graph_.node(id), dim); }

bool KernelWriter::reduces(NodeId id, DimId dim) const {
  const std::vector<DimId> reduced = reduced_dims(graph_.node(id));
  return std::find(reduced.begin(), reduced.end(), dim) != reduced.end();
}

std::vector<DimId> KernelWriter::inner_of_type(NodeId id) const {
  std::vector<DimId> dims;
  for (DimId d : group_.inner)
    if (has(id, d)) dims.push_back(d);
  return dims;
}

int64_t KernelWriter::count(const std::vector<DimId>& dims) const {
  int64_t n = 1;
  for (DimId d : dims) n *= graph_.dim(d).size;
  return n;
}

Int KernelWriter::size(DimId dim) {
  const Dim& d = graph_.dim(dim);
  if (d.is_tiles()) return (size(d.base) + (d.divisor - 1)) / d.divisor;
  if (!d.is_free()) return loop::constant(d.size);
  auto& sizes = out_.kernel.sizes;
  auto found = std::find(sizes.begin(), sizes.end(), d.name);
  if (found == sizes.end()) found = sizes.insert(sizes.end(), d.name);
  return std::make_shared<loop::IntNode>(loop::IntNode{loop::IntOp::Size, found - sizes.begin(), nullptr, nullptr});
}

Int KernelWriter::size(const std::vector<DimId>& dims) {
  Int product = loop::constant(1);
  for (DimId d : dims) product = product * size(d);
  return product;
}

std::string KernelWriter::buffer_name(const std::string& name) const {
  std::set<std::string> present;
  for (const loop::Buffer& buffer : out_.kernel.buffers) present.insert(buffer.name);
  return loop::unique_name(plain_name(name), present);
}

int KernelWriter::buffer_of(NodeId root, bool written) {
  auto [entry, fresh] = buffers_.emplace(root, static_cast<int>(out_.buffers.size()));
  if (fresh) {
    out_.buffers.push_back({root, nullptr});
    out_.kernel.buffers.push_back({buffer_name(graph_.node(root).name), graph_.node(root).type.dtype, written,
                                   graph_.node(root).op == Op::Param});
  }
  if (written) out_.kernel.buffers[static_cast<size_t>(entry->second)].written = true;
  return entry->second;
}

int KernelWriter::temporary(const std::string& name, const Int& elements) {
  out_.buffers.push_back({{}, elements});
  out_.kernel.buffers.push_back({buffer_name(name), DType::f32, true});
  return static_cast<int>(out_.buffers.size()) - 1;
}

int KernelWriter::origin_of(NodeId id, bool shared) {
  std::vector<loop::Origin>& origins = out_.kernel.origins;
  const auto [entry, fresh] = origins_.emplace(std::pair(id, shared), static_cast<int>(origins.size()));
  const Node& n = node(id);
  if (fresh) origins.push_back({n.name, std::string(name_of(n.op)), n.location, shared});
  return entry->second;
}

void KernelWriter::comment(loop::StageBuilder& b, NodeId id) const {
  const Node& n = node(id);
  std::string text = plain_name(n.name);
  if (const std::string op(name_of(n.op)); text != op) text += ": " + op;
  b.comment(n.location.known() ? text + ", " + n.location.str() : text);
}

void KernelWriter::begin_columns(DimId dim) {
  columns_ = {dim, {}, {}};
}

int64_t KernelWriter::columns_in(const MemoryPlace& place, const Env& env, bool written, int64_t* column) const {
  const size_t count = place.indices.size();
  if (columns_.dim == DimId{} || count < 2 || env.lane_valid) return 0;
  const MemoryIndex& last = place.indices[count - 1];
  const int64_t size = graph_.dim(last.root_dim).size;
  const bool whole = last.from == columns_.dim && last.offset == 0 && place.indices[count - 2].from == env.lane &&
                     size == graph_.dim(columns_.dim).size && loop::is_constant(env.at.at(columns_.dim), column);
  if (!whole) return 0;
  if (size > 1 && size <= schedule_.width && std::has_single_bit(static_cast<uint64_t>(size))) return size;
  const int64_t some = std::gcd(size, schedule_.columns);
  return some > 1 && !written ? some : 0;
}

namespace {

/// The index of two neighbouring dimensions as one, where both come from the same number: x / n and x % n of x, for an
/// inner dimension of n. Null elsewhere.
Int as_one(const Int& outer, const Int& inner, const Int& n) {
  if (inner->op != loop::IntOp::Mod || !is_same(inner->b, n)) return nullptr;
  if (is_same(outer, inner->a / n)) return inner->a;
  const bool within = outer->op == loop::IntOp::Mod && is_same(outer->a, inner->a / n);
  return within ? inner->a % (n * outer->b) : nullptr;
}

}  // namespace

KernelWriter::Address KernelWriter::address(NodeId value, const Env& env, bool written) {
  const MemoryPlace place = place_of(graph_, layouts_, value);
  Address address{buffer_of(place.root, written), loop::constant(0), nullptr};
  Int stride = loop::constant(1);
  auto index = place.indices.rbegin();
  int64_t column = 0;
  if (const int64_t columns = columns_in(place, env, written, &column); columns > 0) {
    stride = size(index->root_dim);
    address.columns = columns;
    address.column = column % columns;
    address.offset = loop::constant(column - address.column);
    ++index;
  }
  for (; index != place.indices.rend(); ++index) {
    Int at, extent = size(index->root_dim);
    if (index->from == DimId{}) {
      at = index->offset >= 0 ? loop::constant(index->offset) : size(index->root_dim) + index->offset;
    } else if (index->from == env.lane) {
      at = env.lane_base + index->offset;
      if (env.lane_step > 1 && holds_blocks(place, *index, env)) {
        address.columns = env.lane_step;
        address.column = env.lane_offset;
      } else {
        at = at + env.lane_offset;
      }
      address.lane_stride = stride * env.lane_step;
    } else {
      auto found = env.at.find(index->from);
      check(found != env.at.end(), "lowering: a value is read outside the loops of its dimensions");
      at = found->second + index->offset;
      for (; index + 1 != place.indices.rend(); ++index) {
        const MemoryIndex& outer = *(index + 1);
        const auto around = outer.from == env.lane ? env.at.end() : env.at.find(outer.from);
        const Int both = around == env.at.end() || outer.offset != 0 ? nullptr : as_one(around->second, at, extent);
        if (!both) break;
        at = both;
        extent = extent * size(outer.root_dim);
      }
    }
    if (index->from == group_.along) address.step_stride = stride;
    address.offset = address.offset + at * stride;
    stride = stride * extent;
  }
  return address;
}

Value KernelWriter::read(loop::StageBuilder& b, const Address& a, const Env& env) {
  return b.load(a.buffer, a.offset, a.lane_stride, a.lane_stride ? env.lane_valid : nullptr, ahead(a, env));
}

void KernelWriter::write(loop::StageBuilder& b, const Address& a, const Env& env, Value what) {
  b.store(a.buffer, a.offset, what, a.lane_stride, a.lane_stride ? env.lane_valid : nullptr, ahead(a, env), env.below,
          env.limit);
}

int64_t KernelWriter::ahead(const Address& a, const Env& env) {
  int64_t stride = 0;
  if (!a.lane_stride || !loop::is_constant(a.lane_stride, &stride) || stride != 1) return 0;
  if (env.steps_ahead == 0 || !a.step_stride || !loop::is_constant(a.step_stride, &stride)) return env.ahead;
  return env.ahead + env.steps_ahead * stride;
}

Value KernelWriter::load(loop::StageBuilder& b, NodeId value, const Env& env) {
  const Address a = address(value, env, false);
  if (a.columns > 0) {
    int64_t stride = 0;
    const bool dense = loop::is_constant(a.lane_stride, &stride) && stride == a.columns;
    std::vector<Value>& block = columns_.loaded[value];
    if (block.empty() || (a.column == 0 && !dense))
      block = b.load_block(a.buffer, a.offset, a.columns, env.ahead, dense ? nullptr : a.lane_stride);
    return block[static_cast<size_t>(a.column)];
  }
  return read(b, a, env);
}

std::vector<Value> KernelWriter::load_run(loop::StageBuilder& b, NodeId value, const Env& env, DimId dim,
                                          int64_t count) {
  const Address first = address(value, env, false);
  const MemoryIndex last = place_of(graph_, layouts_, value).indices.back();
  const bool side_by_side = first.lane_stride && last.from == dim;
  const int64_t row = graph_.dim(last.root_dim).size, each = std::gcd(schedule_.columns, count);
  const bool blocks = side_by_side && each > 1 && row % each == 0 && last.offset % each == 0;
  std::vector<Value> values;
  Env at = env;
  for (int64_t i = 0; i < count; i += blocks ? each : 1) {
    at.at[dim] = env.at.at(dim) + i;
    const Address a = address(value, at, false);
    if (!blocks) values.push_back(read(b, a, at));
    if (blocks)
      std::ranges::copy(b.load_block(a.buffer, a.offset, each, 0, a.lane_stride, at.lane_valid),
                        std::back_inserter(values));
  }
  return values;
}

void KernelWriter::store(loop::StageBuilder& b, NodeId value, const Env& env, Value what) {
  const Address a = address(value, env, true);
  if (a.columns == 0) {
    once(b, value, env, [&] { write(b, a, env, what); });
    return;
  }
  std::vector<Value>& block = columns_.to_store[value];
  block.push_back(what);
  if (static_cast<int64_t>(block.size()) == a.columns)
    once(b, value, env, [&] { b.store_block(a.buffer, a.offset, std::move(block)); });
}

void KernelWriter::once(loop::StageBuilder& b, NodeId value, const Env& env, const std::function<void()>& store) const {
  int opened = 0;
  for (DimId d : group_.outer) {
    if (has(value, d) || reduces(value, d) || !env.at.count(d)) continue;
    b.open_if(env.at.at(d), loop::constant(1));
    ++opened;
  }
  store();
  for (; opened > 0; --opened) b.close();
}

/// Whether a lane's neighbours lie in blocks, each where a multiple of its size is: `index` is the innermost.
bool KernelWriter::holds_blocks(const MemoryPlace& place, const MemoryIndex& index, const Env& env) {
  int64_t row = 0;
  return &index == &place.indices.back() && loop::is_constant(size(index.root_dim), &row) && row % env.lane_step == 0 &&
         index.offset % env.lane_step == 0;
}

KernelWriter::Address KernelWriter::slot_address(int temporary, const Int& slot, const std::vector<DimId>& dims,
                                                 const Env& env) {
  Address address{temporary, slot, nullptr};
  for (DimId d : dims) {
    address.offset = address.offset * size(d);
    if (address.lane_stride) address.lane_stride = address.lane_stride * size(d);
    if (d == env.lane) {
      address.offset = address.offset + env.lane_base + env.lane_offset;
      address.lane_stride = loop::constant(env.lane_step);
    } else {
      address.offset = address.offset + env.at.at(d);
    }
  }
  return address;
}

Value KernelWriter::load_slot(loop::StageBuilder& b, int temporary, const Int& slot, const std::vector<DimId>& dims,
                              const Env& env) {
  const Address a = slot_address(temporary, slot, dims, env);
  return read(b, a, env);
}

void KernelWriter::store_slot(loop::StageBuilder& b, int temporary, const Int& slot, const std::vector<DimId>& dims,
                              const Env& env, Value what) {
  const Address a = slot_address(temporary, slot, dims, env);
  write(b, a, env, what);
}

std::vector<NodeId> KernelWriter::replaceable_inputs(NodeId stored) const {
  const Type& type = graph_.node(stored).type;
  const auto is_stored = [&](const Output& output) { return output.value == stored; };
  if (std::none_of(graph_.outputs().begin(), graph_.outputs().end(), is_stored) ||
      place_of(graph_, layouts_, stored).root != stored || layouts_.of(graph_, stored) != type.dims)
    return {};
  std::vector<NodeId> inputs;
  for (const auto& [input, buffer] : buffers_)
    if (graph_.node(input).op == Op::Input && graph_.node(input).type == type) inputs.push_back(input);
  for (const Node& n : graph_.nodes())  // a view has no kernel; what reads through it is not looked for
    if (n.kernel < 0 || n.kernel > number_)
      std::erase_if(inputs, [&](NodeId i) { return std::ranges::find(n.operands, i) != n.operands.end(); });
  return inputs;
}

void KernelWriter::store_in_place(NodeId value, NodeId input) {
  out_.kernel.buffers[static_cast<size_t>(buffers_.at(value))].in_place_of.push_back(buffers_.at(input));
}

bool KernelWriter::is_immediate(NodeId id) const {
  const Op op = graph_.node(id).op;
  return op == Op::Const || op == Op::Iota || op == Op::Extent;
}

Value KernelWriter::immediate(loop::StageBuilder& b, NodeId id, const Env& env) {
  const Node& n = graph_.node(id);
  if (n.op == Op::Const) return b.number(n.attrs.number);
  if (n.op == Op::Extent) return b.index(size(n.attrs.dims));
  const DimId dim = n.attrs.dims[0];
  if (dim != env.lane) return b.index(env.at.at(dim));
  if (env.lane_step == 1) return b.lane_index(env.lane_base);
  const Value lane = b.apply(Op::Mul, {b.lane_index(loop::constant(0)), b.number(static_cast<double>(env.lane_step))});
  return b.apply(Op::Add, {lane, b.index(env.lane_base + env.lane_offset)});
}

Value KernelWriter::put(loop::StageBuilder& b, const Node& n, const Env& env, Value operand) {
  const DimId d = n.attrs.dims[0];
  const Int index = n.attrs.integer >= 0 ? loop::constant(n.attrs.integer) : size(d) + n.attrs.integer;
  const Value here = d == env.lane ? lanes_at(b, env.lane_base, index) : is_at(b, env.at.at(d), index);
  return b.apply(Op::Select, {here, operand, b.number(0)});
}

Value KernelWriter::moved(loop::StageBuilder& b, const Node& n, Env& env, const std::function<Value()>& read) {
  const DimId d = n.attrs.dims[0];
  const int64_t by = n.attrs.integer;
  const Int here = env.at.count(d) ? env.at.at(d) : Int();
  Int index;
  if (n.op == Op::At)
    index = by >= 0 ? loop::constant(by) : size(d) + by;
  else if (n.op == Op::Slice)
    index = env.at.at(n.attrs.dims[1]) + by;
  else
    index = here - by;
  env.at[d] = loop::max(loop::min(index, size(d) - 1), loop::constant(0));
  const Value value = read();
  if (here)
    env.at[d] = here;
  else
    env.at.erase(d);
  if (n.op != Op::Shift) return value;
  const Value low = is_before(b, loop::constant(by - 1), here);
  const Value high = is_before(b, here, size(d) + by);
  return b.apply(Op::Select, {b.apply(Op::Mul, {low, high}), value, b.number(0)});
}

loop::Stage& KernelWriter::add_stage(const std::string& name, const Int& tasks) {
  out_.kernel.stages.emplace_back();
  out_.kernel.stages.back().name = name;
  out_.kernel.stages.back().tasks = tasks;
  return out_.kernel.stages.back();
}

Value is_before(loop::StageBuilder& b, const Int& position, const Int& end) {
  return b.apply(Op::Lt, {b.index(position - end), b.number(0)});
}

Value is_at(loop::StageBuilder& b, const Int& position, const Int& place) {
  return b.apply(Op::Eq, {b.index(position - place), b.number(0)});
}

Value lanes_before(loop::StageBuilder& b, const Int& first, const Int& end) {
  return b.apply(Op::Lt, {b.lane_index(first - end), b.number(0)});
}

Value lanes_at(loop::StageBuilder& b, const Int& first, const Int& place) {
  return b.apply(Op::Eq, {b.lane_index(first - place), b.number(0)});
}

Op combining_op(const Node& n) { return n.op == Op::Amax ? Op::Max : Op::Add; }
double neutral_value(const Node& n) { return n.op == Op::Amax ? -std::numeric_limits<double>::infinity() : 0.0; }
Op lane_reduction(const Node& n) { return n.op == Op::Amax ? Op::Amax : Op::Sum; }

/// The nearest number of a u8, the even one of two; 0 of what is none. A float of 24 bits has no room for a fraction
/// beside 2^23, so that an addition rounds.
Value nearest_u8(loop::StageBuilder& b, Value x) {
  constexpr double kNoFraction = 1.5 * (1 << 23);
  const Value within = b.apply(Op::Min, {b.apply(Op::Max, {x, b.number(0)}), b.number(255)});
  return b.apply(Op::Sub, {b.apply(Op::Add, {within, b.number(kNoFraction)}), b.number(kNoFraction)});
}

/// A narrower float is rounded where it is stored; a whole number is one wherever it is read.
Value apply_pointwise(loop::StageBuilder& b, const Node& n, const std::vector<Value>& args) {
  if (n.op == Op::Cast && !is_float(n.type.dtype)) return nearest_u8(b, args[0]);
  if (n.op == Op::Cast || n.op == Op::Stop || n.op == Op::Broadcast) return args[0];
  return b.apply(n.op, args);
}

LoweredKernel lower(const Graph& fused, const Layouts& layouts, int number, const Schedule& schedule, DeviceKind kind) {
  const std::string reason = why_illegal(fused, number, schedule, kind);
  if (!reason.empty()) throw InternalError("lowering: " + reason);
  KernelWriter writer(fused, layouts, number, schedule);
  return writer.group().kind == KernelGroup::walk ? lower_walk(writer) : lower_rows(writer);
}

}  // namespace mambac
