#include "ir/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace mambac {
namespace {

constexpr std::array<std::string_view, 5> kReserved = {"as", "in", "no_decay", "repeat", "return"};

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string dim_source(const Graph& graph, DimId id) {
  const Dim& dim = graph.dim(id);
  if (dim.is_tiles()) return fmt::format("{}/{}", dim_source(graph, dim.base), dim.divisor);
  if (!dim.is_free() && dim.name == std::to_string(dim.size)) return dim.name;
  return name_text(dim.name);
}

/// Like type_text, but every name can be read back.
std::string type_source(const Graph& graph, const Type& type) {
  std::string text = fmt::format("{}[", name_of(type.dtype));
  for (size_t i = 0; i < type.dims.size(); ++i) text += (i > 0 ? ", " : "") + dim_source(graph, type.dims[i]);
  return text + "]";
}

std::string attributes_text(const Graph& graph, const Node& node) {
  const auto& specs = info(node.op).attributes;
  std::vector<std::string> parts;
  size_t dim = 0;
  for (const std::string_view spec : specs) {
    if (spec == "d" && dim < node.attrs.dims.size()) parts.push_back(dim_source(graph, node.attrs.dims[dim++]));
    if (spec == "D") {
      while (dim < node.attrs.dims.size()) parts.push_back(dim_source(graph, node.attrs.dims[dim++]));
    }
    if (spec == "i") parts.push_back(std::to_string(node.attrs.integer));
    if (spec == "f") parts.push_back(number_text(node.attrs.number));
    if (spec == "t" || (spec == "t?" && node.attrs.dtype != DType::f32)) {
      parts.emplace_back(name_of(node.attrs.dtype));
    }
    if (spec == "reverse?" && node.attrs.reverse) parts.emplace_back("reverse");
  }
  return parts.empty() ? "" : fmt::format("<{}>", fmt::join(parts, ", "));
}

std::string operands_text(const Graph& graph, const Node& node) {
  const auto& specs = info(node.op).operands;
  std::vector<std::string> parts;
  for (size_t i = 0; i < node.operands.size(); ++i) {
    if (!node.operands[i].present()) continue;
    const std::string name = name_text(graph.node(node.operands[i]).name);
    const bool keyword = i < specs.size() && specs[i].optional;
    parts.push_back(keyword ? fmt::format("{} = {}", specs[i].name, name) : name);
  }
  return fmt::format("({})", fmt::join(parts, ", "));
}

std::string param_text(const Graph& graph, const Node& node) {
  std::string text = fmt::format("param {}: {}", name_text(node.name), type_source(graph, node.type));
  const std::string init = initialiser_text(node.param.init);
  if (!init.empty()) text += " = " + init;
  text += " as " + quoted_text(node.param.checkpoint_name);
  return node.param.weight_decay ? text : text + " no_decay";
}

std::string place_text(const Node& node) {
  std::string text;
  if (node.kernel >= 0) text += fmt::format("  in k{}", node.kernel);
  if (node.location.known()) {
    text += fmt::format("  @ {}:{}:{}", quoted_text(*node.location.file), node.location.line, node.location.column);
  }
  return text;
}

std::string dims_text(const Graph& graph) {
  std::string text;
  bool in_free = false;
  for (uint32_t i = 0; i < graph.dims().size(); ++i) {
    const Dim& dim = graph.dims()[i];
    if (dim.is_free()) {
      text += (in_free ? ", " : "free ") + dim_source(graph, DimId{i});
    } else {
      text += fmt::format("{}dim {} = {}\n", in_free ? "\n" : "", dim_source(graph, DimId{i}), dim.size);
    }
    in_free = dim.is_free();
  }
  return in_free ? text + "\n" : text;
}

/// ` outer<B, L>`; nothing for an empty list.
std::string dim_list_text(const Graph& graph, std::string_view word, const std::vector<DimId>& dims) {
  std::vector<std::string> names;
  for (const DimId dim : dims) names.push_back(dim_source(graph, dim));
  return names.empty() ? "" : fmt::format(" {}<{}>", word, fmt::join(names, ", "));
}

std::string kernel_text(const Graph& graph, const KernelGroup& kernel) {
  return fmt::format("kernel {} = {}\n", name_text(kernel.name), loops_text(graph, kernel));
}

/// Inputs that lead the graph are written as the block's arguments; later ones keep their place as `x: type = input()`.
size_t count_arguments(const Graph& graph) {
  size_t count = 0;
  while (count < graph.size() && graph.nodes()[count].op == Op::Input) ++count;
  return count;
}

}  // namespace

std::string loops_text(const Graph& graph, const KernelGroup& kernel) {
  std::string text(kKernelKinds[kernel.kind]);
  if (kernel.along != DimId{}) {
    text += fmt::format("<{}{}>", dim_source(graph, kernel.along), kernel.reverse ? ", reverse" : "");
  }
  if (kernel.lane != DimId{}) text += dim_list_text(graph, "lane", {kernel.lane});
  return text + dim_list_text(graph, "outer", kernel.outer) + dim_list_text(graph, "inner", kernel.inner);
}

bool is_reserved_word(std::string_view word) {
  return std::find(kReserved.begin(), kReserved.end(), word) != kReserved.end();
}

bool is_identifier(std::string_view text) {
  return !text.empty() && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_letter(c) || is_digit(c) || c == '.'; });
}

std::string name_text(std::string_view name) {
  if (is_identifier(name) && !is_reserved_word(name)) return std::string(name);
  return fmt::format("`{}`", name);
}

std::string quoted_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte >= 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string number_text(double number) {
  return fmt::format("{}", number);
}

const std::vector<InitialiserKind>& initialiser_kinds() {
  static const std::vector<InitialiserKind> kinds = {
      {"zeros", Initialiser::zeros, 0},       {"ones", Initialiser::ones, 0},
      {"constant", Initialiser::constant, 1}, {"normal", Initialiser::normal, 2},
      {"uniform", Initialiser::uniform, 2},   {"log_arange", Initialiser::log_arange, 0},
      {"dt_bias", Initialiser::dt_bias, 2},   {"log_uniform_ring", Initialiser::log_uniform_ring, 2}};
  return kinds;
}

std::string initialiser_text(const Initialiser& init) {
  for (const InitialiserKind& kind : initialiser_kinds()) {
    if (kind.kind != init.kind) continue;
    if (kind.arguments == 0) return std::string(kind.name);
    if (kind.arguments == 1) return fmt::format("{}({})", kind.name, number_text(init.a));
    return fmt::format("{}({}, {})", kind.name, number_text(init.a), number_text(init.b));
  }
  return "";
}

bool is_printable(const Graph& graph) {
  const auto has_node = [&](NodeId id) { return id.index < graph.size(); };
  const auto has_dims = [&](const std::vector<DimId>& dims) {
    return std::ranges::all_of(dims, [&](DimId d) { return d.index < graph.dims().size(); });
  };
  const auto is_whole = [&](const Node& node) {
    return has_dims(node.type.dims) && has_dims(node.attrs.dims) &&
           std::ranges::all_of(node.operands, [&](NodeId o) { return !o.present() || has_node(o); });
  };
  const auto has_loops = [&](const KernelGroup& kernel) {
    const auto may_lack = [&](DimId d) { return d == DimId{} || has_dims({d}); };
    return has_dims(kernel.outer) && has_dims(kernel.inner) && may_lack(kernel.along) && may_lack(kernel.lane);
  };
  return std::ranges::all_of(graph.nodes(), is_whole) && std::ranges::all_of(graph.kernels, has_loops) &&
         std::ranges::all_of(graph.dims(), [&](const Dim& dim) { return !dim.is_tiles() || has_dims({dim.base}); }) &&
         std::ranges::all_of(graph.outputs(), [&](const Output& output) { return has_node(output.value); });
}

std::string print_node(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  if (node.op == Op::Param) return param_text(graph, node);
  return fmt::format("{}: {} = {}{}{}", name_text(node.name), type_source(graph, node.type), name_of(node.op),
                     attributes_text(graph, node), operands_text(graph, node));
}

std::string print(const Graph& graph) {
  std::string text = dims_text(graph);
  for (const KernelGroup& kernel : graph.kernels) text += kernel_text(graph, kernel);
  text += fmt::format("block {}(", name_text(graph.name));
  const size_t arguments = count_arguments(graph);
  for (size_t i = 0; i < arguments; ++i) {
    const Node& node = graph.nodes()[i];
    if (i > 0) text += ", ";
    text += fmt::format("{}: {}{}", name_text(node.name), type_source(graph, node.type), place_text(node));
  }
  text += ") {\n";
  for (size_t i = arguments; i < graph.size(); ++i) {
    text += fmt::format("  {}{}\n", print_node(graph, NodeId{static_cast<uint32_t>(i)}), place_text(graph.nodes()[i]));
  }
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    const Output& output = graph.outputs()[i];
    text += fmt::format("{}{} = {}", i == 0 ? "  return " : ", ", name_text(output.name),
                        name_text(graph.node(output.value).name));
  }
  return text + (graph.outputs().empty() ? "}\n" : "\n}\n");
}

}  // namespace mambac
