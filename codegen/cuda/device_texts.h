// The texts of this folder, which every build carries within itself.
#pragma once

#include <string_view>

namespace mambac {

extern const std::string_view kCommonText, kDeviceText, kEmulationAbiText, kEmulatedText, kLibraryText;

}  // namespace mambac
