// Random numbers, initial values, training data.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <set>

#include "ir/error.h"
#include "runtime/byte_source.h"
#include "runtime/element_type.h"
#include "runtime/initialise.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

TEST(Rng, PhiloxKnownAnswers) {  // kat_vectors of the Random123 library
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, GoesOnFromItsCounter) {
  Rng whole(7, 3);
  for (int i = 0; i < 11; ++i) whole.normal(), whole.below(1000), whole.uniform();
  Rng again(7, 3, whole.counter());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(whole.next(), again.next());
  EXPECT_NE(Rng(7, 3).next(), Rng(7, 4).next());
  EXPECT_NE(Rng(7, 3).next(), Rng(8, 3).next());
}

TEST(Rng, Moments) {
  Rng rng(1);
  const int n = 200000;
  double mean = 0, square = 0, uniform = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    mean += x / n, square += x * x / n, uniform += rng.uniform() / n;
  }
  EXPECT_NEAR(mean, 0, 0.01);
  EXPECT_NEAR(square, 1, 0.02);
  EXPECT_NEAR(uniform, 0.5, 0.003);
  std::array<int, 5> counts{};
  for (int i = 0; i < 50000; ++i) ++counts[rng.below(5)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 450);
}

std::vector<float> filled(Initialiser init, const std::string& name, std::vector<int64_t> shape, uint64_t seed = 5) {
  std::vector<float> values(static_cast<size_t>(*element_count(shape)));
  initialise(init, name, shape, seed, values);
  return values;
}

TEST(Initialise, Kinds) {
  EXPECT_EQ(filled({Initialiser::zeros}, "p", {3}), std::vector<float>(3, 0.0f));
  EXPECT_EQ(filled({Initialiser::ones}, "p", {3}), std::vector<float>(3, 1.0f));
  EXPECT_EQ(filled({Initialiser::constant, 2.5}, "p", {2}), std::vector<float>(2, 2.5f));
  const auto logs = filled({Initialiser::log_arange}, "p", {2, 3});
  for (int i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(logs[static_cast<size_t>(i)], std::log(static_cast<float>(i % 3 + 1)));
  for (const float x : filled({Initialiser::uniform, -0.25, 0.5}, "p", {500})) EXPECT_TRUE(x >= -0.25f && x < 0.5f);
  double mean = 0;
  for (const float x : filled({Initialiser::normal, 3, 0.02}, "p", {10000})) mean += static_cast<double>(x) / 10000;
  EXPECT_NEAR(mean, 3, 0.002);
  for (const float x : filled({Initialiser::dt_bias, 0.001, 0.1}, "p", {500})) {
    const double dt = std::log1p(std::exp(static_cast<double>(x)));
    EXPECT_TRUE(dt > 0.00099 && dt < 0.101) << dt;
  }
  for (const float x : filled({Initialiser::log_uniform_ring, 0.9, 0.999}, "p", {500})) {
    const double decay = std::exp(-std::exp(static_cast<double>(x)));
    EXPECT_TRUE(decay > 0.8999 && decay < 0.9991) << decay;
  }
}

TEST(Initialise, DependsOnNameAndSeedOnly) {
  const Initialiser normal{Initialiser::normal, 0, 1};
  EXPECT_EQ(filled(normal, "a", {4}), filled(normal, "a", {4}));
  EXPECT_NE(filled(normal, "a", {4}), filled(normal, "b", {4}));
  EXPECT_NE(filled(normal, "a", {4}, 1), filled(normal, "a", {4}, 2));
}

TEST(Initialise, Mistakes) {
  EXPECT_NE(message_of<InputError>([] { filled({}, "layer.weight", {1}); }).find("'layer.weight' has no initialiser"),
            std::string::npos);
  EXPECT_NE(message_of<InputError>([] {
              filled({Initialiser::dt_bias, -1, 1}, "dt", {1});
            }).find("expected finite"),
            std::string::npos);
}

TEST(ByteSource, WindowsStayInsideFiles) {
  TemporaryFolder folder;
  folder.write("b/two", std::string(20, 'b'));
  folder.write("a", std::string(10, 'a'));
  folder.write("c", "short");
  folder.write("empty", "");
  folder.write(".hidden", std::string(100, 'h'));
  folder.write(".git/object", std::string(100, 'g'));
  ByteSource source(folder.path());
  EXPECT_EQ(source.bytes(), 35);
  source.set_window(8);
  EXPECT_EQ(source.short_files(), 1);
  EXPECT_EQ(source.positions(), 3 + 13);
  Rng rng(1);
  std::vector<uint8_t> windows(8 * 400);
  source.sample(rng, 400, windows.data());
  std::set<std::string> seen;
  for (int i = 0; i < 400; ++i) seen.insert(std::string(windows.begin() + i * 8, windows.begin() + i * 8 + 8));
  EXPECT_EQ(seen, (std::set<std::string>{"aaaaaaaa", "bbbbbbbb"}));
}

TEST(ByteSource, EveryPositionIsReached) {
  TemporaryFolder folder;
  ByteSource source(folder.write("file", "0123456789"));
  source.set_window(4);
  std::vector<uint8_t> window(4);
  for (int64_t i = 0; i < 7; ++i) {
    source.copy_window(i, window.data());
    EXPECT_EQ(window[0], '0' + i);
    EXPECT_EQ(window[3], '3' + i);
  }
  EXPECT_THROW(source.copy_window(7, window.data()), InternalError);
  Rng rng(1);
  std::set<uint8_t> starts;
  for (int i = 0; i < 300; ++i) source.sample(rng, 1, window.data()), starts.insert(window[0]);
  EXPECT_EQ(starts.size(), 7u);
}

TEST(ByteSource, Mistakes) {
  TemporaryFolder folder;
  const auto opening = [&](const std::filesystem::path& path) {
    return message_of<InputError>([&] { ByteSource source(path); });
  };
  EXPECT_NE(opening(folder / "no").find("No such file"), std::string::npos);
  EXPECT_NE(opening(folder.path()).find("has no files"), std::string::npos);
  EXPECT_NE(opening(folder.write("empty", "")).find("is empty"), std::string::npos);
  ByteSource source(folder.write("text", "hello"));
  const std::string message = message_of<InputError>([&] { source.set_window(65); });
  EXPECT_NE(message.find("it has 5 bytes, a context of 64 needs at least 65"), std::string::npos) << message;
  if (geteuid() != 0) {
    std::filesystem::permissions(folder / "text", std::filesystem::perms::none);
    EXPECT_NE(opening(folder / "text").find("Permission denied"), std::string::npos);
  }
}

}  // namespace
}  // namespace mambac
