#include "tools/roofline.h"

#include <algorithm>
#include <cmath>

#include "tools/floors.h"

namespace mambac::tools {

const ResourceTime& longest(const std::vector<ResourceTime>& times) {
  return *std::ranges::max_element(times, {}, &ResourceTime::seconds);
}

double Machine::read_seconds(double bytes) {
  if (bytes <= 0) return 0;
  // Sizes in steps of the square root of two: bandwidth does not change faster.
  const int step = static_cast<int>(std::ceil(2 * std::log2(std::max(bytes, 4096.0))));
  auto [entry, fresh] = bandwidth_.try_emplace(step, 0);
  if (fresh) entry->second = floors::read_bytes_per_second(static_cast<size_t>(std::exp2(step / 2.0)));
  return bytes / entry->second;
}

std::vector<ResourceTime> Machine::times_of(const KernelWork& work) {
  if (work.product) return {{product_seconds(*work.product, work.weight), "product"}};
  return {{read_seconds(work.bytes()), "bytes"},
          {work.exponentials / exponentials(), "exponentials"},
          {work.flops / 2 / multiply_adds(), "multiply-adds"}};
}

double Machine::exponentials() {
  if (exponentials_ == 0) exponentials_ = floors::exponentials_per_second();
  return exponentials_;
}

double Machine::multiply_adds() {
  if (multiply_adds_ == 0) multiply_adds_ = floors::multiply_adds_per_second();
  return multiply_adds_;
}

double Machine::product_seconds(const MatmulShape& shape, bool packed) {
  auto [entry, fresh] = products_.try_emplace({shape.str(), packed}, 0);
  if (fresh) entry->second = floors::product_seconds(shape, packed);
  return entry->second;
}

}  // namespace mambac::tools
