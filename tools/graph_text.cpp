#include "tools/graph_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "frontend/library.h"
#include "frontend/model.h"
#include "ir/error.h"
#include "ir/verify.h"
#include "runtime/atomic_file.h"
#include "tools/work_notes.h"

namespace mambac::tools {

namespace {

/// Where the text of a graph has the value of this name.
Location place_in(const std::string& text, const std::string& file, const std::string& value) {
  const Library library(text, file);
  const BlockDef& block = library.main_block();
  const auto input = std::ranges::find(block.inputs, value, &BlockInput::name);
  if (input != block.inputs.end()) return input->location;
  for (const Statement& statement : block.body)
    for (const Target& target : statement.targets)
      if (target.name == value) return target.location;
  return {std::make_shared<const std::string>(file), 1, 1};
}

/// A graph that was dumped may have been changed by hand.
Graph verified(Graph graph, const std::string& text, const std::string& file) {
  try {
    verify(graph);
  } catch (const NodeFailure& failure) {
    throw InputError(place_in(text, file, failure.node()), failure.what());
  } catch (const InternalError& failure) {
    throw InputError(fmt::format("{}: {}", file, failure.what()));
  }
  return graph;
}

}  // namespace

GraphText read_graph(const std::string& file, bool must_say_where) {
  const bool standard_input = file == "-";
  const std::string text = without_byte_order_mark(
      standard_input ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : read_file(file));
  note_model(text);
  const std::string name = standard_input ? "standard input" : std::filesystem::path(file).filename().string();
  std::optional<PipelinePoint> point;
  try {
    point = point_of(text);
  } catch (const InputError& error) {
    throw InputError({std::make_shared<const std::string>(name), 1, 1}, error.what());
  }
  if (must_say_where && !point)
    throw InputError(fmt::format("{}: found no line '# mambac after STAGE: ...' at its top, which 'mambac dump' writes "
                                 "above every graph",
                                 name));
  return {verified(parse_graph(text, name), text, name), std::move(point), passes_of(text)};
}

std::string remark_text(const Remarks& remarks) {
  std::string text;
  for (const Remark& remark : remarks) {
    const ReasonInfo& reason = info(remark.code);
    text += fmt::format("# {}{} ({}): {} [{}: {}]\n#   to fuse: {}\n",
                        remark.location.known() ? remark.location.str() + ": " : "", remark.node, name_of(remark.op),
                        remark.text, info(remark.outcome).name, reason.name, reason.remedy);
  }
  return text;
}

Json remark_json(const Remark& remark) {
  const ReasonInfo& reason = info(remark.code);
  Json json = {{"pass", remark.pass}, {"outcome", info(remark.outcome).name}, {"code", reason.name}};
  json["location"] = remark.location.known() ? remark.location.str() : "";
  json["file"] = remark.location.known() ? *remark.location.file : "";
  json["line"] = remark.location.line;
  json["op"] = name_of(remark.op);
  json["node"] = remark.node;
  json["text"] = remark.text;
  json["to_fuse"] = reason.remedy;
  return json;
}

}  // namespace mambac::tools
