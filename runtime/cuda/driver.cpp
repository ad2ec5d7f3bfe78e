#include "runtime/cuda/driver.h"

#include <fmt/format.h>

#include <array>

#include "runtime/cuda/libraries.h"
#include "runtime/progress.h"

namespace mambac::cuda {
namespace {

DriverApi load_driver(const LibraryProbe& library) {
  require_library(library);
  DriverApi api;
#define MAMBAC_FUNCTION(name, ...) api.name = reinterpret_cast<decltype(api.name)>(require_symbol(library, #name));
#include "runtime/cuda/driver_functions.def"
#undef MAMBAC_FUNCTION
  return api;
}

std::string initialisation_failure(const Driver& driver, Status status) {
  const std::string found = fmt::format("the CUDA driver '{}' (up to CUDA {})", driver.path(), driver.version_text());
  const std::string said = status_text(driver.api(), status);
  switch (fault_of(status)) {
    case Fault::kNoDevice:
      return fmt::format("{} finds no GPU: {}; 'nvidia-smi' shows what it sees, $CUDA_VISIBLE_DEVICES may hide devices",
                         found, said);
    case Fault::kOldDriver:
      return fmt::format(
          "{} does not go with the system's kernel module or is too old: {}; install one driver of one "
          "version, then restart",
          found, said);
    default:
      return fmt::format("{} cannot be initialised: {}", found, said);
  }
}

std::string uuid_text(const std::array<unsigned char, 16>& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < uuid.size(); ++i)
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
  return text;
}

}  // namespace

std::string DeviceInfo::architecture() const {
  return fmt::format("sm_{}{}", major, minor);
}

const Driver& Driver::instance() {
  static const Driver driver(find_driver());
  return driver;
}

Driver::Driver(const LibraryProbe& library) : path_(library.path), api_(load_driver(library)) {
  api_.cuDriverGetVersion(&version_);
  const Status status = api_.cuInit(0);
  if (status != kSuccess) throw EnvironmentError(initialisation_failure(*this, status));
}

std::string Driver::version_text() const {
  return fmt::format("{}.{}", version_ / 1000, version_ % 1000 / 10);
}

int Driver::device_count() const {
  int count = 0;
  const Status status = api_.cuDeviceGetCount(&count);
  if (status != kSuccess)
    throw EnvironmentError(fmt::format("the CUDA driver cannot count its devices: {}", status_text(api_, status)));
  return count;
}

DeviceInfo Driver::describe(int ordinal) const {
  const int count = device_count();
  if (ordinal < 0 || ordinal >= count)
    throw InputError(fmt::format("found device cuda:{}, expected {}", ordinal,
                                 count == 0   ? "none: the driver sees no GPU"
                                 : count == 1 ? "cuda:0, the only one there is"
                                              : fmt::format("cuda:0 to cuda:{}", count - 1)));
  const auto expect = [&](Status status) {
    if (status != kSuccess)
      throw EnvironmentError(
          fmt::format("cannot ask for the properties of cuda:{}: {}", ordinal, status_text(api_, status)));
  };
  int device = 0;
  expect(api_.cuDeviceGet(&device, ordinal));
  const auto attribute = [&](DeviceAttribute which) {
    int value = 0;
    expect(api_.cuDeviceGetAttribute(&value, which, device));
    return value;
  };
  std::array<char, 256> name{};
  std::array<unsigned char, 16> uuid{};
  DeviceInfo info;
  expect(api_.cuDeviceGetName(name.data(), static_cast<int>(name.size()) - 1, device));
  expect(api_.cuDeviceGetUuid_v2(uuid.data(), device));
  expect(api_.cuDeviceTotalMem_v2(&info.memory, device));
  info.ordinal = ordinal;
  info.name = name.data();
  info.uuid = uuid_text(uuid);
  info.major = attribute(kAttributeComputeMajor);
  info.minor = attribute(kAttributeComputeMinor);
  info.multiprocessors = attribute(kAttributeMultiprocessors);
  info.l2_bytes = static_cast<size_t>(attribute(kAttributeL2Bytes));
  info.shared_bytes_per_multiprocessor = static_cast<size_t>(attribute(kAttributeSharedBytesPerMultiprocessor));
  info.shared_bytes_per_block = static_cast<size_t>(attribute(kAttributeSharedBytesPerBlock));
  return info;
}

Device::Device(const Driver& driver, int ordinal) : driver_(driver), info_(driver.describe(ordinal)) {
  expect(api().cuDeviceGet(&handle_, ordinal), "open the device");
  expect(api().cuDevicePrimaryCtxRetain(&context_, handle_), "open the device");
}

Device::~Device() {
  api().cuDevicePrimaryCtxRelease_v2(handle_);
}

std::string Device::str() const {
  return fmt::format("cuda:{} ({})", info_.ordinal, info_.name);
}

DeviceMemoryUse Device::memory() const {
  enter();
  DeviceMemoryUse use;
  expect(api().cuMemGetInfo_v2(&use.free, &use.total), "ask for the free memory");
  return use;
}

void Device::fail_out_of_memory(const std::string& tried, size_t asked) const {
  DeviceMemoryUse use;
  api().cuMemGetInfo_v2(&use.free, &use.total);
  throw OutOfDeviceMemory(
      fmt::format("{}: cannot {}: out of device memory, {} of {} are free", str(), tried,
                  byte_text(static_cast<double>(use.free)), byte_text(static_cast<double>(use.total))),
      asked, use.free, use.total);
}

void Device::fail(Status status, const char* tried, std::string_view subject) const {
  const std::string action = subject.empty() ? tried : fmt::format("{} {}", tried, subject);
  const Fault fault = fault_of(status);
  if (fault == Fault::kOutOfMemory) fail_out_of_memory(action, 0);
  const std::string message = fmt::format("{}: cannot {}: {}", str(), action, status_text(api(), status));
  switch (fault) {
    case Fault::kLostDevice:
      throw LostDevice(message +
                       "; the device is lost to this process, and a new one may use it again. Files written before "
                       "are whole. The system's log ('dmesg', lines with Xid) tells why");
    case Fault::kOldDriver:
      throw EnvironmentError(fmt::format("{}; the driver (up to CUDA {}) is too old", message, driver_.version_text()));
    case Fault::kRefusedImage:
      throw RefusedImage(fmt::format("{}; the device has compute capability {}.{}, the driver serves up to CUDA {}",
                                     message, info_.major, info_.minor, driver_.version_text()));
    case Fault::kBug:
      throw InternalError(spoils_context(status)
                              ? message + "; a kernel did this, now or before, and every later call fails, too"
                              : message);
    default:
      throw EnvironmentError(message);
  }
}

}  // namespace mambac::cuda
