// Sums of pieces: the gradients of slices and of values taken at an index.
#include <algorithm>

#include "ir/dims.h"
#include "passes/simplify_emit.h"

namespace mambac {

namespace {

/// Terms that lie in places of one dimension `whole`: puts, or unslices.
struct Pieces {
  Op op;
  DimId whole;
  Type type;
  std::vector<NodeId> terms;
  size_t position;  // of the first among all terms
};

bool is_piece(const Node& node) {
  return node.op == Op::Put || node.op == Op::Unslice;
}

DimId whole_of(const Node& piece) {
  return piece.op == Op::Put ? piece.attrs.dims[0] : piece.attrs.dims[1];
}

std::vector<Pieces> pieces_among(const Emitter& emitter, const std::vector<NodeId>& terms) {
  std::vector<Pieces> groups;
  for (size_t i = 0; i < terms.size(); ++i) {
    const Node& node = emitter.node(terms[i]);
    if (!is_piece(node) || emitter.graph().dim(whole_of(node)).is_free()) continue;
    auto fits = [&](const Pieces& g) { return g.op == node.op && g.whole == whole_of(node) && g.type == node.type; };
    auto group = std::find_if(groups.begin(), groups.end(), fits);
    if (group == groups.end()) group = groups.insert(groups.end(), {node.op, whole_of(node), node.type, {}, i});
    group->terms.push_back(terms[i]);
  }
  return groups;
}

/// What lies at one place: the first index, the dimension it fills (absent for a put) and the values to add there.
struct Place {
  int64_t begin, end;
  DimId dim;
  std::vector<NodeId> values;
};

std::vector<Place> places_of(const Emitter& emitter, const Pieces& pieces) {
  const int64_t size = emitter.graph().dim(pieces.whole).size;
  std::vector<Place> places;
  for (NodeId term : pieces.terms) {
    const Node& node = emitter.node(term);
    const bool put = node.op == Op::Put;
    const int64_t begin = node.attrs.integer < 0 ? node.attrs.integer + size : node.attrs.integer;
    const DimId dim = put ? DimId{} : node.attrs.dims[0];
    const int64_t end = begin + (put ? 1 : emitter.graph().dim(dim).size);
    auto same = [&](const Place& p) { return p.begin == begin && p.dim == dim; };
    auto place = std::find_if(places.begin(), places.end(), same);
    if (place == places.end()) place = places.insert(places.end(), {begin, end, dim, {}});
    place->values.push_back(node.operands[0]);
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.begin < b.begin; });
  return places;
}

/// Whether the places lie one after another and leave nothing out.
bool fill(const std::vector<Place>& places, int64_t size) {
  int64_t next = 0;
  for (const Place& place : places) {
    if (place.begin != next) return false;
    next = place.end;
  }
  return next == size;
}

NodeId added(Emitter& emitter, const Node& like, const std::vector<NodeId>& terms) {
  NodeId sum = terms[0];
  for (size_t i = 1; i < terms.size(); ++i) {
    sum = i + 1 == terms.size() ? emitter.make(like, Op::Add, {sum, terms[i]})
                                : emitter.part(like, Op::Add, {sum, terms[i]});
  }
  return sum;
}

/// The pieces as one concat or stack, absent when they do not fill the dimension.
NodeId joined_pieces(Emitter& emitter, const Node& like, const Pieces& pieces) {
  const std::vector<Place> places = places_of(emitter, pieces);
  if (places.size() < 2 || !fill(places, emitter.graph().dim(pieces.whole).size)) return {};
  Node part = like;
  part.name += ".part";
  std::vector<NodeId> values;
  Attrs attrs{.dims = {pieces.whole}};
  for (const Place& place : places) {
    values.push_back(added(emitter, part, place.values));
    if (pieces.op == Op::Unslice) attrs.dims.push_back(place.dim);
  }
  return emitter.make(like, pieces.op == Op::Put ? Op::Stack : Op::Concat, std::move(values), std::move(attrs));
}

}  // namespace

NodeId merged_sum(Emitter& emitter, const Node& like, const std::vector<NodeId>& terms) {
  std::vector<NodeId> rest = terms;
  bool merged = false;
  for (const Pieces& pieces : pieces_among(emitter, terms)) {
    Node part = like;
    if (pieces.terms.size() < terms.size()) part.name += ".part";
    NodeId whole = joined_pieces(emitter, part, pieces);
    if (!whole.present() || emitter.type(whole) != pieces.type) continue;
    merged = true;
    for (NodeId term : pieces.terms) *std::find(rest.begin(), rest.end(), term) = NodeId{};
    rest[pieces.position] = whole;
  }
  if (!merged) return {};
  std::erase(rest, NodeId{});
  NodeId sum = added(emitter, like, rest);
  return emitter.type(sum) == like.type ? sum : NodeId{};
}

}  // namespace mambac
