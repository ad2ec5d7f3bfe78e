#include "ir/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <set>

#include "ir/error.h"

namespace mambac::trace {
namespace {

/// Threads that end with the process may still look here.
std::array<std::atomic<Listener*>, 2> listeners;

void replace(Listener* from, Listener* to) {
  const auto place = std::ranges::find_if(listeners, [&](const auto& listener) { return listener.load() == from; });
  check(place != listeners.end(), "trace: more listeners than two, or none of this kind");
  place->store(to);
  internal::listening = std::ranges::any_of(listeners, [](const auto& listener) { return listener.load() != nullptr; });
}

}  // namespace

const Label& interned(const Label& label) {
  static std::mutex mutex;
  static auto& labels = *new std::set<Label>;  // for threads that end with the process
  const std::lock_guard lock(mutex);
  return *labels.insert(label).first;
}

std::string span_name(const Label& label, int64_t number) {
  return number == kNoNumber ? label.name : fmt::format("{} {}", label.name, number);
}

void add_listener(Listener& listener) {
  replace(nullptr, &listener);
}

void remove_listener(Listener& listener) {
  replace(&listener, nullptr);
}

namespace internal {

void begin(const Label& label, int64_t number) {
  for (const auto& listener : listeners)
    if (Listener* found = listener.load(std::memory_order_acquire)) found->begin(label, number);
}

void begin(std::string_view category, std::string_view name, int64_t number) {
  begin(interned({std::string(category), std::string(name)}), number);
}

void end() {
  for (const auto& listener : listeners)
    if (Listener* found = listener.load(std::memory_order_acquire)) found->end();
}

}  // namespace internal
}  // namespace mambac::trace
