// Where a graph stands in the pipeline, as a line above its text: a dumped graph says how it was made, and can go on.
#pragma once

#include <optional>
#include <string>

#include "passes/pipeline.h"

namespace mambac {

/// "graph=train dtype=bf16 recompute=3": the kind, the element type, and every other option that is not its default.
std::string options_text(const PipelineOptions& options);

/// Sets options from such words, the others stay. InputError for what is no option, or no value of it.
void set_options(PipelineOptions& options, const std::string& words);

struct PipelinePoint {
  std::string stage;  // that came last; "source": none
  PipelineOptions options;
};

/// "# mambac after fuse: graph=train dtype=bf16" and a line end.
std::string point_text(const PipelinePoint& point);

/// Of a text whose first line is of this form; nothing for another. InputError when it names what is not known.
std::optional<PipelinePoint> point_of(const std::string& text);

/// "simplify,fuse": the names between the commas.
std::vector<std::string> names_in(const std::string& list);

/// Those of a line "# passes: simplify,fuse" among the comments at the top of a text; none where there is no such line.
std::vector<std::string> passes_of(const std::string& text);

/// Such a line, and a line end.
std::string passes_text(const std::vector<std::string>& passes);

}  // namespace mambac
