// Spans kept in memory with their times, as many as there is room for.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ir/trace.h"

namespace mambac {

struct TraceEvent {
  const trace::Label* label = nullptr;
  int64_t number = trace::kNoNumber;
  int64_t begin = 0, end = 0;  // nanoseconds since the recorder was made
  int depth = 0;               // spans of the thread that enclose it
  bool open = false;           // it had not ended yet, and `end` is when it was looked at
};

/// The spans of one thread, or of several that lived one after the other.
struct TraceTrack {
  std::string name;
  /// By their begin; what encloses comes before what it encloses. Where spans are missing, one of the category "left
  /// out" is in their place, with their number.
  std::vector<TraceEvent> events;
  int64_t left_out = 0;  // spans for which there was no room
};

/// Listens from its making on, and until it goes; there is one at a time. Times have the resolution of the steady
/// clock.
class TraceRecorder : public trace::Listener {
 public:
  /// Keeps about `most` spans of a thread at most: half of them the first, half the last ones, always an outermost span
  /// with all that it encloses; but of one that encloses more than half of `most` by itself, what ended first.
  explicit TraceRecorder(int64_t most);
  ~TraceRecorder() override;
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  void begin(const trace::Label& label, int64_t number) override;
  void end() override;

  /// What was recorded so far, of the thread that made the recorder first. From any thread, at any time.
  std::vector<TraceTrack> tracks() const;

 private:
  class Track;

  int64_t now() const;
  Track& own_track();

  const int64_t most_;
  const uint64_t id_;  // no other recorder has had it
  const std::chrono::steady_clock::time_point start_;
  mutable std::mutex mutex_;  // of the list
  std::vector<std::shared_ptr<Track>> tracks_;
};

}  // namespace mambac
