#include "runtime/optimiser.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ir/error.h"
#include "runtime/held_out.h"

namespace mambac {

Optimiser::Optimiser(const TrainSettings& settings, const ParameterLayout& layout, const TrainingGraphs& graphs)
    : settings_(settings), graphs_(graphs), floats_(static_cast<size_t>(layout.size())) {
  const Port& input = port(graphs.gradients.inputs(), "bytes", DType::u8);
  check(input.shape.size() == 2, "Optimiser: the graph's bytes are not [B, L]");
  batch_ = input.shape[0];
  length_ = input.shape[1];
  windows_.resize(static_cast<size_t>(batch_ * (length_ + 1)));

  const size_t bytes = floats_ * sizeof(float);
  const bool several = settings.accumulate > 1;
  check(!several || graphs.add, "Optimiser: accumulating gradients needs the graph `add`");
  values_ = ZeroedMemory(bytes);
  gradients_ = ZeroedMemory(bytes);
  first_ = ZeroedMemory(bytes);
  second_ = ZeroedMemory(bytes);
  if (several) fresh_ = ZeroedMemory(bytes);
  layout.bind(graphs.gradients, values_.floats());
  layout.bind_gradients(graphs.gradients, several ? fresh_.floats() : gradients_.floats());
  bind();
  bind_update(graphs.update_decayed, 0, layout.decayed(), scalars_.weight_decay);
  bind_update(graphs.update_others, layout.decayed(), layout.size() - layout.decayed(), scalars_.no_decay);
}

void Optimiser::bind() {
  bind_windows(graphs_.gradients, bytes_, targets_);
  graphs_.gradients.bind("loss", &loss_);
  graphs_.norm.bind("grad", gradients_.data());
  graphs_.norm.bind("sum", &sum_of_squares_);
  if (settings_.accumulate > 1) {
    graphs_.add->bind("x", gradients_.data());
    graphs_.add->bind("y", fresh_.data());
    graphs_.add->bind("sum", gradients_.data());
  }
  scalars_.weight_decay = static_cast<float>(settings_.weight_decay);
  scalars_.beta1 = static_cast<float>(settings_.beta1);
  scalars_.beta2 = static_cast<float>(settings_.beta2);
  scalars_.epsilon = static_cast<float>(settings_.epsilon);
}

void Optimiser::bind_update(Executable* update, int64_t first, int64_t count, float& weight_decay) {
  check((update != nullptr) == (count > 0), "Optimiser: an update without parameters, or parameters without one");
  if (!update) return;
  for (const char* name : {"param", "grad", "m", "v"})
    check(port(update->inputs(), name, DType::f32).elements == count,
          "Optimiser: the update is made for another number of parameters");
  update->bind("param", values_.floats() + first);
  update->bind("param.next", values_.floats() + first);
  update->bind("grad", gradients_.floats() + first);
  update->bind("m", first_.floats() + first);
  update->bind("m.next", first_.floats() + first);
  update->bind("v", second_.floats() + first);
  update->bind("v.next", second_.floats() + first);
  update->bind("lr", &scalars_.learning_rate);
  update->bind("weight_decay", &weight_decay);
  update->bind("beta1", &scalars_.beta1);
  update->bind("beta2", &scalars_.beta2);
  update->bind("eps", &scalars_.epsilon);
  update->bind("step", &scalars_.step);
  update->bind("scale", &scalars_.scale);
}

/// Leaves the sum of the batches' gradients in gradients_; returns their mean loss.
double Optimiser::gradients(const ByteSource& data, Rng& rng) {
  double loss = 0;
  for (int64_t i = 0; i < settings_.accumulate; ++i) {
    data.sample(rng, batch_, windows_.data());
    split_windows(windows_.data(), batch_, length_, bytes_.data(), targets_.data());
    graphs_.gradients.run();
    loss += static_cast<double>(loss_);
    if (i > 0) {
      graphs_.add->run();
    } else if (settings_.accumulate > 1) {
      std::memcpy(gradients_.data(), fresh_.data(), gradients_.bytes());
    }
  }
  return loss / static_cast<double>(settings_.accumulate);
}

double Optimiser::run(const ByteSource& data, Rng& rng, int64_t step, double learning_rate) {
  const double loss = gradients(data, rng);
  graphs_.norm.run();
  const double batches = static_cast<double>(settings_.accumulate);
  const double norm = std::sqrt(static_cast<double>(sum_of_squares_)) / batches;
  if (!std::isfinite(loss) || !std::isfinite(norm))
    throw InputError(
        fmt::format("training diverged at step {}: the loss is {} and the gradient's norm {}, expected finite "
                    "numbers; a lower learning rate or a longer warm-up may help",
                    step, loss, norm));
  const double clip = settings_.clip > 0 ? std::min(1.0, settings_.clip / (norm + 1e-6)) : 1.0;
  scalars_.scale = static_cast<float>(clip / batches);
  scalars_.learning_rate = static_cast<float>(learning_rate);
  scalars_.step = static_cast<float>(step);
  for (Executable* update : {graphs_.update_decayed, graphs_.update_others})
    if (update) update->run();
  return loss;
}

size_t Optimiser::planned_bytes() const {
  size_t bytes = values_.bytes() + gradients_.bytes() + fresh_.bytes() + first_.bytes() + second_.bytes() +
                 windows_.size() + bytes_.size() + targets_.size();
  bytes += graphs_.gradients.planned_bytes() + graphs_.norm.planned_bytes();
  for (const Executable* update : {graphs_.update_decayed, graphs_.update_others})
    if (update) bytes += update->planned_bytes();
  if (settings_.accumulate > 1) bytes += graphs_.add->planned_bytes();
  return bytes;
}

}  // namespace mambac
