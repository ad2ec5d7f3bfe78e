// Options that several commands have.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ir/type.h"

namespace CLI {
class App;
class Option;
}

namespace mambac::tools {

using Json = nlohmann::ordered_json;

struct ModelArguments {
  std::string spec;
  std::vector<std::string> settings;
};

/// Declares MODEL and --set.
void add_model(CLI::App& command, ModelArguments& arguments);
void add_settings(CLI::App& command, std::vector<std::string>& settings);
void add_json(CLI::App& command, bool& json);
/// Refuses a number below 0.
CLI::Option* none_or_more(CLI::Option* option);

/// Prints to standard output, with a line end. Numbers that are not finite become null.
void print_json(const Json& json);

/// Counts are whole numbers: JSON shows them as such.
Json whole(double number);
/// "1.23 G"
std::string scaled(double number);

/// A line on standard error.
void talk(const std::string& line);

}  // namespace mambac::tools
