// Spans of time: what mambac does, nested as it is called. They go to whoever listens; while nobody does, a span costs
// one branch.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace mambac::trace {

/// What is known of a span before it begins.
struct Argument {
  std::string name;
  std::variant<int64_t, std::string> value;

  auto operator<=>(const Argument&) const = default;
};

/// What spans are called.
struct Label {
  std::string category;  // "pass", "kernel", "step", ...: docs/command-line.md has them all
  std::string name;
  std::vector<Argument> arguments{};

  auto operator<=>(const Label&) const = default;
};

/// The one object of this content; it lives as long as the process. From any thread.
const Label& interned(const Label& label);

/// Told of every span by the thread that the span is on: of its begin, and of its end in the opposite order. An end
/// whose begin came before the listener did must do no harm.
class Listener {
 public:
  virtual ~Listener() = default;
  /// `number`: which of equal ones it is, such as a step's; kNoNumber: there is only one, or it does not matter.
  virtual void begin(const Label& label, int64_t number) = 0;
  virtual void end() = 0;
};

constexpr int64_t kNoNumber = -1;

/// "train step 12"
std::string span_name(const Label& label, int64_t number);

/// From now on, until it is removed, which must not be while another thread begins or ends a span. InternalError when
/// there are two already.
void add_listener(Listener& listener);
void remove_listener(Listener& listener);

namespace internal {
inline std::atomic<bool> listening{false};
void begin(const Label& label, int64_t number);
void begin(std::string_view category, std::string_view name, int64_t number);
void end();
}  // namespace internal

/// Whether anybody listens: for callers whose labels cost something to make.
inline bool listening() {
  return internal::listening.load(std::memory_order_relaxed);
}

/// From here to the end of the scope, on this thread.
class Span {
 public:
  explicit Span(const Label& label, int64_t number = kNoNumber) : begun_(listening()) {
    if (begun_) [[unlikely]]
      internal::begin(label, number);
  }
  /// With no arguments, for what happens seldom.
  Span(std::string_view category, std::string_view name, int64_t number = kNoNumber) : begun_(listening()) {
    if (begun_) [[unlikely]]
      internal::begin(category, name, number);
  }
  ~Span() {
    if (begun_) [[unlikely]]
      internal::end();
  }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

 private:
  const bool begun_;
};

}  // namespace mambac::trace
