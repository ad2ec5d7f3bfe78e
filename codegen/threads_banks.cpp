// Shared memory without conflicts between the lanes of a channel.
//
// Lanes that share a channel read, at the same time, elements a fixed distance apart, each its piece's. Where that
// distance is a multiple of all the banks, they wait for each other. Twelve floats between the pieces keep apart what
// is read 16 bytes at a time, the steps of a tile that are stored side by side, and elements 8 apart: element i moves
// to i + i / distance * 12.
#include <algorithm>
#include <map>
#include <optional>

#include "codegen/loop_rewrite.h"
#include "codegen/threads.h"

namespace mambac {

namespace {

using loop::Block;
using loop::Int;
using loop::IntOp;
using loop::Stmt;
using loop::StmtKind;
using loop::Var;

constexpr int64_t kBanks = 32, kGap = 12;  // in floats

/// piece * by + rest
struct ByPiece {
  int64_t by = 0;
  Int rest;
};

/// Nothing when the expression is not of this form.
std::optional<ByPiece> split(const Int& a) {
  if (!differs_between_lanes(a)) return ByPiece{0, a};
  if (a->op == IntOp::Piece) return ByPiece{1, loop::constant(0)};
  if (!a->a) return std::nullopt;
  const std::optional<ByPiece> x = split(a->a), y = split(a->b);
  if (!x || !y) return std::nullopt;
  int64_t by = 0;
  switch (a->op) {
    case IntOp::Add: return ByPiece{x->by + y->by, x->rest + y->rest};
    case IntOp::Sub: return ByPiece{x->by - y->by, x->rest - y->rest};
    case IntOp::Mul:
      if (y->by == 0 && is_constant(y->rest, &by)) return ByPiece{x->by * by, x->rest * by};
      return std::nullopt;
    default: return std::nullopt;
  }
}

class BankSpreader {
 public:
  explicit BankSpreader(loop::Stage& stage) : stage_(stage) {}

  void run() {
    find_distances(stage_.body);
    std::erase_if(distances_, [&](const auto& entry) {
      const auto& [array, distance] = entry;
      return distance <= 0 || distance % kBanks != 0 || stage_.arrays[static_cast<size_t>(array)].count % distance != 0;
    });
    if (distances_.empty()) return;
    move(stage_.body);
    for (const auto& [array, distance] : distances_) {
      int64_t& count = stage_.arrays[static_cast<size_t>(array)].count;
      count += count / distance * kGap;
    }
  }

 private:
  static bool is_access(const Stmt& s) {
    return s.kind == StmtKind::LoadArray || s.kind == StmtKind::StoreArray || s.kind == StmtKind::ReduceInto;
  }
  bool is_shared(const Stmt& s) const {
    return is_access(s) && stage_.arrays[static_cast<size_t>(s.buffer)].space == loop::Space::shared;
  }

  /// By array the distance of pieces; 0 where there are several, or nobody knows.
  void find_distances(const Block& statements) {
    for (const Stmt& s : statements) {
      if (s.kind == StmtKind::For) note_bound(s);
      if (is_shared(s) && differs_between_lanes(s.offset)) {
        const int64_t distance = distance_of(s);
        const auto [entry, fresh] = distances_.emplace(s.buffer, distance);
        if (!fresh && entry->second != distance) entry->second = 0;
      } else if (is_shared(s) && s.kind == StmtKind::ReduceInto) {
        distances_[s.buffer] = 0;  // its elements may lie on both sides of a gap
      }
      find_distances(s.body);
      find_distances(s.otherwise);
    }
  }

  /// 0 where it is not known, or what is touched at once does not lie between two gaps.
  int64_t distance_of(const Stmt& s) const {
    const std::optional<ByPiece> parts = split(s.offset);
    if (!parts || parts->by <= 0) return 0;
    int64_t groups = 0, further = 0;
    if (s.kind == StmtKind::ReduceInto) {
      further = (static_cast<int64_t>(s.args.size()) - 1) * s.step;
      if (!is_constant(s.lane_stride, &groups) || groups % parts->by != 0) return 0;
    }
    return is_below(parts->rest + further, parts->by) ? parts->by : 0;
  }

  void note_bound(const Stmt& loop) {
    if (const auto end = upper_bound(loop.end, largest_)) largest_[loop.var] = std::max<int64_t>(*end - 1, 0);
  }

  bool is_below(const Int& a, int64_t limit) const {
    const auto bound = upper_bound(a, largest_);
    return bound && *bound < limit;
  }

  void move(Block& statements) const {
    for (Stmt& s : statements) {
      const auto found = is_access(s) ? distances_.find(s.buffer) : distances_.end();
      if (found != distances_.end()) {
        s.offset = moved(s.offset, found->second);
        if (s.kind == StmtKind::ReduceInto) s.lane_stride = moved(s.lane_stride, found->second);
      }
      move(s.body);
      move(s.otherwise);
    }
  }

  Int moved(const Int& a, int64_t distance) const {
    if (!differs_between_lanes(a)) return is_below(a, distance) ? a : a + a / distance * kGap;
    const ByPiece parts = split(a).value();
    return loop::piece(stage_.pieces) * (parts.by + kGap) + parts.rest;
  }

  loop::Stage& stage_;
  std::map<int, int64_t> distances_;
  std::map<Var, int64_t> largest_;  // of loop variables, where known
};

}  // namespace

void spread_over_banks(loop::Stage& stage) {
  if (stage.pieces > 1) BankSpreader(stage).run();
}

}  // namespace mambac
