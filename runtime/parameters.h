// Where a model's parameters lie in memory and in files.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "runtime/device_array.h"
#include "runtime/safetensors.h"

namespace mambac {

struct ParameterSpec {
  std::string name;  // of the checkpoint tensor; unique
  std::vector<int64_t> shape;
  Initialiser init;
  bool weight_decay = true;
};

/// All float32 parameters of a model in one array, so that the optimiser is one launch: first those with weight decay,
/// then the others, each from a multiple of 64 bytes on. What lies between is zero and stays so, because its gradient
/// is. Gradients and optimiser moments have the same layout.
class ParameterLayout {
 public:
  explicit ParameterLayout(std::vector<ParameterSpec> parameters);

  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  /// The place of parameter i in the array, in floats.
  int64_t offset(size_t i) const { return offsets_[i]; }
  /// The index of a parameter, or -1.
  int64_t find(std::string_view name) const;

  /// Length of the array in floats, padding included.
  int64_t size() const { return size_; }
  /// The first so many floats are decayed, padding included.
  int64_t decayed() const { return decayed_; }
  /// The number of parameters proper, without padding.
  int64_t count() const { return count_; }

  /// The part of an array that is parameter i.
  DeviceSpan<float> part(size_t i, const DeviceSpan<float>& array) const {
    return array.part(offsets_[i], elements_[i]);
  }

  /// Fills the array by the initialisers.
  void initialise(uint64_t seed, const DeviceSpan<float>& values) const;
  /// Fills the array from a file; any float type, shapes as in SafetensorsFile::read.
  void load(const SafetensorsFile& file, const DeviceSpan<float>& values) const;
  /// The tensors of the array for write_safetensors, each named prefix + name.
  std::vector<TensorToWrite> tensors(const DeviceSpan<float>& values, const std::string& prefix = "") const;

  /// Binds every input of the executable that is one of these parameters.
  void bind(Executable& executable, const DeviceSpan<float>& values) const;
  /// Binds the output "grad.<name>" of every parameter. InternalError when one is missing.
  void bind_gradients(Executable& executable, const DeviceSpan<float>& gradients) const;

 private:
  std::vector<ParameterSpec> parameters_;
  std::vector<int64_t> offsets_, elements_;
  std::map<std::string, size_t, std::less<>> index_;
  int64_t size_ = 0, decayed_ = 0, count_ = 0;
};

/// The parameters of executables that only read them (evaluation, generation), in the types that these want.
class Weights {
 public:
  /// Loads each named input (`ports` without data and states; see weight_ports) from the file to the device.
  Weights(const SafetensorsFile& file, std::vector<Port> ports, Device& device);

  /// Binds every input of the executable that is one of these. InternalError when it wants one in another type or runs
  /// on another device.
  void bind(Executable& executable) const;
  size_t bytes() const { return memory_.bytes(); }

 private:
  DeviceSpan<uint8_t> part(size_t i) const;

  std::vector<Port> ports_;
  std::vector<int64_t> offsets_;
  DeviceArray<uint8_t> memory_;
};

/// The inputs that are parameters: all but "bytes", "targets" and those that begin with "state.".
std::vector<Port> weight_ports(const Executable& executable);

/// The port of that name. InternalError when it is absent or has another type.
const Port& port(const std::vector<Port>& ports, std::string_view name, DType dtype);

}  // namespace mambac
