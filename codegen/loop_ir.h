// The loop IR: what every kernel is lowered to before a target's code is written.
//
// A kernel is a list of stages; a stage is a body that runs once for every task in [0, tasks), in any order and on any
// number of threads; stages run one after another. Inside a body, values are in SSA form and are either `uniform` (one
// f32) or `lanes` (one f32 for each of `width` lanes: a SIMD vector on a CPU, neighbouring threads on a GPU). A lane is
// a channel; with Stage::pieces, so many neighbouring lanes are one channel, and `lane` in addresses is its number. All
// arithmetic is f32; loads widen and stores round. Integer expressions index memory and bound loops.
//
// Statements carry an origin: a label for people, which nothing here looks at. Kernels that differ in origins alone are
// equal: they share a name, a text and compiled code, whose origins are then those of the one that came first.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codegen/schedule.h"
#include "ir/error.h"
#include "ir/op.h"
#include "ir/type.h"

namespace mambac::loop {

// ---- integer expressions --------------------------------------------------------------------------------------------

enum class IntOp : uint8_t { Const, Var, Size, Piece, Add, Sub, Mul, Div, Mod, Min, Max, Less };

struct IntNode;
/// An integer expression; never null. Division and Mod are of non-negative numbers and round down.
using Int = std::shared_ptr<const IntNode>;

struct IntNode {
  IntOp op = IntOp::Const;
  // Const: the number; Var: the variable's index; Size: index into Kernel::sizes; Piece: of how many
  int64_t value = 0;
  Int a, b;
};

Int constant(int64_t value);
/// Where Stage::pieces lanes share a channel: the number of the lane among them. Such expressions differ between lanes.
Int piece(int64_t of);
bool differs_between_lanes(const Int& a);
Int operator+(const Int& a, const Int& b);  // the operators fold constants
Int operator-(const Int& a, const Int& b);
Int operator*(const Int& a, const Int& b);
Int operator/(const Int& a, const Int& b);
Int operator%(const Int& a, const Int& b);
Int operator+(const Int& a, int64_t b);
Int operator-(const Int& a, int64_t b);
Int operator*(const Int& a, int64_t b);
Int operator/(const Int& a, int64_t b);
Int operator%(const Int& a, int64_t b);
Int min(const Int& a, const Int& b);
Int max(const Int& a, const Int& b);
Int less(const Int& a, const Int& b);  // 1 where a < b, else 0
bool is_constant(const Int& a, int64_t* value = nullptr);

// ---- statements -----------------------------------------------------------------------------------------------------

/// An SSA value of a body; -1: none.
using Value = int32_t;
/// A loop variable.
using Var = int32_t;

struct Stmt;
using Block = std::vector<Stmt>;

enum class StmtKind : uint8_t {
  For,         // for (var = begin; var < end; var += step) body;  unroll: written out (begin, end constant)
               // spread: shared out among the lanes, each iteration to one; no iteration sees what another stores
               // teams: the same with the teams of a task, each of which has all lanes
  If,          // if (begin < end) body else otherwise;  once: otherwise is taken at most once in the loop around it
  Number,      // result = number                                             uniform
  Index,       // result = f32(offset)                                        uniform
  LaneIndex,   // result = f32(offset + lane)                                 lanes
  Apply,       // result = op(args)   op: a Pointwise op of the table         lanes when one argument is
  Load,        // result = buffer[offset + lane * lane_stride]                see below; lanes when the offset differs
  Fetch,       // array[place] = buffer[offset + lane * lane_stride], as it lies in memory
  CopyAsync,   // the same of 16 bytes from there on, into a shared array: they are there after a WaitCopies, for other
               // lanes after a Barrier behind it. Copies that no barrier stands between go to different places
  CommitCopies,  // a group of copies: those since the last one
  WaitCopies,  // for all groups but the last `groups`
  Prefetch,    // buffer[offset + lane * lane_stride] will be loaded soon: to be brought near
  Store,       // buffer[offset + lane * lane_stride] = args[0]
  LoadBlock,   // result + c = buffer[offset + lane * columns + c] for c < columns: all that neighbouring lanes hold,
               // in one piece of memory; with a lane_stride each lane's columns are so far apart
  StoreBlock,  // buffer[offset + lane * columns + c] = args[c]; columns: a power of two
  LoadArray,   // result = array[offset]                                      lanes also when the offset differs
  LoadPiece,   // result = array[offset], as the lane with this `piece` of the channel has it
  SumPieces,   // result = in the lane with piece i: the sum of args[i] over the channel's lanes; of one value: in all
  ScanPieces,  // A channel's lanes, in the order of their pieces, are maps h -> args[0] h + args[1]. result, result + 1:
               // the map of all lanes before this one, h -> h in the first; result + 2, + 3: of all lanes
  StoreArray,  // array[offset] = args[0]
  Reduce,      // result = sum or maximum of args[0] over the lanes           uniform
  ReduceInto,  // array[offset + g * stride + i * step] = sum of args[i] over the lanes of group g, each kReduceGroup of
               // them, that have one piece
  AwaitKernels,  // what kernels before this one stored may be accessed after it; before it, at the top, is only Prefetch
  Barrier,     // what lanes stored before it, other lanes may load after it
};

/// Memory access. lane_stride null: one uniform element. Otherwise lanes; `valid` (null: all) is the number of lanes
/// that exist: a load gives 0 in the others, a store leaves them alone. Reduce takes `valid` too.
struct Stmt {
  StmtKind kind = StmtKind::Number;
  Value result = -1;
  std::vector<Value> args;
  Op op = Op::Neg;           // Apply; Reduce: Op::Sum or Op::Amax
  double number = 0;         // Number
  int buffer = -1;           // Load, Store: index into Kernel::buffers; LoadArray, StoreArray: index into Stage::arrays
  Int offset;                // in elements; of a `lanes` array in vectors
  Int lane_stride;           // ReduceInto: a constant, the stride of groups
  Int valid;
  int array = -1;            // Fetch, CopyAsync: index into Stage::arrays
  Int place;                 // Fetch, CopyAsync: in the array
  int groups = 0;            // WaitCopies
  Int below, limit;          // Store: in lanes where below < limit only; null: in all
  Int piece;                 // LoadPiece
  int64_t columns = 0;       // LoadBlock
  int64_t ahead = 0;         // Load, Store of neighbouring lanes: the elements this far on are fetched, too; 0: none
  Var var = -1;              // For
  Int begin, end;            // For, If
  int64_t step = 1;          // For, ReduceInto
  bool unroll = false;       // For
  bool spread = false;       // For
  bool teams = false;        // For
  int64_t first = 0;         // For: where it is spread, the thread that has the first iteration, modulo their number
  bool once = false;         // If
  Block body, otherwise;     // For, If
  std::string comment;       // shown in dumps and in emitted text
  int origin = -1;           // index into Kernel::origins; -1: none
};

/// What a statement defines: its result, and so many values behind it, this one included.
int64_t result_count(const Stmt& s);

/// Of ScanPieces. A map leaves nothing of a state of 0, however large its a; nor of any where its a is no number.
constexpr int64_t kScanResults = 4;

/// Lanes of a group, as ReduceInto sums them; fewer when the kernel has fewer. A power of two.
constexpr int kReduceGroup = 32;

enum class Space : uint8_t {
  registers,  // kept there if they suffice and all places in it are numbers once loops are written out
  scratch,    // the thread's own memory, 64-byte aligned
  shared,     // memory that the lanes of a task share, where lanes are threads; elsewhere as scratch
};

/// Storage private to a task, not initialised.
struct Array {
  std::string name;
  bool lanes = true;      // of vectors, or of uniform f32
  int64_t count = 1;      // vectors or values
  Space space = Space::scratch;
  DType dtype = DType::f32;  // other than f32 of what is fetched or copied there, as it lies in memory
};

struct Stage {
  std::string name;
  int origin = -1;        // of what its statements share
  Int tasks;              // number of tasks
  Var task = 0;           // the variable that holds the task's number
  int pieces = 1;         // lanes that share a channel; divides the width
  int teams = 1;          // groups of lanes that share a task; they do alike what is in no loop that they share out
  std::vector<Array> arrays;
  Block body;
  int values = 0;         // number of SSA values
  int vars = 1;           // number of variables
};

struct Buffer {
  std::string name;
  DType dtype = DType::f32;
  bool written = false;
  bool parameter = false;  // of the graph, whose kernels do not store it
  /// Of what is written: buffers that are only read and whose memory this one may have, since every element is read
  /// before the same element is stored, and not again. All other buffers lie apart.
  std::vector<int> in_place_of{};
};

/// What a statement is there for: a named value, the op that makes it, its place in a model.
struct Origin {
  std::string name, op;
  Location location;
  bool shared = false;  // of the walk along which the value is made, and so of all that is made there
};

struct Kernel {
  std::string name;                    // says what was fused
  std::vector<Buffer> buffers;         // in the order of the pointers it is called with
  std::vector<std::string> sizes;      // free dimensions, in the order of the sizes it is called with
  std::vector<Stage> stages;
  Schedule schedule;
  std::vector<Origin> origins;  // of its stages and statements
};

/// Readable text of a kernel, the Schedule at the top; equal kernels always give the same text. `line_origins`, where
/// asked for: by line the origin of the statement that it belongs to; -1: none.
std::string print(const Kernel& kernel, std::vector<int>* line_origins = nullptr);

/// Evaluates an integer expression; vars and sizes by index.
int64_t evaluate(const Int& a, const std::vector<int64_t>& vars, const std::vector<int64_t>& sizes,
                 int64_t piece = 0);

/// The name, or with a number behind it when one of `present` has it already: text must tell things apart.
std::string unique_name(const std::string& wanted, const std::set<std::string>& present);

/// An integer expression that is a variable.
Int variable(Var var);

/// Threads of a task, where lanes are threads.
inline int threads_of(const Kernel& kernel, const Stage& stage) {
  return kernel.schedule.width * stage.teams;
}

/// A thread's scratch memory for a stage: where each of its arrays begins, by place_of_value (registers: at 0).
struct ScratchPlan {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
};

ScratchPlan plan_scratch(const Stage& stage, int width);

// ---- building -------------------------------------------------------------------------------------------------------

/// Appends statements to a stage. Blocks are opened and closed like braces.
class StageBuilder {
 public:
  explicit StageBuilder(Stage& stage);

  Int task() const;
  int array(const std::string& name, int64_t count, bool lanes, bool registers);
  bool in_registers(int array) const { return stage_.arrays[static_cast<size_t>(array)].space == Space::registers; }

  /// Opens a loop and returns its variable as an expression.
  Int open_for(const Int& begin, const Int& end, int64_t step = 1, bool unroll = false, int64_t first = 0);
  /// One from 0 on that the teams of a task share out.
  Int open_for_teams(const Int& end);
  void open_if(const Int& less, const Int& than);  // if (less < than)
  void open_else(bool once = false);
  void close();

  Value number(double value);
  Value index(const Int& offset);
  Value lane_index(const Int& offset);
  Value apply(Op op, std::vector<Value> args);
  Value load(int buffer, const Int& offset, const Int& lane_stride = nullptr, const Int& valid = nullptr,
             int64_t ahead = 0);
  void store(int buffer, const Int& offset, Value value, const Int& lane_stride = nullptr, const Int& valid = nullptr,
             int64_t ahead = 0, const Int& below = nullptr, const Int& limit = nullptr);
  std::vector<Value> load_block(int buffer, const Int& offset, int64_t columns, int64_t ahead = 0,
                                const Int& lane_stride = nullptr, const Int& valid = nullptr);
  void store_block(int buffer, const Int& offset, std::vector<Value> columns);
  Value load_array(int array, const Int& offset);
  Value load_piece(int array, const Int& offset, const Int& piece);
  Value sum_pieces(std::vector<Value> values);
  /// The two maps of ScanPieces, the one before and that of all lanes: a and b of h -> a h + b.
  struct Scanned {
    Value a_before, b_before, a_all, b_all;
  };
  Scanned scan_pieces(Value a, Value b);
  void store_array(int array, const Int& offset, Value value);
  Value reduce(Op op, Value value, const Int& valid = nullptr);
  /// The number of values is a power of two, at most kReduceGroup, and at most the lanes of a group.
  void reduce_into(int array, const Int& offset, int64_t stride, int64_t step, std::vector<Value> values);
  bool is_lanes(Value value) const { return lanes_[static_cast<size_t>(value)]; }
  void comment(const std::string& text);  // on the next statement

 private:
  friend class OriginScope;
  Stmt& push(Stmt stmt);
  Value fresh(bool lanes);

  Stage& stage_;
  std::vector<Block*> open_;
  std::vector<bool> lanes_;
  std::set<std::string> array_names_;
  std::string comment_;
  int origin_ = -1;
};

/// While it lives, what is appended has this origin.
class OriginScope {
 public:
  OriginScope(StageBuilder& builder, int origin) : builder_(builder), around_(std::exchange(builder.origin_, origin)) {}
  ~OriginScope() { builder_.origin_ = around_; }
  OriginScope(const OriginScope&) = delete;
  OriginScope& operator=(const OriginScope&) = delete;

 private:
  StageBuilder& builder_;
  const int around_;
};

}  // namespace mambac::loop
