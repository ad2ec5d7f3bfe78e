#include "codegen/kernel_name.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <vector>

#include "passes/fuse.h"

namespace mambac {
namespace {

constexpr size_t kLongest = 80, kLongestDefinition = 24;

/// Finds what the nodes of one kernel do for each other.
class Namer {
 public:
  Namer(const Graph& fused, int number) : graph_(fused), number_(number) {
    for (uint32_t i = 0; i < fused.size(); ++i) {
      const NodeId id{i};
      if (fused.node(id).kernel != number) continue;
      nodes_.push_back(id);
      for (NodeId o : fused.node(id).operands)
        if (o.present()) readers_[o].push_back(id);
    }
  }

  std::string name() const {
    std::string text = definition();
    text += (text.empty() ? "" : "_") + std::string(is_gradient() ? "bwd" : "fwd");
    const std::string end = "_" + std::string(name_of(narrowest()));
    for (const std::string& word : words())
      if (text.size() + 1 + word.size() + end.size() <= kLongest) text += "_" + word;
    return text + end;
  }

 private:
  const Node& node(NodeId id) const { return graph_.node(id); }
  bool inside(NodeId id) const { return id.present() && node(id).kernel == number_; }
  bool is(NodeId id, Op op) const { return id.present() && node(id).op == op; }

  std::string definition() const {
    std::map<std::string, int> votes;
    for (NodeId id : nodes_)
      if (node(id).location.known()) ++votes[std::filesystem::path(*node(id).location.file).stem().string()];
    const auto most =
        std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == votes.end() ? "" : identifier(most->first.substr(0, kLongestDefinition));
  }

  /// As a name in C may begin.
  static std::string identifier(std::string text) {
    for (char& c : text)
      if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return std::isdigit(static_cast<unsigned char>(text[0])) ? "k_" + text : text;
  }

  /// Gradients are called by what they belong to: "dt.grad.2".
  bool is_gradient() const {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [&](NodeId id) { return (node(id).name + ".").find(".grad.") != std::string::npos; });
  }

  DType narrowest() const {
    DType found = DType::f32;
    const auto look = [&](NodeId id) {
      const DType dtype = node(id).type.dtype;
      if (dtype == DType::bf16 || dtype == DType::f16) found = dtype;
    };
    for (NodeId id : nodes_) {
      look(id);
      for (NodeId o : node(id).operands)
        if (o.present()) look(o);
    }
    return found;
  }

  /// What each node does, in their order, each thing once. Plain arithmetic only where there is nothing else.
  std::vector<std::string> words() const {
    constexpr size_t kPlain = 3;
    std::vector<std::string> words, plain;
    const auto add = [](std::vector<std::string>& to, std::string word) {
      if (!word.empty() && std::find(to.begin(), to.end(), word) == to.end()) to.push_back(std::move(word));
    };
    for (NodeId id : nodes_) {
      add(words, role(id));
      if (is_pointwise(node(id).op) && plain.size() < kPlain) add(plain, std::string(name_of(node(id).op)));
    }
    return words.empty() ? plain : words;
  }

  std::string role(NodeId id) const {
    const Node& n = node(id);
    if (is_library(graph_, id)) return std::string(name_of(n.op));
    if (reads_state(n) && !is_directional(n.op)) return "step";
    switch (n.op) {
      case Op::Exp:
        return is_invariant(id) ? "" : is_decay(id) ? "discretize" : "exp";
      case Op::Sigmoid:
        return is_gate(id) ? "gate" : is_silu(id) ? "silu" : "sigmoid";
      case Op::Rsqrt:
        return "norm";
      case Op::Dot:
        return is(n.operands[0], Op::Window) || is(n.operands[1], Op::Window) ? "convolve" : "project";
      case Op::PartDot:
        return "project";
      case Op::Overlap:
        return "convolve";
      case Op::Window:
        return read_by(id, Op::Dot) ? "" : "window";
      case Op::Delay:
        return has_scan() ? "" : "delay";
      case Op::ChunkStarts:
        return "";
      default:
        break;
    }
    const bool moves = class_of(n.op) == OpClass::Layout;
    const bool plain = is_pointwise(n.op) && info(n.op).exponentials == 0;
    return moves || plain ? "" : std::string(name_of(n.op));
  }

  /// The state that a step starts from: an input of the step's form of the graph.
  bool reads_state(const Node& n) const {
    return std::any_of(n.operands.begin(), n.operands.end(),
                       [&](NodeId o) { return is(o, Op::Input) && node(o).name.starts_with("state."); });
  }

  const std::vector<NodeId>& readers(NodeId id) const {
    static const std::vector<NodeId> none;
    const auto found = readers_.find(id);
    return found == readers_.end() ? none : found->second;
  }
  bool read_by(NodeId id, Op op) const {
    return std::any_of(readers(id).begin(), readers(id).end(), [&](NodeId r) { return node(r).op == op; });
  }
  bool has_scan() const {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](NodeId id) { return node(id).op == Op::Scan; });
  }

  /// Of parameters alone: computed once, not at every position.
  bool is_invariant(NodeId id) const {
    const std::vector<DimId>& dims = node(id).type.dims;
    return std::none_of(dims.begin(), dims.end(), [&](DimId d) { return graph_.dim(d).is_free(); });
  }
  /// What a scan multiplies its state by.
  bool is_decay(NodeId id) const {
    return std::any_of(readers(id).begin(), readers(id).end(),
                       [&](NodeId r) { return node(r).op == Op::Scan && node(r).operands[0] == id; });
  }
  /// x * sigmoid(x): the product; absent when there is none.
  NodeId silu(NodeId sigmoid) const {
    for (NodeId r : readers(sigmoid)) {
      const std::vector<NodeId>& factors = node(r).operands;
      const NodeId x = node(sigmoid).operands[0];
      if (node(r).op == Op::Mul && (factors[0] == x || factors[1] == x)) return r;
    }
    return {};
  }
  bool is_silu(NodeId sigmoid) const { return silu(sigmoid).present(); }
  /// Something computed here is multiplied by the SiLU, or by the sigmoid alone.
  bool is_gate(NodeId sigmoid) const {
    const NodeId gate = is_silu(sigmoid) ? silu(sigmoid) : sigmoid;
    return std::any_of(readers(gate).begin(), readers(gate).end(), [&](NodeId r) {
      const std::vector<NodeId>& factors = node(r).operands;
      return node(r).op == Op::Mul && inside(factors[0] == gate ? factors[1] : factors[0]);
    });
  }

  const Graph& graph_;
  const int number_;
  std::vector<NodeId> nodes_;
  std::map<NodeId, std::vector<NodeId>> readers_;  // in this kernel
};

}  // namespace

std::string kernel_name(const Graph& fused, int number) {
  return Namer(fused, number).name();
}

bool names_kernel(const std::string& text, const Graph& fused, int number) {
  const KernelGroup& group = fused.kernels[static_cast<size_t>(number)];
  if (text.empty() || (group.name + "_").starts_with(text + "_")) return true;
  const bool is_number = text.size() > 1 && text[0] == 'k' &&
                         std::all_of(text.begin() + 1, text.end(), [](unsigned char c) { return std::isdigit(c); });
  return !is_number && kernel_name(fused, number).find(text) != std::string::npos;
}

}  // namespace mambac
