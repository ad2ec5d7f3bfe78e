// Records of tuning: their text, what is said of damage, how they are merged, and which one a kernel gets.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "codegen/lower.h"
#include "ir/builder.h"
#include "ir/error.h"
#include "passes/fuse.h"
#include "runtime/tuning/tuned_schedules.h"
#include "tests/temporary_folder.h"
#include "tests/tuning_support.h"
#include "tests/variable.h"

namespace mambac::test {
namespace {

const std::string kText = R"({"format": 1, "device": "Test GPU 1", "records": [
  {"name": "rows", "kernel": "00112233445566778899aabbccddeeff", "sizes": {}, "threads": 16, "schedule": {}, "heuristic": {"rows_per_task": 7}, "seconds": 1, "spread": 0, "heuristic_seconds": 1.5, "predicted_seconds": 0.1, "error": 0, "architecture": "znver4", "toolkit": "LLVM \"19\"", "driver": "", "date": "2024-02-29"},
  {"name": "scan_fwd", "kernel": "00112233445566778899aabbccddeeff", "sizes": {"B": 8, "L": 8192}, "threads": 0, "schedule": {"width": 64, "tile": 64, "staged": 1}, "heuristic": {"width": 32}, "seconds": 1.25e-05, "spread": 0.004, "heuristic_seconds": 2e-05, "predicted_seconds": 0, "error": 0.125, "architecture": "sm_90", "toolkit": "NVRTC 13.0", "driver": "13.0", "date": "2024-11-27"}
]}
)";

/// What kText is the text of, in another order.
TuningFile file_of_text() {
  TuningFile file = sample_file({8192});
  TuningRecord rows = file.records[0];
  rows.name = "rows";
  rows.sizes = {};
  rows.threads = 16;
  rows.schedule = rows.heuristic = Schedule();
  rows.heuristic.rows_per_task = 7;
  rows.seconds = 1, rows.spread = 0, rows.heuristic_seconds = 1.5, rows.predicted_seconds = 0.1, rows.error = 0;
  rows.architecture = "znver4", rows.toolkit = "LLVM \"19\"", rows.driver = "", rows.date = "2024-02-29";
  file.records.push_back(rows);
  return file;
}

TEST(TuningText, IsOneRecordALine) {
  EXPECT_EQ(tuning_text(file_of_text()), kText);
  const TuningFile read = parse_tuning(kText, "t.json");
  EXPECT_EQ(read.device, kGpu);
  ASSERT_EQ(read.records.size(), 2u);
  EXPECT_EQ(read.records[0], file_of_text().records[1]);
  EXPECT_EQ(read.records[1], file_of_text().records[0]);
  EXPECT_EQ(tuning_text({"x", {}}), "{\"format\": 1, \"device\": \"x\", \"records\": [\n]}\n");
  EXPECT_TRUE(parse_tuning(tuning_text({"x", {}}), "t.json").records.empty());
}

TEST(TuningText, TimesWithinProgramsAreThereWhereTheyWereMeasured) {
  TuningFile file = sample_file({64});
  file.records[0].in_program = 0.75;
  const std::string text = tuning_text(file);
  EXPECT_NE(text.find(R"(, "in_program": 0.75, "error")"), std::string::npos) << text;
  EXPECT_EQ(parse_tuning(text, "t.json").records[0].in_program, 0.75);
}

TEST(TuningText, ThatASearchIsUnfinishedIsThereWhereItIs) {
  TuningFile file = sample_file({64});
  EXPECT_EQ(tuning_text(file).find("unfinished"), std::string::npos);
  file.records[0].unfinished = 1;
  const std::string text = tuning_text(file);
  EXPECT_NE(text.find(R"(, "unfinished": 1, "error")"), std::string::npos) << text;
  EXPECT_EQ(parse_tuning(text, "t.json").records[0].unfinished, 1);
}

TEST(TuningText, NumbersAndAxesComeBack) {
  TuningFile file{"\"quoted\" \\ Gerät", {}};
  const double numbers[] = {1.0 / 3, 5e-324, std::numeric_limits<double>::max(), 123456789.125, 1e-5};
  for (int i = 0; i < 5; ++i) {
    TuningRecord record = sample_record(std::numeric_limits<int64_t>::max() - i);
    record.seconds = numbers[i];
    record.error = numbers[4 - i];
    int value = 3 + i;
    for (const std::string& axis : Schedule::axes()) record.schedule.set(axis, value++);
    record.heuristic.rows_per_task = std::numeric_limits<int>::max();
    file.records.push_back(record);
  }
  TuningFile again = parse_tuning(tuning_text(file), "t.json");
  std::reverse(again.records.begin(), again.records.end());  // lengths in their order
  EXPECT_EQ(again.device, file.device);
  EXPECT_EQ(again.records, file.records);
}

TEST(TuningText, IsNotMadeOfWhatCannotBeRead) {
  const auto refuses = [](const std::function<void(TuningRecord&)>& spoil) {
    TuningFile file = sample_file({64});
    spoil(file.records[0]);
    EXPECT_TRUE(says(message_of<InternalError>([&] { tuning_text(file); }), "record"));
  };
  refuses([](TuningRecord& record) { record.seconds = std::numeric_limits<double>::quiet_NaN(); });
  refuses([](TuningRecord& record) { record.error = std::numeric_limits<double>::infinity(); });
  refuses([](TuningRecord& record) { record.spread = -0.1; });
  refuses([](TuningRecord& record) { record.kernel = "k5"; });
  refuses([](TuningRecord& record) { record.date = ""; });
  refuses([](TuningRecord& record) { record.sizes["B"] = 0; });
}

struct Damage {
  std::string from, to;  // in kText, the first time
  std::string said, also;
};

const Damage kDamage[] = {
    {"{\"format\"", "[\"format\"", "is damaged: parse error at line 1", "':'"},
    {"]}\n", "]}}\n", "parse error at line 4", "'t.json'"},
    {"\"rows\"", "\"ro\xff\"", "parse error at line 2", "UTF-8"},
    {kText, "", "parse error at line 1", "end of input"},
    {kText, "[]", "found []", "expected an object"},
    {kText, "{}", "found no 'format'", "expected format, device, records"},
    {"\"format\": 1", "\"format\": 2", "found format 2", "expected format 1"},
    {"\"format\": 1", "\"format\": \"1\"", "found format \"1\"", "expected format 1"},
    {"\"Test GPU 1\"", "\"\"", "'device': found \"\"", "expected the name of a device"},
    {"\"Test GPU 1\"", "1", "'device': found 1", "expected a text"},
    {"\"device\"", "\"devise\"", "found no 'device'", ""},
    {"\"records\": [\n", "\"records\": {}, \"x\": [\n", "found the key 'x'", "expected format, device, records"},
    {"\"threads\": 16, ", "", "t.json': record 1 (rows): found no 'threads'", "expected name, kernel"},
    {"\"error\": 0,", "\"error\": 0, \"best\": 1,", "found the key 'best'", "expected name, kernel"},
    {"\"driver\": \"13.0\"", "\"driver\": 13.0", "record 2 (scan_fwd): 'driver': found 13.0", "expected a text"},
    {"\"name\": \"rows\"", "\"name\": null", "record 1: 'name': found null", "expected a text"},
    {"00112233445566778899aabbccddeeff", "0011", "'kernel': found \"0011\"", "32 hexadecimal digits"},
    {"00112233445566778899aabbccddeeff", "0011223344556677889 aabbccddeeff", "'kernel': found", "hexadecimal"},
    {"\"B\": 8", "\"B\": 0", "'sizes': 'B': found 0", "from 1 to"},
    {"\"B\": 8", "\"B\": 8.5", "'sizes': 'B': found 8.5", "expected a whole number"},
    {"\"B\": 8", "\"B\": 9223372036854775808", "found 9223372036854775808", "9223372036854775807"},
    {"\"sizes\": {}", "\"sizes\": []", "'sizes': found []", "expected an object"},
    {"\"B\": 8", "\"L\": 8", "found the key \"L\" twice", "expected it once"},
    {"\"threads\": 16", "\"threads\": -1", "'threads': found -1", "from 0 to 2147483647"},
    {"\"threads\": 16", "\"threads\": true", "'threads': found true", "expected a whole number"},
    {"\"tile\": 64", "\"tiel\": 64", "record 2 (scan_fwd): 'schedule': found the axis 'tiel'", "width, tile"},
    {"\"tile\": 64", "\"tile\": 2147483648", "'schedule': 'tile': found 2147483648", "to 2147483647"},
    {"\"tile\": 64", "\"tile\": 64.0", "'tile': found 64.0", "expected a whole number"},
    {"\"tile\": 64", "\"tile\": -64", "'tile': found -64", "from 0"},
    {"\"tile\": 64", "\"staged\": 1", "found the key \"staged\" twice", ""},
    {"\"staged\": 1", "\"staged\": 2", "'staged': found 2", "from 0 to 1"},
    {"\"width\": 32", "\"width\": \"32\"", "'heuristic': 'width': found \"32\"", "expected a whole number"},
    {"\"heuristic\": {\"width\": 32}", "\"heuristic\": 3", "'heuristic': found 3", "expected an object of axes"},
    {"\"seconds\": 1,", "\"seconds\": -1,", "'seconds': found -1", "0 or more"},
    {"\"seconds\": 1,", "\"seconds\": nan,", "parse error", ""},
    {"\"seconds\": 1,", "\"seconds\": 1e999,", "is damaged", "1e999"},
    {"\"seconds\": 1,", "\"seconds\": null,", "'seconds': found null", "expected a number"},
    {"2024-02-29", "2023-02-29", "'date': found \"2023-02-29\"", "expected a date"},
    {"2024-02-29", "2024-2-29", "'date'", "expected a date"},
    {"2024-02-29", "2024-02-2x", "'date'", "expected a date"},
    {"2024-02-29", "2024-02-29T24:00:00Z", "'date'", "expected a date"},
    {"2024-02-29", "2024-02-29T16:05:09", "'date'", "expected a date"},
    {"2024-02-29", "2024-02-29 16:05:09Z", "'date'", "expected a date"},
    {"\"error\": 0,", "\"error\": 0, \"unfinished\": 2,", "'unfinished': found 2", "expected 0 or 1"},
    {"znver4", "\\u001b[31mznver4", "'architecture': found \"\\u001b[31mznver4\"", "without control characters"},
    {"\"name\": \"rows\"", "\"name\": \"ro\\u009bws\"", "record 1 (ro\\u009bws): 'name'", "without control characters"},
    {"\"B\": 8", "\"\\u0007\": 8", "'sizes': found \"\\u0007\"", "without control characters"},
    {"\"error\": 0,", "\"error\": 0, \"\\u001b\": 1,", "found the key '\\u001b'", "expected name"},
    {kText, std::string(200000, '['), "is damaged", "more than 32 deep"},
    {"\"sizes\": {}", "\"sizes\": " + std::string(200000, '['), "is damaged", "more than 32 deep"},
    {"\"sizes\": {}, \"threads\": 16", "\"sizes\": {\"L\": 8192, \"B\": 8}, \"threads\": 0",
     "record 2 (scan_fwd): found the kernel, sizes and threads of record 1 again", "expected one record"},
};

TEST(TuningText, DamageIsNamed) {
  for (const Damage& damage : kDamage) {
    std::string text = kText;
    const size_t at = text.find(damage.from);
    ASSERT_NE(at, std::string::npos) << damage.from;
    text.replace(at, damage.from.size(), damage.to);
    const std::string message = message_of<InputError>([&] { parse_tuning(text, "t.json"); });
    EXPECT_TRUE(message.starts_with("'t.json'")) << message;
    EXPECT_TRUE(says(message, damage.said, damage.also)) << damage.to << "\n" << message;
  }
}

TEST(TuningText, EveryPartOfItIsRefused) {
  for (size_t bytes = 0; bytes + 1 < kText.size(); ++bytes)
    EXPECT_THROW(parse_tuning(kText.substr(0, bytes), "t.json"), InputError) << bytes;
}

TEST(TuningText, ChangedBytesAreRefusedOrRead) {
  size_t refused = 0;
  for (size_t i = 0; i < kText.size(); ++i)
    for (const int bit : {1, 16, 64, 128}) {
      std::string text = kText;
      text[i] = static_cast<char>(text[i] ^ bit);
      try {
        const TuningFile file = parse_tuning(text, "t.json");
        EXPECT_EQ(parse_tuning(tuning_text(file), "t.json").records.size(), file.records.size());
      } catch (const InputError&) {
        ++refused;
      }
    }
  EXPECT_GT(refused, kText.size());
}

TEST(TuningMerge, TheLaterOneStays) {
  TuningFile into{kGpu,
                  {sample_record(64, "2026-01-01"), sample_record(128, "2026-01-01"), sample_record(256, "2026-01-01"),
                   sample_record(512, "2026-01-01")}};
  TuningFile from{kGpu,
                  {sample_record(64, "2025-12-31"), sample_record(128, "2026-01-01"), sample_record(256, "2026-01-02"),
                   sample_record(512, "2026-01-01"), sample_record(32)}};
  for (size_t i = 0; i < 3; ++i) from.records[i].seconds = 9;
  const MergeCounts counts = merge(into, from);
  EXPECT_EQ(counts.older, 1);
  EXPECT_EQ(counts.replaced, 2);
  EXPECT_EQ(counts.same, 1);
  EXPECT_EQ(counts.added, 1);
  ASSERT_EQ(into.records.size(), 5u);
  EXPECT_EQ(record_at(into, 64).date, "2026-01-01");
  EXPECT_NE(record_at(into, 64).seconds, 9);
  EXPECT_EQ(record_at(into, 128).seconds, 9);
  EXPECT_EQ(record_at(into, 256).date, "2026-01-02");
  EXPECT_EQ(record_at(into, 32), sample_record(32));
}

TEST(TuningMerge, KernelSizesAndThreadsMakeAWork) {
  TuningFile into{kGpu, {sample_record(64)}};
  TuningFile from{kGpu, {sample_record(64), sample_record(64), sample_record(64), sample_record(64)}};
  from.records[0].kernel[0] = 'f';
  from.records[1].threads = 4;
  from.records[2].sizes["B"] = 9;
  from.records[3].name = "renamed";
  const MergeCounts counts = merge(into, from);
  EXPECT_EQ(counts.added, 3);
  EXPECT_EQ(counts.older, 1);
  EXPECT_EQ(into.records[0].name, "scan_fwd") << "of equal dates the greater text";
}

TEST(TuningMerge, ComesToTheSameInAnyOrder) {
  std::vector<TuningRecord> all{sample_record(64, "2024-11-27"), sample_record(64, "2024-11-27T09:00:00Z"),
                                sample_record(64, "2024-11-27T16:05:09Z"), sample_record(64, "2024-11-27T16:05:09Z")};
  all[3].seconds = 9;
  std::vector<size_t> order{0, 1, 2, 3};
  do {
    TuningFile into{kGpu, {}};
    for (const size_t i : order) merge(into, {kGpu, {all[i]}});
    ASSERT_EQ(into.records.size(), 1u);
    EXPECT_EQ(into.records[0], all[3]);
  } while (std::ranges::next_permutation(order).found);
}

TEST(TuningMerge, WhatWasMeasuredHereReplacesWhatIsThere) {
  TuningFile into{kGpu, {sample_record(64, "2999-01-01")}};
  const TuningFile here{kGpu, {sample_record(64)}};
  EXPECT_EQ(merge(into, here).older, 1);
  EXPECT_EQ(merge(into, here, MergeRule::from).replaced, 1);
  EXPECT_EQ(into.records, here.records);
  EXPECT_EQ(merge(into, here, MergeRule::from).same, 1);
}

TEST(TuningDate, IsOfUniversalTimeToTheSecond) {
  EXPECT_EQ(time_text(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(time_text(1795709109), "2026-11-26T16:05:09Z");
  TuningFile file{kGpu, {sample_record(64, time_text(1795709109))}};
  EXPECT_EQ(parse_tuning(tuning_text(file), "t.json").records, file.records);
}

TEST(TuningMerge, DevicesDoNotMix) {
  TuningFile into{kGpu, {}};
  EXPECT_THROW(merge(into, {"Test GPU 2", {}}), InternalError);
}

/// A scan along L of [B, L, D], fused: its one kernel's state depends on all steps before.
Graph scan_graph(int64_t channels = 16) {
  Graph graph;
  Builder b(graph);
  const DimId B = graph.add_dim("B", 0), L = graph.add_dim("L", 0), D = graph.add_dim("D", channels);
  const NodeId x = b.input("x", {DType::f32, {B, L, D}}), decay = b.input("decay", {DType::f32, {D}});
  b.hint = "h";
  graph.outputs() = {{"h", b.scan(b.Sigmoid(decay), x, L)}};
  Remarks remarks;
  return fuse(graph, {}, remarks);
}

class NearestRecord : public testing::Test {
 protected:
  const Graph graph = scan_graph();
  const std::string kernel = kernel_key(graph, 0).digest();

  TuningRecord record(int64_t batch, int64_t length, int threads = 0) const {
    TuningRecord record = sample_record(length);
    record.kernel = kernel;
    record.sizes["B"] = batch;
    record.threads = threads;
    return record;
  }
  TunedSchedules schedules(std::vector<TuningRecord> user, std::vector<TuningRecord> shipped = {}, int threads = 0) {
    return TunedSchedules(
        {{RecordSource::shipped, {kGpu, std::move(shipped)}}, {RecordSource::user, {kGpu, std::move(user)}}}, threads);
  }
  /// "8x64 user 1": what is chosen at these sizes, and how far it is; "none".
  std::string chosen(const TunedSchedules& all, const Bindings& sizes, DeviceKind kind = DeviceKind::gpu) const {
    const TunedChoice choice = all.find(graph, 0, kind, sizes);
    if (choice.record == nullptr) return "none";
    return fmt::format("{}x{} {} {}", choice.record->sizes.at("B"), choice.record->sizes.at("L"),
                       choice.source == RecordSource::user ? "user" : "shipped", choice.distance);
  }
};

TEST_F(NearestRecord, IsTheNearestInAllSizes) {
  const TunedSchedules all = schedules({record(1, 64), record(8, 64), record(8, 4096)});
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 64}}), "8x64 user 0");
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 256}}), "8x64 user 2");
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 1024}}), "8x4096 user 2");
  EXPECT_EQ(chosen(all, {{"B", 2}, {"L", 32}}), "1x64 user 2");
  EXPECT_EQ(chosen(all, {{"B", 4}, {"L", 64}, {"M", 3}}), "8x64 user 1");  // the kernel has no M
}

TEST_F(NearestRecord, IsWithinAFactorOf64) {
  const TunedSchedules all = schedules({record(8, 64)});
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 4096}}), "8x64 user 6");
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 1}}), "8x64 user 6");
  EXPECT_EQ(chosen(all, {{"B", 8}, {"L", 4097}}), "none");
  EXPECT_EQ(chosen(all, {{"B", 16}, {"L", 4096}}), "none");
}

TEST_F(NearestRecord, OfEquallyNearOnesIsTheUsersThenTheLarger) {
  const Bindings between = {{"B", 8}, {"L", 128}};
  EXPECT_EQ(chosen(schedules({record(8, 64)}, {record(8, 256)}), between), "8x64 user 1");
  EXPECT_EQ(chosen(schedules({record(8, 512)}, {record(8, 256)}), between), "8x256 shipped 1");
  EXPECT_EQ(chosen(schedules({record(8, 64), record(8, 256)}), between), "8x256 user 1");
  EXPECT_EQ(chosen(schedules({record(8, 256), record(8, 64)}), between), "8x256 user 1");
  // Of equally large ones always the same, in whatever order they come.
  EXPECT_EQ(chosen(schedules({record(16, 64), record(4, 256)}), between), "16x64 user 2");
  EXPECT_EQ(chosen(schedules({record(4, 256), record(16, 64)}), between), "16x64 user 2");
  // 3 and 5 times as small and as large, whose logarithms differ in the last digit.
  EXPECT_TRUE(chosen(schedules({record(1, 2), record(9, 50)}), {{"B", 3}, {"L", 10}}).starts_with("9x50 user"));
}

TEST_F(NearestRecord, ThreadsAreASize) {
  const TunedSchedules all = schedules({record(8, 64, 16), record(8, 256, 4)}, {}, 4);
  const Bindings sizes = {{"B", 8}, {"L", 64}};
  EXPECT_EQ(chosen(all, sizes), "8x256 user 2");
  EXPECT_EQ(chosen(schedules({record(8, 64, 16)}, {}, 4), sizes), "8x64 user 2");
  EXPECT_EQ(chosen(schedules({record(8, 64, 16)}, {}, 0), sizes), "none");
  EXPECT_EQ(chosen(schedules({record(8, 64, 0)}, {}, 4), sizes), "none");
}

TEST_F(NearestRecord, SizesThatAreNotKnownDoNotCount) {
  const TunedSchedules all = schedules({record(1, 64), record(8, 32)});
  EXPECT_EQ(chosen(all, {{"B", 1}}), "1x64 user 0");
  EXPECT_EQ(chosen(all, {}), "8x32 user 0");
  TuningRecord without = record(1, 64);
  without.sizes.erase("L");
  EXPECT_EQ(schedules({without}).find(graph, 0, DeviceKind::gpu, {{"B", 1}, {"L", 64}}).record, nullptr);
}

TEST_F(NearestRecord, IllegalOnesArePassedOver) {
  TuningRecord illegal = record(8, 64);
  illegal.schedule.steps_per_task = illegal.schedule.tile;  // not for a scan
  ASSERT_TRUE(why_illegal(illegal.schedule, DeviceKind::gpu).empty());
  ASSERT_FALSE(why_illegal(graph, 0, illegal.schedule, DeviceKind::gpu).empty());
  const Bindings sizes = {{"B", 8}, {"L", 64}};
  EXPECT_EQ(chosen(schedules({illegal, record(8, 256)}), sizes), "8x256 user 2");
  EXPECT_EQ(chosen(schedules({illegal}), sizes), "none");
  TuningRecord of_a_cpu = record(8, 256);
  of_a_cpu.schedule.width = 16;
  EXPECT_EQ(chosen(schedules({record(8, 64), of_a_cpu}), sizes, DeviceKind::cpu), "8x256 user 2");
}

TEST_F(NearestRecord, OfAnAlgorithmIsForItsOwnSizesAndLibrary) {
  Graph product;
  Builder b(product);
  const DimId B = product.add_dim("B", 0), D = product.add_dim("D", 64), E = product.add_dim("E", 48);
  product.outputs() = {{"y", b.dot(b.input("x", {DType::f32, {B, D}}), b.input("w", {DType::f32, {E, D}}), {D})}};
  Remarks remarks;
  product = fuse(product, {}, remarks);
  TuningRecord of_product = sample_record(64);
  of_product.kernel = kernel_key(product, 0).digest();
  of_product.sizes = {{"B", 8}};
  of_product.toolkit = "oneDNN 2.6.3";
  const auto serves = [&](int algorithm, int64_t batch, const std::string& library) {
    of_product.schedule = {.width = 32, .algorithm = algorithm};
    const TunedSchedules all({{RecordSource::user, {kGpu, {of_product}}}}, 0, library);
    return all.find(product, 0, DeviceKind::gpu, {{"B", batch}}).record != nullptr;
  };
  EXPECT_TRUE(serves(0, 16, "oneDNN 3.2.0"));
  EXPECT_TRUE(serves(2, 8, "oneDNN 2.6.3"));
  EXPECT_FALSE(serves(2, 16, "oneDNN 2.6.3"));
  EXPECT_FALSE(serves(2, 8, "oneDNN 3.2.0"));
}

TEST_F(NearestRecord, IsOfTheSameKernel) {
  const TunedSchedules all = schedules({record(8, 64)});
  EXPECT_EQ(all.find(scan_graph(17), 0, DeviceKind::gpu, {}).record, nullptr);
  EXPECT_FALSE(all.empty());
  EXPECT_TRUE(TunedSchedules({}, 0).empty());
  EXPECT_EQ(chosen(TunedSchedules({}, 0), {}), "none");
}

TEST_F(NearestRecord, WithoutOneTheScheduleIsTheOther) {
  const TuningRecord tuned = record(8, 64);
  Schedule other;
  other.tile = 16;
  ASSERT_NE(other, tuned.schedule);
  const TunedSchedules all = schedules({tuned});
  const auto scheduler = [&](int64_t length) {
    return all.scheduler([&](const Graph&, int) { return other; }, DeviceKind::gpu, {{"B", 8}, {"L", length}});
  };
  EXPECT_EQ(scheduler(64)(graph, 0), tuned.schedule);
  EXPECT_EQ(scheduler(1 << 20)(graph, 0), other);
}

}  // namespace
}  // namespace mambac::test
