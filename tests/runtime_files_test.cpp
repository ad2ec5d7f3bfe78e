// Files that are written whole or not at all, .npy, element types.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <thread>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/json_depth.h"
#include "runtime/mapped_file.h"
#include "runtime/npy.h"
#include "runtime/training_record.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  TemporaryFolder folder;
  folder.write("file", "old");
  {
    AtomicFile file(folder / "file");
    file.write("new, but never finished");
  }
  EXPECT_EQ(contents(folder / "file"), "old");
  write_file(folder / "file", "new");
  EXPECT_EQ(contents(folder / "file"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "a temporary file was left";
}

TEST(AtomicFile, FolderThatIsNotThere) {
  const std::string message = message_of<EnvironmentError>([] { write_file("/nonexistent-folder/file", "x"); });
  EXPECT_NE(message.find("/nonexistent-folder/file"), std::string::npos) << message;
}

TEST(AtomicFile, ShortWriteLeavesTheOldFile) {
  TemporaryFolder folder;
  folder.write("file", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message =
      message_of<EnvironmentError>([&] { write_file(folder / "file", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("after 1000 bytes"), std::string::npos) << message;
  EXPECT_EQ(contents(folder / "file"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, FollowsLinks) {
  TemporaryFolder folder;
  folder.write("there/file", "old");
  std::filesystem::create_symlink("there/file", folder / "link");
  std::filesystem::create_symlink(folder / "link", folder / "another");
  write_file(folder / "another", "new");
  EXPECT_EQ(contents(folder / "there/file"), "new");
  EXPECT_EQ(std::filesystem::read_symlink(folder / "link"), "there/file");
  std::filesystem::create_symlink("none", folder / "dangling");
  write_file(folder / "dangling", "made");
  EXPECT_EQ(contents(folder / "none"), "made");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "dangling"));
  std::filesystem::create_symlink("two", folder / "one");
  std::filesystem::create_symlink("one", folder / "two");
  const std::string message = message_of<EnvironmentError>([&] { write_file(folder / "one", "x"); });
  EXPECT_NE(message.find("Too many levels of symbolic links"), std::string::npos) << message;
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "one"));
}

TEST(AtomicFile, WritesToPipesAndDevices) {
  TemporaryFolder folder;
  const std::filesystem::path pipe = folder / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = contents(pipe); });
  write_file(pipe, "through");
  reader.join();
  EXPECT_EQ(read, "through");
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  std::filesystem::create_symlink("/dev/null", folder / "null");
  write_file(folder / "null", "gone");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "null"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  const std::string message = message_of<EnvironmentError>([] { write_file("/dev/full", "x"); });
  EXPECT_EQ(message, "cannot write '/dev/full': No space left on device");
}

TEST(AtomicFile, KnowsItsTemporaryFiles) {
  EXPECT_TRUE(AtomicFile::is_temporary(".a.json.x7Q2bZ", "there/a.json"));
  for (const char* name :
       {".a.json.swp", ".a.json.lock", ".a.json.x7Q2b", ".a.json.x7Q2bZZ", ".a.json.x7-2bZ", "a.json"})
    EXPECT_FALSE(AtomicFile::is_temporary(name, "there/a.json")) << name;
}

TEST(AtomicFile, LinkIsReplaced) {
  TemporaryFolder folder;
  replace_link(folder / "latest", "a");
  replace_link(folder / "latest", "b");
  EXPECT_EQ(std::filesystem::read_symlink(folder / "latest"), "b");
}

TEST(JsonDepth, IsBounded) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_NO_THROW(check_json_depth(nested(kDeepestJson), "text"));
  EXPECT_THROW(check_json_depth(nested(kDeepestJson + 1), "text"), InputError);
  EXPECT_NO_THROW(check_json_depth("[" + std::string(50, ' ') + "\"\\\"" + nested(50) + "\", {}, {}, []]", "text"));
  std::string wide = "[";
  for (int i = 0; i < 100; ++i) wide += "{\"a\": []}, ";
  EXPECT_NO_THROW(check_json_depth(wide + "1]", "text"));
  const std::string message = message_of<InputError>([] { check_json_depth(std::string(200000, '{'), "'a.json'"); });
  EXPECT_NE(message.find("'a.json' is damaged"), std::string::npos) << message;
}

TEST(TrainingRecord, OfATowerOfListsIsDamaged) {
  TemporaryFolder folder;
  folder.write("training.json", std::string(200000, '['));
  const std::string message = message_of<InputError>([&] { read_training_record(folder.path()); });
  EXPECT_NE(message.find("training.json' is damaged"), std::string::npos) << message;
}

TEST(MappedFile, SaysWhatIsWrong) {
  TemporaryFolder folder;
  EXPECT_NE(message_of<InputError>([&] { MappedFile file(folder / "no"); }).find("No such file"), std::string::npos);
  EXPECT_NE(message_of<InputError>([&] { MappedFile file(folder.path()); }).find("a folder"), std::string::npos);
  EXPECT_NE(message_of<InputError>([&] { MappedFile file("/dev/null"); }).find("not a regular"), std::string::npos);
  EXPECT_EQ(MappedFile(folder.write("empty", "")).size(), 0u);
}

TEST(MappedFile, ReleasedPagesCanBeReadAgain) {
  TemporaryFolder folder;
  const std::string text(200000, 'q');
  const MappedFile file(folder.write("file", text));
  file.release(70000, 100000);
  EXPECT_EQ(std::memcmp(file.data(), text.data(), text.size()), 0);
}

TEST(ElementType, BfloatRoundsToEven) {
  const float in[] = {1.0f,     1.00390625f, 1.01171875f, -3.1415926f, std::numeric_limits<float>::quiet_NaN(),
                      INFINITY, 3.4e38f};
  uint16_t stored[7];
  float out[7];
  from_f32(in, 7, ElementType::bf16, stored);
  to_f32(ElementType::bf16, stored, 7, out);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 1.0f);       // half way between 1 and 1.0078125: to the even one
  EXPECT_EQ(out[2], 1.015625f);  // half way, the even one is above
  EXPECT_NEAR(out[3], -3.1415926f, 0.01f);
  EXPECT_TRUE(std::isnan(out[4]));
  EXPECT_EQ(out[5], INFINITY);
  EXPECT_EQ(out[6], INFINITY);
}

TEST(ElementType, HalfRoundTripsEveryValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    float value = 0;
    to_f32(ElementType::f16, &half, 1, &value);
    uint16_t again = 0;
    from_f32(&value, 1, ElementType::f16, &again);
    if (std::isnan(value)) {
      EXPECT_GT(again & 0x7fff, 0x7c00);
    } else {
      ASSERT_EQ(again, half) << value;
    }
  }
  const float between[] = {0x1p-25f, 0x1.8p-24f, 2049.0f, 2051.0f, 65519.0f, 65520.0f};
  const float expected[] = {0.0f, 0x1p-23f, 2048.0f, 2052.0f, 65504.0f, INFINITY};
  for (int i = 0; i < 6; ++i) {
    uint16_t half = 0;
    float value = 0;
    from_f32(between + i, 1, ElementType::f16, &half);
    to_f32(ElementType::f16, &half, 1, &value);
    EXPECT_EQ(value, expected[i]);
  }
}

TEST(ElementType, ShapesAgreeWhenOnlyNeighboursMerge) {
  const auto agree = [](std::vector<int64_t> a, std::vector<int64_t> b) {
    return shapes_agree(a, b) && shapes_agree(b, a);
  };
  EXPECT_TRUE(agree({2, 8, 4}, {16, 4}));
  EXPECT_TRUE(agree({8, 4}, {8, 1, 4}));
  EXPECT_TRUE(agree({}, {1}));
  EXPECT_TRUE(agree({0, 3}, {0}));
  EXPECT_FALSE(agree({8, 4}, {4, 8}));
  EXPECT_FALSE(agree({2, 6}, {4, 3}));
  EXPECT_FALSE(agree({8}, {9}));
}

TEST(Npy, RoundTripsEveryType) {
  TemporaryFolder folder;
  const std::vector<std::vector<int64_t>> shapes = {{}, {5}, {2, 3}, {1, 0, 4}, {2, 1, 3, 2}};
  for (const ElementType type :
       {ElementType::f32, ElementType::f64, ElementType::f16, ElementType::u8, ElementType::i32, ElementType::i64}) {
    for (const auto& shape : shapes) {
      std::vector<uint8_t> data(static_cast<size_t>(*element_count(shape)) * bytes_of(type));
      for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 7);
      write_npy(folder / "x.npy", type, shape, data.data());
      const NpyArray read = read_npy(folder / "x.npy");
      EXPECT_EQ(read.type, type);
      EXPECT_EQ(read.shape, shape);
      EXPECT_EQ(read.data, data);
      EXPECT_EQ((contents(folder / "x.npy").size() - data.size()) % 64, 0u);
    }
  }
}

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string out = std::string("\x93NUMPY") + version + '\0';
  out += static_cast<char>(header.size());
  out += static_cast<char>(header.size() >> 8);
  if (version > 1) out += std::string(2, '\0');
  return out + header + data;
}

std::string npy_error(const std::string& file) {
  return message_of<InputError>([&] {
    parse_npy({reinterpret_cast<const uint8_t*>(file.data()), file.size()}, "x.npy");
  });
}

TEST(Npy, ReadsWhatNumpyWrites) {
  const std::string v2 = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }   \n", std::string(8, '\0'), 2);
  EXPECT_EQ(parse_npy({reinterpret_cast<const uint8_t*>(v2.data()), v2.size()}, "x").elements, 2);
}

TEST(Npy, HostileFiles) {
  const std::pair<std::string, const char*> table[] = {
      {"", "does not begin"},
      {"\x93NUMPX\x01\0aaaaaaa", "does not begin"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "", 9), "version 9"},
      {std::string("\x93NUMPY\x01\x00\xff\xff", 10) + "{", "its header would have 65535 bytes"},
      {npy("{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}", "12345678"), "its type is '>f4'"},
      {npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}", "12345678"), "its type is '|O'"},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2,3)}", std::string(24, 'x')), "Fortran"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "12345678"), "needs 12 bytes, found 8"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "12345678"), "needs 4 bytes, found 8"},
      {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 2)}", ""), "too large"},
      {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}", ""), "not a tuple"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", ""), "not a tuple"},
      {npy("{'descr': '<f4', 'fortran_order': False}", ""), "lacks one of"},
      {npy("{'descr': '<f4', 'fortran_order': Falsch, 'shape': (1,)}", "1234"), "neither True nor False"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234"), "not a dictionary of plain"},
      {npy("{'descr': '<f4", ""), "without end"},
      {npy("{'evil': '<f4'}", ""), "unknown key 'evil'"},
      {npy("{", ""), "not a dictionary"},
      {npy("", ""), "lacks '{'"},
  };
  for (const auto& [file, expected] : table) {
    const std::string message = npy_error(file);
    EXPECT_NE(message.find(expected), std::string::npos) << "found: " << message << "\nexpected: " << expected;
    EXPECT_NE(message.find("'x.npy'"), std::string::npos) << message;
  }
}

TEST(Npy, EveryTruncationIsAnError) {
  const std::string whole = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", "12345678");
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(npy_error(whole.substr(0, size)), "") << size;
}

}  // namespace
}  // namespace mambac
