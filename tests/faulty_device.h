// The CPU with a planted mistake in its kernels, or with neighbours that disturb it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "ir/op.h"
#include "runtime/device.h"

namespace mambac::test {

struct PlantedFault {
  Op op;  // whose result is multiplied by the factor, wherever a kernel computes it
  double factor = 1.01;
  int compilations = -1;  // so many calls of Device::compile have the fault, later ones have not; below 0: all
  std::function<bool(const Schedule&)> where{};  // kernels under such schedules have it; empty: all
};

std::unique_ptr<Device> faulty_device(const PlantedFault& fault);

/// The CPU, on which a call of a kernel takes so much longer as `slower` says then.
std::unique_ptr<Device> slowed_device(std::function<std::chrono::milliseconds()> slower);

}  // namespace mambac::test
