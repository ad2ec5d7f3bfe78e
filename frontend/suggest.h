// "Did you mean ...?" for misspelt names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mambac {

/// ", did you mean 'x'?" for the known name nearest to `found` in edit distance; empty when none is near.
std::string did_you_mean(std::string_view found, const std::vector<std::string>& known);

}  // namespace mambac
