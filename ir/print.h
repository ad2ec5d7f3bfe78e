// A graph as text: the same language as model definitions, every value with its type and its place.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace mambac {

/// The graph as one block. Dimensions come first, in index order, then the kernels of a fused graph; each node has one
/// line:
///
///     kernel k3_walk_scan = walk<L> lane<D> outer<B> inner<N>
///     name: type = op<attributes>(operands)  in k3  @ "model.mb":12:7
///
/// `in k3` is the kernel that computes the node, by its number (the first is 0); `@` the place in the definition it
/// comes from; either may be absent. parse_graph (frontend/model.h) reads the text back to an equal graph.
std::string print(const Graph& graph);

/// Whether everything that the graph refers to is there. A graph that verify refuses may lack it, and cannot be
/// printed.
bool is_printable(const Graph& graph);

/// The node as its line reads, without indentation, kernel and place: for messages and remarks.
std::string print_node(const Graph& graph, NodeId id);

/// The loops of a kernel as its line reads: "walk<L> lane<D> outer<B> inner<N>".
std::string loops_text(const Graph& graph, const KernelGroup& kernel);

/// Words that cannot name a value unless they stand in backticks.
bool is_reserved_word(std::string_view word);

/// [A-Za-z_][A-Za-z0-9_.]*
bool is_identifier(std::string_view text);

/// The name as the language writes it: itself, or in backticks when it is no identifier or a reserved word.
std::string name_text(std::string_view name);

/// Text in double quotes with \" \\ \n \t \r and \xNN escapes.
std::string quoted_text(std::string_view text);

/// The shortest text that reads back as the same number.
std::string number_text(double number);

/// The initialiser as the language writes it, "uniform(-0.5, 0.5)"; empty for none.
std::string initialiser_text(const Initialiser& init);

/// The kinds of kernels as the language writes them, by KernelGroup::Kind.
inline constexpr std::array<std::string_view, 3> kKernelKinds = {"walk", "rows", "library"};

/// The kinds of initialisers by name and number of arguments; the parser reads this table.
struct InitialiserKind {
  std::string_view name;
  Initialiser::Kind kind;
  int arguments;
};
const std::vector<InitialiserKind>& initialiser_kinds();

}  // namespace mambac
