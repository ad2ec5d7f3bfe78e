#include "tests/random_values.h"

#include <cmath>
#include <limits>

namespace mambac::test {

uint64_t Random::bits() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

double Random::uniform(double low, double high) {
  return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53);
}

int64_t Random::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
}

Arrays draw_values(const Graph& graph, const Bindings& bindings, const Ranges& ranges, uint64_t seed) {
  Arrays values;
  Random random(seed);
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::Input && node.op != Op::Param) continue;
    auto found = ranges.find(node.name);
    const Range range = found == ranges.end() ? Range{} : found->second;
    Array array{shape_of(graph, node.type, bindings), {}};
    array.data.resize(static_cast<size_t>(elements_of(graph, node.type, bindings)));
    for (double& value : array.data) {
      switch (range.kind) {
        case Range::uniform:
          value = static_cast<float>(random.uniform(range.low, range.high));
          break;
        case Range::integer:
          value =
              static_cast<double>(random.integer(static_cast<int64_t>(range.low), static_cast<int64_t>(range.high)));
          break;
        case Range::mask:
          value = random.chance(range.high) ? 1 : 0;
          break;
      }
    }
    values[node.name] = std::move(array);
  }
  return values;
}

double difference(const Array& a, const Array& b, double relative, double absolute) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (a.shape != b.shape || a.data.size() != b.data.size()) return kInfinite;
  double largest = 0;
  for (size_t i = 0; i < a.data.size(); ++i) {
    const double error = std::abs(a.data[i] - b.data[i]) / (absolute + relative * std::abs(b.data[i]));
    if (!std::isfinite(error)) return kInfinite;
    largest = std::max(largest, error);
  }
  return largest;
}

double difference(const Arrays& found, const Arrays& expected, double relative, double absolute, std::string* worst) {
  double largest = -1;
  for (const auto& [name, array] : expected) {
    auto there = found.find(name);
    const double error = there == found.end() ? std::numeric_limits<double>::infinity()
                                              : difference(there->second, array, relative, absolute);
    if (error <= largest) continue;
    largest = error;
    if (worst) *worst = name;
  }
  return largest;
}

}  // namespace mambac::test
