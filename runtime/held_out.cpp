#include "runtime/held_out.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "ir/error.h"
#include "runtime/parameters.h"

namespace mambac {

WindowBatch::WindowBatch(Executable& graph) {
  const Port& input = port(graph.inputs(), "bytes", DType::u8);
  check(input.shape.size() == 2, "WindowBatch: the graph's bytes are not [B, L]");
  batch_ = input.shape[0];
  length_ = input.shape[1];
  bytes_ = MirroredArray<uint8_t>(graph.device(), input.elements);
  targets_ = MirroredArray<uint8_t>(graph.device(), input.elements);
  bind_memory(graph, "bytes", bytes_.on_device());
  if (std::ranges::find(graph.inputs(), "targets", &Port::name) == graph.inputs().end()) return;
  check(port(graph.inputs(), "targets", DType::u8).elements == input.elements, "targets of another size than bytes");
  bind_memory(graph, "targets", targets_.on_device());
}

void WindowBatch::upload() const {
  bytes_.upload();
  targets_.upload();
}

void WindowBatch::set(const uint8_t* windows) const {
  for (int64_t i = 0; i < batch_; ++i) {
    std::memcpy(bytes() + i * length_, windows + i * (length_ + 1), static_cast<size_t>(length_));
    std::memcpy(targets() + i * length_, windows + i * (length_ + 1) + 1, static_cast<size_t>(length_));
  }
  upload();
}

HeldOut::HeldOut(Executable& graph, ByteSource& data, int64_t windows)
    : graph_(graph), data_(data), windows_(graph), loss_(graph.device(), 1) {
  batches_ = (windows + windows_.batch() - 1) / windows_.batch();
  data.set_window(windows_.length() + 1);
  drawn_.resize(static_cast<size_t>(windows_.batch() * (windows_.length() + 1)));
  port(graph.outputs(), "loss", DType::f32);
  bind_memory(graph, "loss", loss_.on_device());
}

double HeldOut::bits_per_byte() {
  const int64_t batch = windows_.batch(), count = batches_ * batch;
  double sum = 0;
  for (int64_t first = 0; first < count; first += batch) {
    for (int64_t row = 0; row < batch; ++row) {
      const double along = count > 1 ? static_cast<double>(first + row) / static_cast<double>(count - 1) : 0;
      data_.copy_window(static_cast<int64_t>(along * static_cast<double>(data_.positions() - 1)),
                        drawn_.data() + row * (windows_.length() + 1));
    }
    windows_.set(drawn_.data());
    graph_.run();
    loss_.download();
    sum += static_cast<double>(*loss_.host());
    if (!std::isfinite(sum)) break;
  }
  return sum / static_cast<double>(batches_) / std::numbers::ln2;
}

}  // namespace mambac
