// The CPU as a device whose memory the host cannot touch: what the CPU's own device would let pass ends the test.
#pragma once

#include <memory>

#include "runtime/device.h"

namespace mambac::test {

/// Kernels and products are the CPU's, so results are the same to the bit. Its memory (256 MB in all, NaN at first, not
/// used again when it is freed) is open during calls and copies only; any other access ends the process. InternalError
/// when a call gets memory of the host, or a copy memory of the wrong side.
std::unique_ptr<Device> protected_device();

}  // namespace mambac::test
