// Options that several commands have.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ir/type.h"
#include "tools/command_line.h"

namespace mambac::tools {

using Json = nlohmann::ordered_json;

struct ModelArguments {
  std::string spec;
  std::vector<std::string> settings;
};

/// Declares MODEL and --set.
void add_model(Command command, ModelArguments& arguments);
void add_settings(Command command, std::vector<std::string>& settings);
void add_json(Command command, bool& json);
/// PipelineOptions::recompute; compile.h checks it.
void add_recompute(Command command, int& parts);

/// Prints to standard output, with a line end. Numbers that are not finite become null.
void print_json(const Json& json);

/// Counts are whole numbers: JSON shows them as such.
Json whole(double number);
/// "1.23 G"
std::string scaled(double number);

/// A line on standard error.
void talk(const std::string& line);

}  // namespace mambac::tools
