#include "runtime/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <utility>

namespace mambac {

/// A thread's own: the lock is taken by others only while they look.
class TraceRecorder::Track {
 public:
  Track(std::string name, int64_t most) : name_(std::move(name)), half_(std::max<int64_t>(1, most / 2)) {}

  void begin(const trace::Label& label, int64_t number, int64_t now) {
    const std::lock_guard lock(mutex_);
    open_.push_back({&label, number, now, now, static_cast<int>(open_.size()), true});
  }

  void end(int64_t now) {
    const std::lock_guard lock(mutex_);
    if (open_.empty()) return;
    TraceEvent event = open_.back();
    open_.pop_back();
    event.end = now;
    event.open = false;
    if (open_.empty() || group_.size() < half_)
      group_.events.push_back(event);
    else
      group_.missing.add(1, event.begin, event.end);
    if (open_.empty()) keep(std::exchange(group_, {}));
  }

  /// The time is that at which nothing else is added: what is open ends behind all that was.
  TraceTrack look(const TraceRecorder& recorder) const {
    const std::lock_guard lock(mutex_);
    const int64_t now = recorder.now();
    TraceTrack track{name_, first_, missing_.count};
    for (const Group& group : last_) group.append_to(track);
    group_.append_to(track);
    if (missing_.count > 0) track.events.push_back(missing_.event(0));
    for (TraceEvent event : open_) {
      event.end = now;
      track.events.push_back(event);
    }
    std::ranges::stable_sort(track.events, {}, [](const TraceEvent& e) { return std::pair(e.begin, e.depth); });
    return track;
  }

  std::atomic<bool> free{false};  // its thread has ended, another one may have it

 private:
  /// Spans that are not kept, and when the first of them began and the last one ended.
  struct Missing {
    int64_t count = 0, begin = std::numeric_limits<int64_t>::max(), end = 0;

    void add(int64_t more, int64_t from, int64_t to) {
      count += more;
      begin = std::min(begin, from);
      end = std::max(end, to);
    }
    TraceEvent event(int depth) const {
      static const trace::Label& label = trace::interned({"left out", "spans left out:"});
      return {&label, count, begin, end, depth, false};
    }
  };

  /// An outermost span, which is the last one of its events, and what it encloses, in the order of their ends.
  struct Group {
    std::vector<TraceEvent> events;
    Missing missing;

    int64_t size() const { return static_cast<int64_t>(events.size()); }
    void append_to(TraceTrack& track) const {
      track.events.insert(track.events.end(), events.begin(), events.end());
      track.left_out += missing.count;
      // What is missing ended after all else but the outermost span, and so nests with it.
      if (missing.count > 0) track.events.push_back(missing.event(1));
    }
  };

  void keep(Group group) {
    if (last_.empty() && static_cast<int64_t>(first_.size()) + group.size() <= half_) {
      first_.insert(first_.end(), group.events.begin(), group.events.end());
      return;
    }
    last_size_ += group.size();
    last_.push_back(std::move(group));
    for (; last_size_ > half_ && last_.size() > 1; last_.pop_front()) {
      const Group& oldest = last_.front();
      last_size_ -= oldest.size();
      missing_.add(oldest.size() + oldest.missing.count, oldest.events.back().begin, oldest.events.back().end);
    }
  }

  mutable std::mutex mutex_;
  const std::string name_;
  const int64_t half_;
  std::vector<TraceEvent> open_;   // from the outermost on
  Group group_;                    // of the outermost span that is open
  std::vector<TraceEvent> first_;  // of the first groups
  std::deque<Group> last_;
  int64_t last_size_ = 0;
  Missing missing_;  // between first_ and last_
};

namespace {

std::atomic<uint64_t> recorders{0};

}  // namespace

TraceRecorder::TraceRecorder(int64_t most) : most_(most), id_(++recorders), start_(std::chrono::steady_clock::now()) {
  own_track();
  trace::add_listener(*this);
}

TraceRecorder::~TraceRecorder() {
  trace::remove_listener(*this);
}

int64_t TraceRecorder::now() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start_).count();
}

TraceRecorder::Track& TraceRecorder::own_track() {
  struct Seat {
    std::shared_ptr<Track> track;
    uint64_t recorder = 0;
    ~Seat() {
      if (track) track->free = true;
    }
  };
  thread_local Seat seat;
  if (seat.recorder == id_) return *seat.track;
  const std::lock_guard lock(mutex_);
  auto found = std::ranges::find_if(tracks_, [](const auto& track) { return track->free.load(); });
  if (found == tracks_.end()) {
    const std::string name = tracks_.empty() ? "main" : fmt::format("worker {}", tracks_.size());
    tracks_.push_back(std::make_shared<Track>(name, most_));
    found = tracks_.end() - 1;
  }
  (*found)->free = false;
  seat.track = *found;
  seat.recorder = id_;
  return *seat.track;
}

void TraceRecorder::begin(const trace::Label& label, int64_t number) {
  own_track().begin(label, number, now());
}

void TraceRecorder::end() {
  const int64_t at = now();  // before a lock is waited for
  own_track().end(at);
}

std::vector<TraceTrack> TraceRecorder::tracks() const {
  const std::lock_guard lock(mutex_);
  std::vector<TraceTrack> all;
  for (const auto& track : tracks_) all.push_back(track->look(*this));
  return all;
}

}  // namespace mambac
