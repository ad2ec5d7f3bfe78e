// The model texts of models/, which every build carries within itself.
#pragma once

#include <span>
#include <string_view>

namespace mambac {

struct ShippedModel {
  std::string_view file;  // "mamba.mb"
  std::string_view text;
};

std::span<const ShippedModel> shipped_models();

}  // namespace mambac
