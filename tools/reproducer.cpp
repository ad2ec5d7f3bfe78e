#include "tools/reproducer.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>

#include "runtime/atomic_file.h"
#include "runtime/cpu_info.h"
#include "runtime/gemm.h"

namespace mambac::tools {
namespace {

std::string& noted_model() {
  static std::string text;
  return text;
}

std::string quoted(const std::string& argument) {
  std::string text = "'";
  for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

void note_model(const std::string& definition) { noted_model() = definition; }

std::string write_reproducer(const std::string& message, const std::vector<std::string>& arguments) {
  try {
    std::string folder = (std::filesystem::temp_directory_path() / "mambac-bug-XXXXXX").string();
    if (!mkdtemp(folder.data())) return "";
    std::string command;
    for (const std::string& argument : arguments) command += (command.empty() ? "" : " ") + quoted(argument);
    const std::filesystem::path path = folder;
    write_file(path / "command.sh", command + "\n");
    write_file(path / "error.txt", fmt::format("{}\nversion {}\n{}, {} processors\n{}\n", message, MAMBAC_VERSION,
                                               cpu_info().model, cpu_info().processors, gemm_library()));
    if (!noted_model().empty()) write_file(path / "model.mb", noted_model());
    return folder;
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace mambac::tools
