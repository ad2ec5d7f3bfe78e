// Seeded numbers for tests: the same on every machine.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/eval.h"

namespace mambac::test {

/// SplitMix64; all that tests draw comes from it.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits();
  double uniform(double low, double high);
  /// In [low, high].
  int64_t integer(int64_t low, int64_t high);
  bool chance(double probability) { return uniform(0, 1) < probability; }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(integer(0, static_cast<int64_t>(from.size()) - 1))];
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[static_cast<size_t>(integer(0, static_cast<int64_t>(i) - 1))]);
  }

 private:
  uint64_t state_;
};

/// What an input or parameter is drawn from. Masks are 1 with probability `high`, else 0; integers include `high`.
struct Range {
  enum Kind { uniform, integer, mask } kind = uniform;
  double low = -1;
  double high = 1;
};

using Ranges = std::map<std::string, Range>;

/// Values for every input and parameter, by node name; those without a range are uniform in [-1, 1]. All are numbers
/// that f32 holds, so that every device computes on the same ones.
Arrays draw_values(const Graph& graph, const Bindings& bindings, const Ranges& ranges, uint64_t seed);

/// The largest |a - b| / (absolute + relative |b|) over all elements: at most 1 when they agree. NaN counts as
/// infinite.
double difference(const Array& a, const Array& b, double relative, double absolute);

/// The largest difference over the outputs of `expected`; the name of the worst is put into `worst` when given.
double difference(const Arrays& found, const Arrays& expected, double relative, double absolute,
                  std::string* worst = nullptr);

}  // namespace mambac::test
