#include "runtime/held_out.h"

#include <algorithm>
#include <cstring>
#include <numbers>

#include "ir/error.h"
#include "runtime/parameters.h"

namespace mambac {

void split_windows(const uint8_t* windows, int64_t count, int64_t length, uint8_t* bytes, uint8_t* targets) {
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(bytes + i * length, windows + i * (length + 1), static_cast<size_t>(length));
    std::memcpy(targets + i * length, windows + i * (length + 1) + 1, static_cast<size_t>(length));
  }
}

void bind_windows(Executable& graph, std::vector<uint8_t>& bytes, std::vector<uint8_t>& targets) {
  const Port& input = port(graph.inputs(), "bytes", DType::u8);
  bytes.resize(static_cast<size_t>(input.elements));
  targets.resize(bytes.size());
  graph.bind("bytes", bytes.data());
  if (std::ranges::find(graph.inputs(), "targets", &Port::name) == graph.inputs().end()) return;
  check(port(graph.inputs(), "targets", DType::u8).elements == input.elements, "targets of another size than bytes");
  graph.bind("targets", targets.data());
}

HeldOut::HeldOut(Executable& graph, ByteSource& data, int64_t windows) : graph_(graph), data_(data) {
  const Port& input = port(graph.inputs(), "bytes", DType::u8);
  check(input.shape.size() == 2, "HeldOut: the graph's bytes are not [B, L]");
  batch_ = input.shape[0];
  length_ = input.shape[1];
  batches_ = (windows + batch_ - 1) / batch_;
  data.set_window(length_ + 1);
  windows_.resize(static_cast<size_t>(batch_ * (length_ + 1)));
  bind_windows(graph, bytes_, targets_);
  port(graph.outputs(), "loss", DType::f32);
  graph.bind("loss", &loss_);
}

double HeldOut::bits_per_byte() {
  const int64_t count = batches_ * batch_;
  double sum = 0;
  for (int64_t batch = 0; batch < batches_; ++batch) {
    for (int64_t row = 0; row < batch_; ++row) {
      const double along = count > 1 ? static_cast<double>(batch * batch_ + row) / static_cast<double>(count - 1) : 0;
      data_.copy_window(static_cast<int64_t>(along * static_cast<double>(data_.positions() - 1)),
                        windows_.data() + row * (length_ + 1));
    }
    split_windows(windows_.data(), batch_, length_, bytes_.data(), targets_.data());
    graph_.run();
    sum += static_cast<double>(loss_);
  }
  return sum / static_cast<double>(batches_) / std::numbers::ln2;
}

}  // namespace mambac
