// The safetensors container: round trips, a table of hostile files, and random damage.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "ir/error.h"
#include "runtime/rng.h"
#include "runtime/safetensors.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

std::span<const uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string file_of(const std::string& header, const std::string& data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i));
  return out + header + data;
}

std::string error_of(const std::string& file) {
  return message_of<InputError>([&] { parse_safetensors(as_bytes(file), "x.safetensors"); });
}

TEST(Safetensors, RoundTrip) {
  TemporaryFolder folder;
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> b = {0x3f80, 0xbf80};
  const std::vector<int64_t> c = {-7};
  const std::vector<uint8_t> d = {9, 8, 7};
  write_safetensors(folder / "x",
                    {{"z.a", ElementType::f32, {2, 3}, a.data()},
                     {"b \"quoted\" \xc3\xa9", ElementType::bf16, {2}, b.data()},
                     {"c", ElementType::i64, {}, c.data()},
                     {"d", ElementType::u8, {3}, d.data()},
                     {"empty", ElementType::f16, {0, 4}, nullptr}},
                    {{"format", "pt"}, {"note", "a\nb"}});
  const SafetensorsFile file(folder / "x");
  EXPECT_EQ(file.table().metadata.at("note"), "a\nb");
  ASSERT_EQ(file.table().tensors.size(), 5u);
  std::vector<float> out(6);
  file.read("z.a", std::vector<int64_t>{6}, ElementType::f32, out.data());
  EXPECT_EQ(out, a);
  file.read("b \"quoted\" \xc3\xa9", std::vector<int64_t>{2, 1}, ElementType::f32, out.data());
  EXPECT_EQ(out[1], -1.0f);
  int64_t number = 0;
  file.read_exact("c", {}, ElementType::i64, &number);
  EXPECT_EQ(number, -7);
  std::vector<uint16_t> half(6);
  file.read("z.a", std::vector<int64_t>{2, 3}, ElementType::bf16, half.data());
  EXPECT_EQ(half[0], 0x3f80);
  const std::string text = contents(folder / "x");
  uint64_t header = 0;
  std::memcpy(&header, text.data(), 8);
  EXPECT_EQ((8 + header) % 64, 0u);
}

TEST(Safetensors, SameTensorsInAnyOrderGiveTheSameBytes) {
  TemporaryFolder folder;
  const float value = 1;
  const TensorToWrite a{"a", ElementType::f32, {1}, &value}, b{"b", ElementType::f32, {1}, &value};
  write_safetensors(folder / "1", {a, b}, {});
  write_safetensors(folder / "2", {b, a}, {});
  EXPECT_EQ(contents(folder / "1"), contents(folder / "2"));
}

TEST(Safetensors, ReadingNamesWhatDiffers) {
  TemporaryFolder folder;
  const float values[6] = {};
  write_safetensors(folder / "x", {{"w", ElementType::f32, {2, 3}, values}}, {});
  const SafetensorsFile file(folder / "x");
  float out[6];
  const auto read = [&](const char* name, std::vector<int64_t> shape) {
    return message_of<InputError>([&] { file.read(name, shape, ElementType::f32, out); });
  };
  EXPECT_NE(read("w", {3, 2}).find("has shape [2, 3], expected [3, 2]"), std::string::npos);
  EXPECT_NE(read("v", {3, 2}).find("has no tensor 'v'"), std::string::npos);
  EXPECT_NE(message_of<InputError>([&] {
              file.read_exact("w", std::vector<int64_t>{6}, ElementType::f32, out);
            }).find("is F32 [2, 3], expected F32 [6]"),
            std::string::npos);
}

TEST(Safetensors, HostileFiles) {
  const auto one = [](const std::string& fields, const std::string& data) {
    return file_of("{\"w\":{" + fields + "}}", data);
  };
  const auto two = [](std::string a, std::string a_size, std::string a_span, std::string b, std::string b_span,
                      const std::string& data) {
    const auto entry = [](const std::string& name, const std::string& size, const std::string& span) {
      return "\"" + name + R"(":{"dtype":"F32","shape":[)" + size + R"(],"data_offsets":[)" + span + "]}";
    };
    return file_of("{" + entry(a, a_size, a_span) + "," + entry(b, "1", b_span) + "}", data);
  };
  const std::string four(4, 'x'), eight(8, 'x');
  const std::pair<std::string, const char*> table[] = {
      {"", "has 0 bytes"},
      {"1234567", "has 7 bytes"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8), "header would have 18446744073709551615 bytes"},
      {file_of("{}", "").substr(0, 9), "the file ends after 1"},
      {std::string(8, '\0'), "does not begin with '{'"},
      {file_of("[1]", ""), "does not begin with '{'"},
      {file_of("{", ""), "not valid JSON"},
      {file_of("{}x", ""), "not valid JSON"},
      {file_of("{\"\xff\":1}", ""), "not valid JSON"},
      {file_of("{\"w\":1}", ""), "'w' is a number, expected an object"},
      {file_of("{\"w\":null}", ""), "null"},
      {file_of("{\"w\":[[[[]]]]}", ""), "a list"},
      {file_of("{\"w\":" + std::string(1 << 20, '[') + "}", ""), "a list"},
      {file_of("{\"w\":{\"shape\":" + std::string(1 << 20, '['), ""), "a list"},
      {file_of(std::string(1 << 20, '{'), ""), "not valid JSON"},
      {file_of("{\"w\":{\"x\":{}}}", ""), "unknown field 'x'"},
      {file_of("{\"w\":{\"dtype\":{}}}", ""), "an object"},
      {file_of("{\"w\":{}}", ""), "lacks one of"},
      {one(R"("dtype":"F32","shape":[1])", four), "lacks one of"},
      {one(R"("dtype":"F4","shape":[1],"data_offsets":[0,4])", four), "unknown dtype 'F4'"},
      {one(R"("dtype":4,"shape":[1],"data_offsets":[0,4])", four), "unexpected a number in 'dtype'"},
      {one(R"("dtype":["F32"],"shape":[1],"data_offsets":[0,4])", four), "a list"},
      {one(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])", four), "'dtype' of 'w' stands twice"},
      {one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", four), "a negative number"},
      {one(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", four), "a fraction"},
      {one(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])", four), "a string"},
      {one(R"("dtype":"F32","shape":1,"data_offsets":[0,4])", four), "a number"},
      {one(R"("dtype":"F32","shape":[true],"data_offsets":[0,4])", four), "true or false"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", four), "needs 8 bytes, but its data_offsets span 4"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])", eight), "needs 4 bytes, but its data_offsets span 8"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", four), "data_offsets 4 to 0"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", ""), "the data has 0 bytes"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0])", four), "has 1 data_offsets"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,4])", four), "has 3 data_offsets"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0])", four), "data_offsets"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551620])", four), "over 2^64"},
      {one(R"("dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,4])", four), "too large to count"},
      {one(R"("dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0])", ""), "too large to count"},
      {one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4])", four), "too large to count"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", eight), "hole"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", eight), "the tensors end at byte"},
      {file_of("{}", four), "the tensors end at byte"},
      {two("a", "1", "0,4", "a", "4,8", eight), "the name 'a' stands twice"},
      {two("a", "1", "0,4", "b", "0,4", four), "overlap"},
      {two("a", "2", "0,8", "b", "4,8", eight), "overlap"},
      {file_of(R"({"__metadata__":{"a":1}})", ""), "a number"},
      {file_of(R"({"__metadata__":"a"})", ""), "a string"},
      {file_of(R"({"__metadata__":{"a":{"b":"c"}}})", ""), "an object"},
      {file_of(R"({"__metadata__":{"a":"b","a":"c"}})", ""), "stands twice"},
      {one(
           "\"dtype\":\"F32\",\"shape\":[1" + std::string(200, ' ') +
               [] {
                 std::string ones;
                 for (int i = 0; i < 40; ++i) ones += ",1";
                 return ones;
               }() +
               R"(],"data_offsets":[0,4])",
           four),
       "more than 32 numbers"},
  };
  for (const auto& [file, expected] : table) {
    const std::string message = error_of(file);
    EXPECT_NE(message.find(expected), std::string::npos) << "found: " << message << "\nexpected: " << expected;
    EXPECT_NE(message.find("'x.safetensors'"), std::string::npos) << message;
  }
}

std::string sound_file() {
  return file_of(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                 R"("b.c":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},)"
                 R"("z":{"dtype":"U8","shape":[0],"data_offsets":[14,14]}}  )",
                 "12345678abcdef");
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string whole = sound_file();
  EXPECT_EQ(parse_safetensors(as_bytes(whole), "x").tensors.size(), 3u);
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(error_of(whole.substr(0, size)), "") << size;
}

/// One random change: a byte, a deletion, a repetition, an insertion, another number, or another header length.
void damage(std::string& file, Rng& rng) {
  const auto place = [&](size_t limit) { return static_cast<size_t>(rng.below(limit)); };
  if (file.empty()) file = "x";
  const size_t at = place(file.size());
  static const std::string kTokens[] = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        ":",
                                        "\"",
                                        "0",
                                        "1",
                                        "99999999999999999999",
                                        "-1",
                                        "1e9",
                                        "null",
                                        "true",
                                        "\"dtype\"",
                                        "\"shape\"",
                                        "\"data_offsets\"",
                                        "\"__metadata__\"",
                                        "\"F32\"",
                                        "\"a\":{}",
                                        "\\u0000",
                                        "\xff",
                                        "18446744073709551615"};
  switch (rng.below(6)) {
    case 0:
      file[at] = static_cast<char>(rng.next());
      break;
    case 1:
      file.erase(at, 1 + place(8));
      break;
    case 2:
      file.insert(at, file.substr(place(file.size()), place(40)));
      break;
    case 3:
      file.insert(at, kTokens[place(std::size(kTokens))]);
      break;
    case 4:
      file[at] = static_cast<char>('0' + place(10));
      break;
    case 5:
      file[place(std::min<size_t>(8, file.size()))] = static_cast<char>(rng.next());
      break;
  }
  // Mostly keep the length honest, so that the damage reaches the header and not only the first check.
  if (file.size() > 22 && rng.below(4) != 0) {
    const uint64_t header = file.size() - 8 - 14;
    std::memcpy(file.data(), &header, 8);
  }
}

TEST(Safetensors, RandomDamageEndsInATableOrAnInputError) {
  const char* wanted = std::getenv("MAMBAC_FUZZ_SECONDS");
  const std::chrono::duration<double> limit(wanted ? std::atof(wanted) : 5);
  const auto start = std::chrono::steady_clock::now();
  Rng rng(2024);
  int64_t tried = 0, accepted = 0;
  while (std::chrono::steady_clock::now() - start < limit) {
    std::string file = sound_file();
    for (uint64_t changes = 1 + rng.below(4); changes-- > 0;) damage(file, rng);
    ++tried;
    const std::vector<uint8_t> exact(file.begin(), file.end());  // its end is where a sanitizer watches
    try {
      const SafetensorsTable table = parse_safetensors(exact, "fuzzed");
      ++accepted;
      for (const auto& [name, entry] : table.tensors) {
        ASSERT_LE(entry.offset + entry.bytes, file.size());
        ASSERT_EQ(static_cast<size_t>(entry.elements) * bytes_of(entry.type), entry.bytes);
      }
    } catch (const InputError&) {
    }
  }
  EXPECT_GT(tried, 100);
  EXPECT_GT(accepted, 0) << "the damage never left a sound file, so acceptance was not tested";
  RecordProperty("tried", static_cast<int>(tried));
}

}  // namespace
}  // namespace mambac
