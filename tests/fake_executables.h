// Executables computed by hand, so that the runtime is tested without a compiler: a bigram model with its gradients,
// AdamW, and a small recurrent model in parallel and step form.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ir/error.h"
#include "runtime/cpu_device.h"
#include "runtime/executable.h"
#include "runtime/parameters.h"

namespace mambac {

/// Ports and bindings of an executable; `work` computes the outputs.
class FakeExecutable : public Executable {
 public:
  std::function<void(FakeExecutable&)> work;
  int runs = 0;

  FakeExecutable& input(const std::string& name, DType dtype, std::vector<int64_t> shape) {
    return add(inputs_, name, dtype, std::move(shape));
  }
  FakeExecutable& output(const std::string& name, DType dtype, std::vector<int64_t> shape) {
    return add(outputs_, name, dtype, std::move(shape));
  }

  const std::vector<Port>& inputs() const override { return inputs_; }
  const std::vector<Port>& outputs() const override { return outputs_; }
  Device& device() const override { return cpu_device(); }
  void bind(std::string_view name, void* data) override {
    const auto found = bound_.find(name);
    check(found != bound_.end(), "FakeExecutable: binding a port that is not there");
    found->second = data;
  }
  void run() override {
    for (const auto& [name, data] : bound_) check(data != nullptr, "FakeExecutable: run before everything is bound");
    ++runs;
    work(*this);
  }
  void run_observed(const KernelObserver& done) override {
    run();
    done(0, {});
  }
  std::vector<KernelTime> run_timed() override {
    run();
    return {};
  }
  size_t planned_bytes() const override { return 1000; }

  template <class T = float>
  T* at(std::string_view name) const {
    return static_cast<T*>(bound_.find(name)->second);
  }
  int64_t size(const std::string& name) const {
    for (const auto* ports : {&inputs_, &outputs_})
      for (const Port& port : *ports)
        if (port.name == name) return port.elements;
    throw InternalError("FakeExecutable: no such port");
  }

 private:
  FakeExecutable& add(std::vector<Port>& ports, const std::string& name, DType dtype, std::vector<int64_t> shape) {
    int64_t elements = 1;
    for (const int64_t size : shape) elements *= size;
    ports.push_back({name, dtype, std::move(shape), elements});
    bound_[name] = nullptr;
    return *this;
  }

  std::vector<Port> inputs_, outputs_;
  std::map<std::string, void*, std::less<>> bound_;
};

/// The bigram model's parameters: logits[next] = table[byte, next] + bias[next].
inline std::vector<ParameterSpec> bigram_parameters() {
  return {{"bias", {256}, {Initialiser::zeros}, false}, {"table", {256, 256}, {Initialiser::normal, 0, 0.01}, true}};
}

/// The negative log-likelihood of `target`; the gradient of the logits is added to `grad` (null: not wanted).
inline double bigram_nll(const float* table, const float* bias, uint8_t byte, uint8_t target, double weight,
                         float* table_grad, float* bias_grad) {
  double logits[256], largest = -INFINITY, sum = 0;
  for (int i = 0; i < 256; ++i)
    largest = std::max(largest, logits[i] = static_cast<double>(table[byte * 256 + i] + bias[i]));
  for (int i = 0; i < 256; ++i) sum += std::exp(logits[i] - largest);
  if (table_grad)
    for (int i = 0; i < 256; ++i) {
      const auto grad = static_cast<float>(weight * (std::exp(logits[i] - largest) / sum - (i == target)));
      table_grad[byte * 256 + i] += grad;
      bias_grad[i] += grad;
    }
  return std::log(sum) + largest - logits[target];
}

enum class BigramOutput { loss, gradients, nll };

inline FakeExecutable bigram(int64_t batch, int64_t length, BigramOutput wanted) {
  FakeExecutable model;
  model.input("bytes", DType::u8, {batch, length}).input("targets", DType::u8, {batch, length});
  model.input("table", DType::f32, {256, 256}).input("bias", DType::f32, {256});
  if (wanted == BigramOutput::nll) model.output("nll", DType::f32, {batch, length});
  if (wanted != BigramOutput::nll) model.output("loss", DType::f32, {});
  if (wanted == BigramOutput::gradients)
    model.output("grad.table", DType::f32, {256, 256}).output("grad.bias", DType::f32, {256});
  model.work = [wanted](FakeExecutable& self) {
    const int64_t n = self.size("bytes");
    const bool gradients = wanted == BigramOutput::gradients;
    float* table_grad = gradients ? self.at("grad.table") : nullptr;
    float* bias_grad = gradients ? self.at("grad.bias") : nullptr;
    if (gradients) std::fill_n(table_grad, 65536, 0.0f), std::fill_n(bias_grad, 256, 0.0f);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double nll =
          bigram_nll(self.at("table"), self.at("bias"), self.at<uint8_t>("bytes")[i], self.at<uint8_t>("targets")[i],
                     1.0 / static_cast<double>(n), table_grad, bias_grad);
      if (wanted == BigramOutput::nll) self.at("nll")[i] = static_cast<float>(nll);
      sum += nll;
    }
    if (wanted != BigramOutput::nll) *self.at("loss") = static_cast<float>(sum / static_cast<double>(n));
  };
  return model;
}

inline FakeExecutable sum_of_squares(int64_t p) {
  FakeExecutable norm;
  norm.input("grad", DType::f32, {p}).output("sum", DType::f32, {});
  norm.work = [p](FakeExecutable& self) {
    double sum = 0;
    const float* grad = self.at("grad");
    for (int64_t i = 0; i < p; ++i) sum += static_cast<double>(grad[i]) * static_cast<double>(grad[i]);
    *self.at("sum") = static_cast<float>(sum);
  };
  return norm;
}

inline FakeExecutable vector_add(int64_t p) {
  FakeExecutable add;
  add.input("x", DType::f32, {p}).input("y", DType::f32, {p}).output("sum", DType::f32, {p});
  add.work = [p](FakeExecutable& self) {
    const float *x = self.at("x"), *y = self.at("y");
    float* sum = self.at("sum");
    for (int64_t i = 0; i < p; ++i) sum[i] = x[i] + y[i];
  };
  return add;
}

inline FakeExecutable adamw(int64_t p) {
  FakeExecutable update;
  for (const char* name : {"param", "grad", "m", "v"}) update.input(name, DType::f32, {p});
  for (const char* name : {"lr", "weight_decay", "beta1", "beta2", "eps", "step", "scale"})
    update.input(name, DType::f32, {});
  for (const char* name : {"param.next", "m.next", "v.next"}) update.output(name, DType::f32, {p});
  update.work = [p](FakeExecutable& self) {
    const auto scalar = [&](const char* name) { return *self.at(name); };
    const float lr = scalar("lr"), beta1 = scalar("beta1"), beta2 = scalar("beta2"), eps = scalar("eps");
    const float decay = scalar("weight_decay"), scale = scalar("scale");
    const float correct1 = 1 - std::pow(beta1, scalar("step")), correct2 = 1 - std::pow(beta2, scalar("step"));
    const float *param = self.at("param"), *grads = self.at("grad"), *m = self.at("m"), *v = self.at("v");
    float *param_next = self.at("param.next"), *m_next = self.at("m.next"), *v_next = self.at("v.next");
    for (int64_t i = 0; i < p; ++i) {
      const float grad = grads[i] * scale, old = param[i];
      m_next[i] = beta1 * m[i] + (1 - beta1) * grad;
      v_next[i] = beta2 * v[i] + (1 - beta2) * grad * grad;
      param_next[i] = old - lr * (m_next[i] / correct1 / (std::sqrt(v_next[i] / correct2) + eps) + decay * old);
    }
  };
  return update;
}

constexpr int64_t kFakeStates = 5;

/// One step of the recurrent model of one row: h' = 0.8 h + embedding(byte); logits are a fixed function of h'.
inline void recurrent_step(uint8_t byte, const float* weight, const float* state, float* next, float* logits) {
  for (int64_t k = 0; k < kFakeStates; ++k)
    next[k] = 0.8f * state[k] + std::sin(static_cast<float>((byte + 1) * (k + 2)));
  for (int64_t v = 0; v < 256; ++v) {
    logits[v] = 0;
    for (int64_t k = 0; k < kFakeStates; ++k)
      logits[v] += weight[k] * std::cos(static_cast<float>(v * (k + 1))) * next[k];
  }
}

/// "bytes" u8[B] (length 0) or u8[B, length], parameter "weight" f32[5], "state.h" f32[B, 5] -> "logits",
/// "state.h.next". With last_only, the parallel form gives the last logits only.
inline FakeExecutable recurrent(int64_t batch, int64_t length, bool last_only = false) {
  FakeExecutable model;
  const bool step = length == 0;
  model.input("bytes", DType::u8, step ? std::vector<int64_t>{batch} : std::vector<int64_t>{batch, length});
  model.input("weight", DType::f32, {kFakeStates}).input("state.h", DType::f32, {batch, kFakeStates});
  model.output("state.h.next", DType::f32, {batch, kFakeStates});
  const bool all = !step && !last_only;
  model.output("logits", DType::f32, all ? std::vector<int64_t>{batch, length, 256} : std::vector<int64_t>{batch, 256});
  model.work = [=](FakeExecutable& self) {
    const int64_t steps = step ? 1 : length;
    for (int64_t b = 0; b < batch; ++b) {
      float* next = self.at("state.h.next") + b * kFakeStates;
      for (int64_t t = 0; t < steps; ++t) {
        const float* state = t ? next : self.at("state.h") + b * kFakeStates;
        float* logits = self.at("logits") + (all ? b * length + t : b) * 256;
        recurrent_step(self.at<uint8_t>("bytes")[b * steps + t], self.at("weight"), state, next, logits);
      }
    }
  };
  return model;
}

}  // namespace mambac
