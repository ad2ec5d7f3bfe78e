#include "runtime/optimiser.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ir/error.h"
#include "ir/trace.h"

namespace mambac {

namespace {

/// One float of a struct in a device's memory.
template <typename Struct>
DeviceSpan<float> member(const MirroredArray<Struct>& array, float Struct::*which) {
  const DeviceSpan<Struct>& whole = array.on_device();
  return {whole.device(), &(whole.data()->*which), 1};
}

}  // namespace

Optimiser::Optimiser(const TrainSettings& settings, const ParameterLayout& layout, const TrainingGraphs& graphs)
    : settings_(settings),
      graphs_(graphs),
      device_(graphs.gradients.device()),
      windows_(graphs.gradients),
      drawn_(static_cast<size_t>(batch() * (length() + 1))),
      scalars_(device_, 1),
      results_(device_, 1) {
  const bool several = settings.accumulate > 1;
  check(!several || graphs.add, "Optimiser: accumulating gradients needs the graph `add`");
  for (DeviceArray<float>* array : {&values_, &gradients_, &first_, &second_})
    *array = DeviceArray<float>::zeroed(device_, layout.size());
  if (several) fresh_ = DeviceArray<float>::zeroed(device_, layout.size());
  Scalars& scalars = *scalars_.host();
  scalars.weight_decay = static_cast<float>(settings_.weight_decay);
  scalars.beta1 = static_cast<float>(settings_.beta1);
  scalars.beta2 = static_cast<float>(settings_.beta2);
  scalars.epsilon = static_cast<float>(settings_.epsilon);
  bind_gradients(layout);
  bind_norm();
  bind_update(graphs.update_decayed, 0, layout.decayed(), &Scalars::weight_decay);
  bind_update(graphs.update_others, layout.decayed(), layout.size() - layout.decayed(), &Scalars::no_decay);
}

void Optimiser::bind_gradients(const ParameterLayout& layout) {
  const bool several = settings_.accumulate > 1;
  layout.bind(graphs_.gradients, values_);
  layout.bind_gradients(graphs_.gradients, several ? fresh_ : gradients_);
  bind_memory(graphs_.gradients, "loss", member(results_, &Results::loss));
  if (!several) return;
  bind_memory(*graphs_.add, "x", gradients_);
  bind_memory(*graphs_.add, "y", fresh_);
  bind_memory(*graphs_.add, "sum", gradients_);
}

void Optimiser::bind_norm() {
  bind_memory(graphs_.norm, "grad", gradients_);
  bind_memory(graphs_.norm, "sum", member(results_, &Results::sum_of_squares));
}

void Optimiser::bind_update(Executable* update, int64_t first, int64_t count, float Scalars::*weight_decay) {
  check((update != nullptr) == (count > 0), "Optimiser: an update without parameters, or parameters without one");
  if (!update) return;
  for (const char* name : {"param", "grad", "m", "v"})
    check(port(update->inputs(), name, DType::f32).elements == count,
          "Optimiser: the update is made for another number of parameters");
  bind_memory(*update, "grad", gradients_.part(first, count));
  const auto in_place = [&](const std::string& name, const DeviceSpan<float>& array) {
    bind_memory(*update, name, array.part(first, count));
    bind_memory(*update, name + ".next", array.part(first, count));
  };
  in_place("param", values_);
  in_place("m", first_);
  in_place("v", second_);
  const auto scalar = [&](const char* name, float Scalars::*which) {
    bind_memory(*update, name, member(scalars_, which));
  };
  scalar("lr", &Scalars::learning_rate);
  scalar("weight_decay", weight_decay);
  scalar("beta1", &Scalars::beta1);
  scalar("beta2", &Scalars::beta2);
  scalar("eps", &Scalars::epsilon);
  scalar("step", &Scalars::step);
  scalar("scale", &Scalars::scale);
}

void Optimiser::draw(const ByteSource& data, Rng& rng) {
  const trace::Span span("data", "draw a batch");
  data.sample(rng, batch(), drawn_.data());
  windows_.set(drawn_.data());
}

std::string Optimiser::find_not_finite(const ByteSource& data, Rng rng,
                                       const std::function<std::string(Executable&)>& find) {
  std::string found;
  for (int64_t i = 0; i < settings_.accumulate && found.empty(); ++i) {
    draw(data, rng);
    found = find(graphs_.gradients);
  }
  return found;
}

/// Leaves the sum of the batches' gradients in gradients_; returns their mean loss.
double Optimiser::gradients(const ByteSource& data, Rng& rng) {
  double loss = 0;
  for (int64_t i = 0; i < settings_.accumulate; ++i) {
    draw(data, rng);
    graphs_.gradients.run();
    if (i > 0) {
      graphs_.add->run();
    } else if (settings_.accumulate > 1) {
      gradients_.copy(fresh_);
    }
    results_.download();
    loss += static_cast<double>(results_.host()->loss);
  }
  return loss / static_cast<double>(settings_.accumulate);
}

double Optimiser::run(const ByteSource& data, Rng& rng, int64_t step, double learning_rate) {
  const double loss = gradients(data, rng);
  graphs_.norm.run();
  results_.download();
  const double batches = static_cast<double>(settings_.accumulate);
  const double norm = std::sqrt(static_cast<double>(results_.host()->sum_of_squares)) / batches;
  if (!std::isfinite(loss) || !std::isfinite(norm))
    throw Diverged(
        fmt::format("training diverged at step {}: the loss is {} and the gradient's norm {}, expected finite "
                    "numbers; a lower learning rate or a longer warm-up may help",
                    step, loss, norm));
  const double clip = settings_.clip > 0 ? std::min(1.0, settings_.clip / (norm + 1e-6)) : 1.0;
  scalars_.host()->scale = static_cast<float>(clip / batches);
  scalars_.host()->learning_rate = static_cast<float>(learning_rate);
  scalars_.host()->step = static_cast<float>(step);
  scalars_.upload();
  for (Executable* update : {graphs_.update_decayed, graphs_.update_others})
    if (update) update->run();
  return loss;
}

size_t Optimiser::planned_bytes() const {
  size_t bytes = values_.bytes() + gradients_.bytes() + fresh_.bytes() + first_.bytes() + second_.bytes() +
                 drawn_.size() + windows_.planned_bytes() + scalars_.bytes() + results_.bytes();
  bytes += graphs_.gradients.planned_bytes() + graphs_.norm.planned_bytes();
  for (const Executable* update : {graphs_.update_decayed, graphs_.update_others})
    if (update) bytes += update->planned_bytes();
  if (settings_.accumulate > 1) bytes += graphs_.add->planned_bytes();
  return bytes;
}

}  // namespace mambac
