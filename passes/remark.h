// What a pass has to say to the person who tunes a model: why something was, or was not, done at a line of it.
#pragma once

#include <string>
#include <vector>

#include "ir/error.h"

namespace mambac {

struct Remark {
  std::string pass;   // "fuse"
  std::string code;   // a short stable word to filter by: "large-contraction"
  Location location;  // of the op in the model's text
  std::string op;     // the node's name
  std::string text;   // the reason, in one sentence
};

using Remarks = std::vector<Remark>;

}  // namespace mambac
