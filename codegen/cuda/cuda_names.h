// Names in emitted CUDA C++.
#pragma once

#include <set>
#include <string>

namespace mambac::cuda_emit {

/// Names of one function: letters, digits and underscores, each used once; none that the text uses otherwise.
class Names {
 public:
  std::string make(const std::string& wanted);

 private:
  std::set<std::string> used_;
};

}  // namespace mambac::cuda_emit
