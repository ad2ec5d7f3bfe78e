#include "tests/device_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "codegen/loop_interpret.h"
#include "ir/verify.h"
#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/emulated_device.h"

namespace mambac::test {

namespace {

size_t port_bytes(const Port& port) {
  return static_cast<size_t>(port.elements) * bytes_of(port.dtype) + 64;
}

/// Writes the elements of an array in the type of a port.
void pack(const Port& port, const Array& array, std::vector<char>& memory) {
  check(array.data.size() == static_cast<size_t>(port.elements), "a test gives an input another size");
  for (size_t i = 0; i < array.data.size(); ++i) {
    const double x = array.data[i];
    switch (port.dtype) {
      case DType::f32:
        reinterpret_cast<float*>(memory.data())[i] = static_cast<float>(x);
        break;
      case DType::i32:
        reinterpret_cast<int32_t*>(memory.data())[i] = static_cast<int32_t>(x);
        break;
      case DType::u8:
        reinterpret_cast<uint8_t*>(memory.data())[i] = static_cast<uint8_t>(x);
        break;
      default: {
        const float f = static_cast<float>(round_to(port.dtype, x));
        check(port.dtype == DType::bf16, "tests bind f32, bf16, i32 and u8");
        uint32_t bits;
        std::memcpy(&bits, &f, 4);
        reinterpret_cast<uint16_t*>(memory.data())[i] = static_cast<uint16_t>(bits >> 16);
      }
    }
  }
}

Array unpacked(const Port& port, const std::vector<char>& memory) {
  Array array{port.shape, std::vector<double>(static_cast<size_t>(port.elements))};
  for (size_t i = 0; i < array.data.size(); ++i) {
    if (port.dtype == DType::f32) {
      array.data[i] = static_cast<double>(reinterpret_cast<const float*>(memory.data())[i]);
    } else if (port.dtype == DType::u8) {
      array.data[i] = static_cast<double>(static_cast<unsigned char>(memory[i]));
    } else {
      const uint32_t bits = static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(memory.data())[i]) << 16;
      float f;
      std::memcpy(&f, &bits, 4);
      array.data[i] = static_cast<double>(f);
    }
  }
  return array;
}

std::string node_name(const Graph& graph, const std::string& port) {
  for (const Node& node : graph.nodes())
    if (node.op == Op::Param && node.param.checkpoint_name == port) return node.name;
  return port;
}

/// Interprets every kernel on zeros: no access may leave its buffer, no array element be read before it is written.
void check_bounds(const Program& program, const Bindings& bindings) {
  for (const LoweredKernel& lowered : program.lowered()) {
    std::vector<int64_t> sizes, elements;
    for (const std::string& name : lowered.kernel.sizes) sizes.push_back(bindings.at(name));
    std::vector<std::vector<char>> memory;
    std::vector<void*> pointers;
    for (size_t i = 0; i < lowered.buffers.size(); ++i) {
      const NodeId root = lowered.buffers[i].root;
      elements.push_back(root.present() ? elements_of(program.graph(), program.graph().node(root).type, bindings)
                                        : loop::evaluate(lowered.buffers[i].elements, {}, sizes));
      memory.emplace_back(static_cast<size_t>(elements.back()) * 4 + 64, '\0');
    }
    for (auto& m : memory) pointers.push_back(m.data());
    loop::interpret(lowered.kernel, pointers.data(), sizes.data(), elements.data());
  }
}

/// An output as its type has it: gradients may be laid out like their parameter.
Array in_type_order(const Program& program, const Bindings& bindings, const std::string& name, const Array& array,
                    const Array& want) {
  if (array.shape == want.shape || array.data.size() != want.data.size()) return array;
  const Graph& g = program.graph();
  const auto output =
      std::find_if(g.outputs().begin(), g.outputs().end(), [&](const Output& o) { return o.name == name; });
  const std::vector<DimId>& layout = program.layouts().of(g, output->value);
  Array moved{want.shape, std::vector<double>(array.data.size())};
  for (size_t i = 0; i < array.data.size(); ++i) {
    std::map<DimId, int64_t> index;
    int64_t rest = static_cast<int64_t>(i);
    for (size_t k = layout.size(); k-- > 0;) {
      const int64_t size = size_of(g, layout[k], bindings);
      index[layout[k]] = rest % size;
      rest /= size;
    }
    int64_t at = 0;
    for (DimId d : g.node(output->value).type.dims) at = at * size_of(g, d, bindings) + index[d];
    moved.data[static_cast<size_t>(at)] = array.data[i];
  }
  return moved;
}

}  // namespace

CheckOptions quick_check() {
  if (&test_device() != &cpu_device()) return {};
  const auto short_schedule = [](const Graph& fused, int number) {
    Schedule schedule = cpu_device().schedule(fused, number);
    schedule.unroll = 1;
    Schedule short_tiles = schedule;
    short_tiles.tile = 1;
    return why_illegal(fused, number, short_tiles, DeviceKind::cpu).empty() ? short_tiles : schedule;
  };
  return {.schedule = short_schedule, .device = &unoptimised_cpu_device()};
}

CpuSession::CpuSession(const Program& program, const Bindings& bindings)
    : program_(program), executable_(program.instantiate(bindings)) {
  Device& device = program.device();
  const auto bind = [&](const std::vector<Port>& ports, std::vector<PortMemory>& memory) {
    for (const Port& port : ports) {
      const std::vector<char> nothing(port_bytes(port), static_cast<char>(0xff));
      memory.push_back({device.allocate(static_cast<int64_t>(nothing.size())), nothing});
      device.upload(memory.back().device->data(), nothing.data(), nothing.size());
      executable_->bind(port.name, memory.back().device->data());
    }
  };
  bind(executable_->inputs(), inputs_);
  bind(executable_->outputs(), outputs_);
}

Arrays CpuSession::run(const Arrays& values) {
  Device& device = program_.device();
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Port& port = executable_->inputs()[i];
    pack(port, values.at(node_name(program_.graph(), port.name)), inputs_[i].host);
    device.upload(inputs_[i].device->data(), inputs_[i].host.data(), inputs_[i].host.size());
  }
  executable_->run();
  Arrays outputs;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    device.download(outputs_[i].host.data(), outputs_[i].device->data(), outputs_[i].host.size());
    outputs[executable_->outputs()[i].name] = unpacked(executable_->outputs()[i], outputs_[i].host);
  }
  return outputs;
}

Device& emulated_device() {
  static const std::unique_ptr<Device> emulated = emulated_cuda_device({.check_global_races = true});
  return *emulated;
}

namespace {

std::unique_ptr<Device> cuda_test_device(const std::string& library) {
  if (library.empty()) return make_cuda_device(0);
  for (const char* name : {"MAMBAC_CUDA_DRIVER", "MAMBAC_NVRTC", "MAMBAC_CUBLASLT"}) setenv(name, library.c_str(), 1);
  // What such a library makes must not be taken for machine code later.
  setenv("MAMBAC_CACHE", "/dev/null/nowhere", 1);
  return make_cuda_device(0);
}

}  // namespace

Device& test_device() {
  static const std::string name = [] {
    const char* wanted = std::getenv("MAMBAC_TEST_DEVICE");
    return std::string(wanted ? wanted : "cpu");
  }();
  if (name == "cpu") return cpu_device();
  if (name == "cuda-emulated") return emulated_device();
  check(name == "cuda" || name.starts_with("cuda="),
        "MAMBAC_TEST_DEVICE is none of cpu, cuda-emulated, cuda and cuda=LIBRARY");
  static const std::unique_ptr<Device> cuda = cuda_test_device(name == "cuda" ? "" : name.substr(5));
  return *cuda;
}

namespace {

bool is_cpu(const Device& device) {
  return &device == &cpu_device() || &device == &unoptimised_cpu_device();
}

int runs_before(const Device& device) {
  return is_cpu(device) ? 1 : &device == &emulated_device() ? 4 : 2;
}

}  // namespace

Arrays run_on_cpu(const Program& program, const Bindings& bindings, const Arrays& values) {
  CpuSession session(program, bindings);
  // A CUDA device captures the second run and launches it as one from the third on.
  for (int runs = runs_before(program.device()); runs > 0; --runs) session.run(values);
  return session.run(values);  // sees the memory of earlier runs: nothing may depend on it
}

std::string compare_on_cpu(Graph fused, const Bindings& bindings, const Arrays& values, const Arrays& expected,
                           const CheckOptions& options) {
  const Program program(std::move(fused), options.schedule, options.device ? *options.device : test_device());
  if (options.bounds && is_cpu(program.device())) check_bounds(program, bindings);
  Arrays found = run_on_cpu(program, bindings, values);
  std::string message;
  for (const auto& [name, want] : expected) {
    const Array array = in_type_order(program, bindings, name, found.at(name), want);
    // The absolute part follows the size of the output's values: a sum over many steps rounds in proportion.
    double squares = 0;
    for (double x : want.data) squares += x * x;
    const double scale = std::max(1.0, std::sqrt(squares / static_cast<double>(std::max<size_t>(1, want.data.size()))));
    const double d = difference(array, want, options.relative, options.absolute * scale);
    if (!(d <= 1)) message += fmt::format("{} differs by {} tolerances; ", name, d);
  }
  return message;
}

std::string check_on_cpu(const Graph& graph, const Bindings& bindings, const Arrays& values,
                         const CheckOptions& options) {
  Remarks remarks;
  Graph fused = fuse(graph, options.fuse, remarks);
  verify(fused);
  const Arrays expected = evaluate(graph, bindings, values);
  std::string worst;
  const double changed = difference(evaluate(fused, bindings, values), expected, 1e-9, 1e-9, &worst);
  if (!(changed <= 1)) return fmt::format("fusion changed the meaning: {} differs by {}", worst, changed);
  return compare_on_cpu(std::move(fused), bindings, values, expected, options);
}

}  // namespace mambac::test
