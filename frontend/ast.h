// The syntax tree of model text. Names are not resolved here: that happens when a block is instantiated.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ir/error.h"
#include "ir/graph.h"
#include "ir/type.h"

namespace mambac {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

/// An argument in <> or (): by position (empty name) or by keyword.
struct Argument {
  std::string name;
  ExprPtr value;
  Location location;
};

struct Expr {
  enum Kind : uint8_t { number, name, negate, binary, call };
  Kind kind = number;
  Location location;                 // of the operator, the name or the number
  double value = 0;                  // number
  bool integer = false;              // number
  std::string text;                  // name: the name; call: the op or block
  char symbol = 0;                   // binary: + - * /
  ExprPtr left;                      // negate, binary
  ExprPtr right;                     // binary
  std::vector<Argument> statics;     // call: in <>
  std::vector<Argument> operands;    // call: in ()
  std::optional<std::string> scope;  // call: as "..."
  int depth = 1;                     // height of the tree; the parser bounds it
};

/// `f32[B, L, E]`; the dimensions are expressions: a name, an integer, or `L/32`.
struct TypeExpr {
  std::optional<DType> dtype;
  std::vector<ExprPtr> dims;
  Location location;
};

/// What may follow a statement of a dump: the kernel and the place in the definition.
struct Place {
  int kernel = -1;
  Location kernel_location;
  Location location;
};

struct Target {
  std::string name;
  std::optional<TypeExpr> type;
  Location location;
};

struct StaticParameter {
  std::string name;
  ExprPtr fallback;  // null: must be given
  Location location;
};

struct BlockInput {
  std::string name;
  bool optional = false;
  std::optional<TypeExpr> type;
  Location location;
  Place place;
};

struct Statement {
  enum Kind : uint8_t { assign, param, dim, repeat, give };
  Kind kind = assign;
  Location location;
  std::vector<Target> targets;       // assign; param and dim: one; repeat: the counter; give: names, may be empty
  std::vector<ExprPtr> values;       // assign, dim: one; repeat: the count; param: arguments of the initialiser; give
  std::string initialiser;           // param; empty: none
  Location initialiser_location;     // param
  std::optional<std::string> scope;  // param: as "leaf"; repeat: as "scope.{i}"
  bool no_decay = false;             // param
  std::vector<Statement> body;       // repeat
  Place place;                       // assign, param
};

struct BlockDef {
  std::string name;
  bool is_model = false;
  bool from_prelude = false;
  Location location;
  size_t offset = 0;  // of the word `block` or `model`
  std::vector<StaticParameter> statics;
  std::vector<BlockInput> inputs;
  std::vector<TypeExpr> results;  // empty: not stated
  std::vector<Statement> body;
};

/// `free B`, `free L/32` or `dim E = 1024` at the top level.
struct DimDecl {
  ExprPtr dim;   // a name, an integer, or tiles
  ExprPtr size;  // null: free
  Location location;
};

/// `kernel k3_walk_scan = walk<L, reverse> lane<D> outer<B> inner<N>` at the top level of a dump.
struct KernelDecl {
  std::string name;
  KernelGroup::Kind kind = KernelGroup::rows;
  ExprPtr along;  // null: none
  bool reverse = false;
  ExprPtr lane;   // null: none
  std::vector<ExprPtr> outer, inner;
  Location location;
};

struct PresetValue {
  std::string name;
  ExprPtr number;    // or
  std::string text;  // a word, for training settings
  Location location;
};

struct Preset {
  std::string name;
  Location location;
  std::vector<PresetValue> values;
  size_t offset = 0, end_offset = 0;  // of the whole statement in the file's text
};

struct Import {
  std::string path;
  Location location;
  size_t offset = 0, end_offset = 0;
};

struct SourceFile {
  std::string name;
  std::string text;
  std::vector<Import> imports;
  std::vector<DimDecl> dims;
  std::vector<KernelDecl> kernels;
  std::vector<std::unique_ptr<BlockDef>> blocks;
  std::vector<Preset> presets;
};

}  // namespace mambac
