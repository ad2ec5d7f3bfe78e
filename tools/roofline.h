// The least time that a piece of work takes, by what it needs: bytes, exponentials, arithmetic.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/kernel_work.h"

namespace mambac::tools {

/// The least seconds that a piece of work needs of one resource.
struct ResourceTime {
  double seconds = 0;
  std::string_view resource;
};

/// The one that bounds the work; of equal ones, the first. There must be one.
const ResourceTime& longest(const std::vector<ResourceTime>& times);

/// What this machine's processors can do, measured when first asked for (tools/floors.h).
class Machine {
 public:
  double read_seconds(double bytes);
  /// "bytes", "exponentials" and "multiply-adds"; of a matrix product "product", the library's own time.
  std::vector<ResourceTime> times_of(const KernelWork& work);

 private:
  double exponentials();
  double multiply_adds();
  double product_seconds(const MatmulShape& shape, bool packed);

  double exponentials_ = 0, multiply_adds_ = 0;  // per second
  std::map<int, double> bandwidth_;
  std::map<std::pair<std::string, bool>, double> products_;
};

}  // namespace mambac::tools
