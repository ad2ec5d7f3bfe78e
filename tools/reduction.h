// Making a failing case smaller while it fails in the same way.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "tools/graph_edit.h"
#include "tools/graph_text.h"

namespace mambac::tools {

/// A graph with what the text of one says above it; reads back by read_graph.
std::string case_text(const GraphText& test);

/// Delta debugging: what can be left out is tried in large pieces first, then in smaller ones.
class Reduction {
 public:
  /// Whether a case fails in the way that is looked for.
  using Fails = std::function<bool(const GraphText&)>;
  /// Told of every case that fails and is smaller than those before.
  using Accepted = std::function<void(const GraphText&)>;
  /// True: leave it at what was reached.
  using Stop = std::function<bool()>;

  Reduction(GraphText start, Fails fails, Accepted accepted, Stop stop);

  /// Until nothing more can be left out.
  void run();
  const GraphText& reached() const { return case_; }
  /// How often `fails` may yet be called, at most about.
  int64_t left() const;

 private:
  /// Each returns whether the case became smaller.
  bool drop_outputs();
  bool cut_ops();
  bool bypass_ops();
  bool fill_constants();
  bool drop_attributes();
  bool shrink_dims();
  bool drop_options();
  bool drop_passes();

  bool cut(size_t begin, size_t end);
  bool change_node(NodeId id, const std::function<bool(Node&)>& change);
  bool try_edit(const GraphEdit& edit);
  bool try_graph(std::optional<Graph> graph);
  bool accept_if_failing(GraphText smaller);

  GraphText case_;
  Fails fails_;
  Accepted accepted_;
  Stop stop_;
  std::set<std::string> tried_;
};

}  // namespace mambac::tools
