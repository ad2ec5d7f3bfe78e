// Graphs that were dumped, read from files.
#pragma once

#include <optional>
#include <string>

#include "ir/graph.h"
#include "passes/pipeline_text.h"
#include "tools/arguments.h"

namespace mambac::tools {

struct GraphText {
  Graph graph;
  std::optional<PipelinePoint> point;  // where it stands, as its first line says
  std::vector<std::string> passes;     // of passes_of
};

/// InputError when the file cannot be read, is no text of a graph, or does not say where it stands and must; "-" is
/// standard input.
GraphText read_graph(const std::string& file, bool must_say_where);

/// The last lines of a dump: where fusion stopped, why, and what would make it fuse.
std::string remark_text(const Remarks& remarks);
Json remark_json(const Remark& remark);

}  // namespace mambac::tools
