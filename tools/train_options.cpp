#include "tools/train_options.h"

#include <fmt/format.h>

#include <charconv>
#include <functional>

#include "frontend/suggest.h"
#include "ir/error.h"
#include "ir/print.h"
#include "tools/compile.h"

namespace mambac::tools {
namespace {

struct Entry {
  TrainOption option;
  std::function<void(TrainOptions&, const std::string&)> set;
  std::function<std::string(const TrainOptions&)> get;
};

template <typename Number>
Number number_from(std::string_view name, const std::string& text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && last == end) return value;
  throw InputError(fmt::format("training option {}: found '{}', expected {}", name, text,
                               std::is_integral_v<Number> ? "an integer" : "a number"));
}

template <typename Place>
Entry entry(std::string_view name, std::string_view help, Place place) {
  using Number = std::remove_cvref_t<decltype(place(std::declval<TrainOptions&>()))>;
  return {{name, help},
          [=](TrainOptions& options, const std::string& text) { place(options) = number_from<Number>(name, text); },
          [=](const TrainOptions& options) -> std::string {
            const Number value = place(options);
            if constexpr (std::is_integral_v<Number>) return fmt::format("{}", value);
            else return number_text(value);
          }};
}

/// Steps and minutes: one of the two.
template <typename Place, typename Other>
Entry length(std::string_view name, std::string_view help, Place place, Other other) {
  Entry made = entry(name, help, place);
  auto set = made.set;
  made.set = [=](TrainOptions& options, const std::string& text) {
    set(options, text);
    other(options) = 0;
  };
  auto get = made.get;
  made.get = [=](const TrainOptions& options) { return place(options) > 0 ? get(options) : std::string(); };
  return made;
}

std::optional<int> recompute_named(const std::string& text) {
  if (text == "auto") return std::nullopt;
  const int parts = number_from<int>("recompute", text);
  if (parts < 0) throw InputError(fmt::format("training option recompute: found {}, expected 0 or more, or auto", text));
  return parts;
}

// A place in the options, and the reference to it.
#define PLACE(member) [](auto& o) -> auto& { return o.member; }

const std::vector<Entry>& entries() {
  static const std::vector<Entry> table = {
      length("steps", "optimiser steps; the learning rate's schedule fits itself to them", PLACE(settings.steps),
             PLACE(settings.minutes)),
      length("minutes", "minutes of training, instead of steps", PLACE(settings.minutes), PLACE(settings.steps)),
      entry("batch", "windows in a batch", PLACE(batch)),
      entry("context", "bytes in a window", PLACE(context)),
      {{"dtype", "how values between large contractions are stored: f32 or bf16"},
       [](TrainOptions& o, const std::string& text) { o.storage = storage_named(text); },
       [](const TrainOptions& o) { return std::string(name_of(o.storage)); }},
      {{"recompute", "layers that the backward pass computes again, which takes less memory and more time; auto: as few "
                     "as fit"},
       [](TrainOptions& o, const std::string& text) { o.recompute = recompute_named(text); },
       [](const TrainOptions& o) { return o.recompute ? fmt::format("{}", *o.recompute) : std::string("auto"); }},
      entry("learning_rate", "the peak of the learning rate", PLACE(settings.learning_rate)),
      entry("warmup", "part of the run over which the rate rises", PLACE(settings.warmup)),
      entry("final_fraction", "part of the peak at which the cosine ends", PLACE(settings.final_fraction)),
      entry("beta1", "AdamW's decay of the first moment", PLACE(settings.beta1)),
      entry("beta2", "AdamW's decay of the second moment", PLACE(settings.beta2)),
      entry("epsilon", "AdamW's epsilon", PLACE(settings.epsilon)),
      entry("weight_decay", "AdamW's weight decay", PLACE(settings.weight_decay)),
      entry("clip", "most that the norm of the gradient may be; 0: no limit", PLACE(settings.clip)),
      entry("accumulate", "batches whose gradients make one step", PLACE(settings.accumulate)),
      entry("seed", "of initial values and of the order of the data", PLACE(settings.seed)),
      entry("evaluations", "how often held-out data is measured and a checkpoint written", PLACE(settings.evaluations)),
      entry("valid_windows", "windows of held-out data measured each time", PLACE(settings.valid_windows)),
      entry("checkpoint_minutes", "most minutes between two checkpoints", PLACE(settings.checkpoint_minutes)),
  };
  return table;
}

#undef PLACE

const Entry& find(std::string_view name) {
  std::vector<std::string> known;
  for (const Entry& candidate : entries()) {
    if (candidate.option.name == name) return candidate;
    known.emplace_back(candidate.option.name);
  }
  throw InputError(fmt::format("training has no option '{}'{}", name, did_you_mean(name, known)));
}

}  // namespace

const std::vector<TrainOption>& train_options() {
  static const std::vector<TrainOption> options = [] {
    std::vector<TrainOption> list;
    for (const Entry& e : entries()) list.push_back(e.option);
    return list;
  }();
  return options;
}

void set_option(TrainOptions& options, std::string_view name, const std::string& text) {
  find(name).set(options, text);
}

std::string option_text(const TrainOptions& options, std::string_view name) { return find(name).get(options); }

std::map<std::string, std::string> option_texts(const TrainOptions& options) {
  std::map<std::string, std::string> texts;
  for (const Entry& e : entries())
    if (std::string text = e.get(options); !text.empty()) texts[std::string(e.option.name)] = text;
  return texts;
}

}  // namespace mambac::tools
