#include "tools/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

namespace mambac::tools {

void add_settings(Command command, std::vector<std::string>& settings) {
  command.add_option("--set", settings, "sizes by name, such as layers=4 or B=1 L=8192").type_name("NAME=INTEGER");
}

void add_model(Command command, ModelArguments& arguments) {
  command
      .add_option("MODEL", arguments.spec, "definition file, shipped name, either with :PRESET, or checkpoint folder")
      .required()
      .type_name("");
  add_settings(command, arguments.settings);
}

void add_json(Command command, bool& json) { command.add_flag("--json", json, "report as JSON"); }

void add_recompute(Command command, int& parts) {
  command.add_option("--recompute", parts, "train: layers that the backward pass computes again to save memory")
      .type_name("NUMBER");
}

void print_json(const Json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

Json whole(double number) {
  return static_cast<int64_t>(std::min(number, 9e18));
}

std::string scaled(double number) {
  for (const auto& [unit, size] : {std::pair{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}})
    if (number >= size) return fmt::format("{:.2f} {}", number / size, unit);
  return fmt::format("{:.0f} ", number);
}

void talk(const std::string& line) {
  fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

}  // namespace mambac::tools
