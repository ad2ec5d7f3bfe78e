// Spans, what is recorded of them, and the file that it becomes.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "ir/error.h"
#include "runtime/trace_file.h"
#include "tests/temporary_folder.h"

namespace mambac::test {
namespace {

using trace::Span;
using Json = nlohmann::json;

std::vector<std::string> names(const TraceTrack& track) {
  std::vector<std::string> names;
  for (const TraceEvent& event : track.events)
    names.push_back(std::string(static_cast<size_t>(event.depth), ' ') + trace::span_name(*event.label, event.number));
  return names;
}

/// A span with two within it: three events.
void step(int64_t number) {
  const Span whole("step", "step", number);
  const Span first("part", "a");
  const Span second("part", "b");
}

TEST(Trace, EqualLabelsAreOneObject) {
  const trace::Label label{"kernel", "scan", {{"bytes", 12}, {"lines", "x.mb:3"}}};
  EXPECT_EQ(&trace::interned(label), &trace::interned(trace::Label(label)));
  EXPECT_NE(&trace::interned(label), &trace::interned({"kernel", "scan", {{"bytes", 13}, {"lines", "x.mb:3"}}}));
}

TEST(Trace, NothingIsKeptWhileNobodyListens) {
  EXPECT_FALSE(trace::listening());
  const Span before("step", "before");
  const TraceRecorder recorder(100);
  EXPECT_TRUE(trace::listening());
  EXPECT_TRUE(recorder.tracks().at(0).events.empty());
}

TEST(Trace, SpansNestAndCarryTheirNumbers) {
  const TraceRecorder recorder(100);
  step(1);
  step(2);
  const std::vector<TraceTrack> tracks = recorder.tracks();
  ASSERT_EQ(tracks.size(), 1u);
  EXPECT_EQ(tracks[0].name, "main");
  EXPECT_EQ(names(tracks[0]), (std::vector<std::string>{"step 1", " a", "  b", "step 2", " a", "  b"}));
  const std::vector<TraceEvent>& events = tracks[0].events;
  EXPECT_LE(events[0].begin, events[1].begin);
  EXPECT_LE(events[1].end, events[0].end);
  EXPECT_LE(events[0].end, events[3].begin);
}

TEST(Trace, AnExceptionEndsSpans) {
  const TraceRecorder recorder(100);
  try {
    const Span span("step", "fails");
    throw InputError("no");
  } catch (const InputError&) {
  }
  step(1);
  EXPECT_EQ(names(recorder.tracks()[0]), (std::vector<std::string>{"fails", "step 1", " a", "  b"}));
}

TEST(Trace, ListenersHearOfTheSameSpansFromWhenTheyListen) {
  struct Counter : trace::Listener {
    int begun = 0, ended = 0;
    void begin(const trace::Label&, int64_t) override { ++begun; }
    void end() override { ++ended; }
  } counter, third;
  trace::add_listener(counter);
  auto early = std::make_unique<Span>("step", "early");
  {
    const TraceRecorder recorder(100);
    EXPECT_THROW(trace::add_listener(third), InternalError);
    early.reset();
    step(1);
    EXPECT_EQ(names(recorder.tracks()[0]), (std::vector<std::string>{"step 1", " a", "  b"}));
  }
  EXPECT_TRUE(trace::listening());
  trace::remove_listener(counter);
  EXPECT_FALSE(trace::listening());
  EXPECT_EQ(counter.begun, 4);
  EXPECT_EQ(counter.ended, 4);
}

TEST(Trace, ThreadsHaveTracksThatTheirFollowersTakeOver) {
  const TraceRecorder recorder(100);
  for (int i = 0; i < 3; ++i) std::thread([i] { step(i); }).join();
  {
    std::thread one, other;
    std::atomic<int> begun{0};
    const auto work = [&] {
      const Span span("step", "together");
      for (++begun; begun < 2;) std::this_thread::yield();
    };
    one = std::thread(work);
    other = std::thread(work);
    one.join();
    other.join();
  }
  const std::vector<TraceTrack> tracks = recorder.tracks();
  ASSERT_EQ(tracks.size(), 3u);
  EXPECT_EQ(tracks[1].name, "worker 1");
  EXPECT_EQ(tracks[1].events.size(), 10u);
  EXPECT_EQ(tracks[2].events.size(), 1u);
}

TEST(Trace, OfManyTheFirstAndTheLastWholeOnesAreKept) {
  const TraceRecorder recorder(14);  // two steps before and two after the gap; a half has room for a third of another
  for (int i = 1; i <= 100; ++i) step(i);
  const TraceTrack track = recorder.tracks()[0];
  EXPECT_EQ(names(track),
            (std::vector<std::string>{"step 1", " a", "  b", "step 2", " a", "  b", "spans left out: 288",  //
                                      "step 99", " a", "  b", "step 100", " a", "  b"}));
  EXPECT_EQ(track.left_out, 96 * 3);
  EXPECT_GE(track.events[6].begin, track.events[3].end);
  EXPECT_LE(track.events[6].end, track.events[7].begin);
}

TEST(Trace, ASpanThatIsTooLargeByItselfKeepsItsBeginning) {
  const TraceRecorder recorder(8);
  {
    const Span whole("step", "large");
    for (int i = 0; i < 50; ++i) const Span part("part", "part", i);
  }
  const TraceTrack track = recorder.tracks()[0];
  EXPECT_EQ(names(track), (std::vector<std::string>{"large", " part 0", " part 1", " part 2", " part 3",  //
                                                    " spans left out: 46"}));
  EXPECT_EQ(track.left_out, 46);
  EXPECT_GE(track.events[5].begin, track.events[4].end);
  EXPECT_LE(track.events[5].end, track.events[0].end);
}

TEST(Trace, WhatIsOpenCanBeSeen) {
  const TraceRecorder recorder(100);
  const Span whole("step", "step", 7);
  { const Span part("part", "done"); }
  const Span part("part", "under way");
  const TraceTrack track = recorder.tracks()[0];
  EXPECT_EQ(names(track), (std::vector<std::string>{"step 7", " done", " under way"}));
  EXPECT_TRUE(track.events[0].open);
  EXPECT_FALSE(track.events[1].open);
  EXPECT_EQ(track.events[0].end, track.events[2].end);
}

TEST(Trace, WhatIsOpenNeverEndsBeforeItBegan) {
  const TraceRecorder recorder(1000);
  std::atomic<bool> done{false};
  std::thread busy([&] {
    for (int64_t i = 0; !done; ++i) step(i);
  });
  int64_t backward = 0, outside = 0;
  for (int look = 0; look < 5000; ++look)
    for (const TraceTrack& track : recorder.tracks())
      for (const TraceEvent& event : track.events) {
        backward += event.end < event.begin;
        if (track.events.back().open) outside += event.end > track.events.back().end;
      }
  done = true;
  busy.join();
  EXPECT_EQ(backward, 0);
  EXPECT_EQ(outside, 0);
}

TEST(TraceFile, SaysEverythingInTheFormOfPerfetto) {
  const TemporaryFolder folder;
  const trace::Label kernel{"kernel", "scan \"x\"", {{"kernel", "k5_walk"}, {"bytes", int64_t{1} << 40}}};
  TraceTrack track{"main", {}, 0};
  track.events.push_back({&kernel, trace::kNoNumber, 1'234'567, 2'000'001, 0, false});
  track.events.push_back({&kernel, 3, 1'300'000, 1'300'000, 1, true});
  write_trace(folder / "t.json", "mambac train", {track, {"worker 1", {}, 0}});
  const std::string text = contents(folder / "t.json");
  const Json events = Json::parse(text).at("traceEvents");
  ASSERT_EQ(events.size(), 7u);
  EXPECT_EQ(events[0],
            Json::parse(R"({"ph":"M","pid":1,"tid":1,"name":"process_name","args":{"name":"mambac train"}})"));
  EXPECT_EQ(events[1], Json::parse(R"({"ph":"M","pid":1,"tid":1,"name":"thread_name","args":{"name":"main"}})"));
  EXPECT_EQ(events[3], Json::parse(R"({"ph":"X","pid":1,"tid":1,"ts":1234.567,"dur":765.434,"cat":"kernel",)"
                                   R"("name":"scan \"x\"","args":{"kernel":"k5_walk","bytes":1099511627776}})"));
  EXPECT_NE(text.find("\"ts\":1234.567,\"dur\":765.434"), std::string::npos) << "decimals, not exponents";
  EXPECT_EQ(events[4].at("name"), "scan \"x\" 3");
  EXPECT_EQ(events[4].at("args"),
            Json::parse(R"({"kernel":"k5_walk","bytes":1099511627776,"number":3,"unfinished":true})"));
  EXPECT_EQ(events[5].at("args").at("name"), "worker 1");
  EXPECT_EQ(events[5].at("tid"), 2);
}

TEST(TraceFile, AFileThatCannotBeWrittenStays) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_trace(folder / "no" / "t.json", "x", {}), EnvironmentError);
  EXPECT_FALSE(std::filesystem::exists(folder / "no"));
}

}  // namespace
}  // namespace mambac::test
