// Evaluation, sampling, states and generation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ir/error.h"
#include "runtime/evaluate.h"
#include "runtime/generate.h"
#include "tests/fake_executables.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

/// Scores a byte by its distance to its predecessor and by the position in its window: shows who scored what.
FakeExecutable position_scores(int64_t batch, int64_t length) {
  FakeExecutable model;
  model.input("bytes", DType::u8, {batch, length}).input("targets", DType::u8, {batch, length});
  model.output("nll", DType::f32, {batch, length});
  model.work = [=](FakeExecutable& self) {
    for (int64_t i = 0; i < batch * length; ++i)
      self.at("nll")[i] = static_cast<float>(self.at<uint8_t>("targets")[i] - self.at<uint8_t>("bytes")[i]) +
                          1000.0f * static_cast<float>(i % length);
  };
  return model;
}

TEST(Evaluate, SideBySideScoresEveryByteOnce) {
  TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 23; ++i) text += static_cast<char>(i);  // each target is its byte + 1
  const ByteSource data(folder.write("text", text));
  FakeExecutable model = position_scores(2, 5);
  const Evaluation result = evaluate(model, data, 5);
  EXPECT_EQ(result.scored_bytes, 22);
  EXPECT_EQ(result.bytes, 23);
  const double positions = 4 * (0 + 1 + 2 + 3 + 4) + 0 + 1;
  EXPECT_NEAR(result.nats_per_byte, (22 + 1000 * positions) / 22, 1e-9);
  EXPECT_NEAR(result.bits_per_byte, result.nats_per_byte / std::log(2), 1e-9);
  EXPECT_EQ(model.runs, 3);
}

TEST(Evaluate, SlidingContextScoresTheEndsOfWindows) {
  TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 23; ++i) text += static_cast<char>(i);
  const ByteSource data(folder.write("text", text));
  FakeExecutable model = position_scores(3, 5);
  int64_t told = 0;
  const Evaluation result = evaluate(model, data, 2, [&](int64_t scored) { told = scored; });
  EXPECT_EQ(result.scored_bytes, 22);
  EXPECT_EQ(told, 22);
  // The first window scores positions 0 to 4, eight more score 3 and 4, the last one (one byte left) scores 3.
  EXPECT_NEAR(result.nats_per_byte, (22 + 1000 * (10.0 + 8 * 7 + 3)) / 22, 1e-9);
}

TEST(Evaluate, WordPerplexityFollowsFromTheLoss) {
  TemporaryFolder folder;
  folder.write("a", "one two\tthree\n");
  folder.write("b", "  four\r\n");
  const ByteSource data(folder.path());
  FakeExecutable model;
  model.input("bytes", DType::u8, {1, 4}).input("targets", DType::u8, {1, 4}).output("nll", DType::f32, {1, 4});
  model.work = [](FakeExecutable& self) { std::fill_n(self.at("nll"), 4, 0.5f); };
  const Evaluation result = evaluate(model, data, 4);
  EXPECT_EQ(result.words, 4);
  EXPECT_EQ(result.scored_bytes, 13 + 7);
  EXPECT_NEAR(result.word_perplexity, std::exp(0.5 * 22 / 4), 1e-9);
  EXPECT_NEAR(result.word_perplexity, std::exp2(result.bits_per_byte * 22 / 4), 1e-9);
}

TEST(Evaluate, Mistakes) {
  TemporaryFolder folder;
  FakeExecutable model = position_scores(1, 4);
  const ByteSource one(folder.write("one", "x"));
  EXPECT_NE(message_of<InputError>([&] { evaluate(model, one, 4); }).find("no byte to score"), std::string::npos);
  const ByteSource text(folder.write("text", "hello"));
  for (const int64_t stride : {0, 5})
    EXPECT_NE(message_of<InputError>([&] { evaluate(model, text, stride); }).find("expected 1 to 4"),
              std::string::npos);
  model.work = [](FakeExecutable& self) { std::fill_n(self.at("nll"), 4, NAN); };
  EXPECT_NE(message_of<InputError>([&] { evaluate(model, text, 4); }).find("not finite"), std::string::npos);
}

/// How often each index is drawn in n draws.
std::vector<double> shares(const SamplingOptions& options, const std::vector<float>& logits, int n = 20000) {
  Sampler sampler(options);
  Rng rng(11);
  std::vector<double> share(logits.size());
  for (int i = 0; i < n; ++i) share[static_cast<size_t>(sampler.draw(logits, rng))] += 1.0 / n;
  return share;
}

TEST(Sampling, FollowsTheDistribution) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.6f), std::log(0.3f)};
  const auto share = shares({}, logits);
  EXPECT_NEAR(share[0], 0.1, 0.012);
  EXPECT_NEAR(share[1], 0.6, 0.012);
  const auto cold = shares({.temperature = 0.5}, logits);  // squares: 1, 36, 9
  EXPECT_NEAR(cold[1], 36.0 / 46, 0.012);
}

TEST(Sampling, TopKThenTemperatureThenTopP) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.3f), std::log(0.2f)};
  const auto k = shares({.top_k = 2}, logits);
  EXPECT_NEAR(k[1], 4.0 / 7, 0.012);
  EXPECT_EQ(k[0] + k[3], 0);
  const auto p = shares({.top_p = 0.85}, logits);  // drops 0.1 (<= 0.15), keeps 0.2
  EXPECT_EQ(p[0], 0);
  EXPECT_NEAR(p[3], 0.2 / 0.9, 0.012);
  // Of the top three, squared 16, 9, 4 of 29: top_p 0.8 drops 4 / 29 = 0.138, but not 13 / 29. Were top-p first, on
  // 0.4, 0.3, 0.2, 0.1, it would drop 0.1 only.
  const auto both = shares({.temperature = 0.5, .top_k = 3, .top_p = 0.8}, logits);
  EXPECT_EQ(both[0] + both[3], 0);
  EXPECT_NEAR(both[1], 16.0 / 25, 0.012);
}

TEST(Sampling, LikeliestWithoutChance) {
  Rng rng(1);
  const std::vector<float> logits = {0, 3, 1, 3};
  EXPECT_EQ(Sampler({.top_k = 1}).draw(logits, rng), 1);
  EXPECT_EQ(Sampler({.temperature = 0}).draw(logits, rng), 1);
  EXPECT_EQ(rng.counter(), 0u);
  EXPECT_EQ(Sampler({.top_p = 1e-9}).draw(logits, rng), 1);
}

TEST(Sampling, Mistakes) {
  Rng rng(1);
  EXPECT_NE(message_of<InputError>([] { Sampler({.temperature = -1}); }).find("temperature"), std::string::npos);
  EXPECT_NE(message_of<InputError>([] { Sampler({.temperature = NAN}); }).find("temperature"), std::string::npos);
  EXPECT_NE(message_of<InputError>([] { Sampler({.top_k = -1}); }).find("top-k"), std::string::npos);
  for (const double p : {0.0, 1.5, -1.0})
    EXPECT_NE(message_of<InputError>([&] { Sampler({.top_p = p}); }).find("top-p"), std::string::npos);
  const std::vector<float> nan = {0, NAN}, infinite = {0, INFINITY};
  EXPECT_THROW(Sampler({}).draw(nan, rng), InputError);
  EXPECT_THROW(Sampler({}).draw(infinite, rng), InputError);
}

float weight[kFakeStates] = {1.0f, -0.7f, 0.5f, 0.3f, 1.1f};

FakeExecutable bound_recurrent(int64_t batch, int64_t length, bool last_only = false) {
  FakeExecutable model = recurrent(batch, length, last_only);
  model.bind("weight", weight);
  return model;
}

TEST(State, CloneSaveRestore) {
  TemporaryFolder folder;
  FakeExecutable step = bound_recurrent(1, 0);
  Generator generator(nullptr, step);
  const std::string text = "some bytes to remember";
  generator.feed({reinterpret_cast<const uint8_t*>(text.data())}, static_cast<int64_t>(text.size()));
  generator.state().save(folder / "state");
  State copy = generator.state().clone();

  const auto next_logits = [&](Generator& from) {
    const uint8_t byte = 'x';
    from.feed({&byte}, 1);
    return std::vector<float>(from.logits(0).begin(), from.logits(0).end());
  };
  const auto expected = next_logits(generator);
  generator.state() = std::move(copy);
  EXPECT_EQ(next_logits(generator), expected);

  FakeExecutable other_step = bound_recurrent(1, 0);
  Generator other(nullptr, other_step);
  EXPECT_NE(next_logits(other), expected);
  other.state().restore(folder / "state");
  EXPECT_EQ(next_logits(other), expected);

  FakeExecutable wide = bound_recurrent(2, 0);
  Generator mismatched(nullptr, wide);
  EXPECT_NE(message_of<InputError>([&] { mismatched.state().restore(folder / "state"); }).find("state.h"),
            std::string::npos);
  EXPECT_EQ(generator.state().bytes(), 64u);
}

TEST(Generate, PrefillAndStepsAgree) {
  FakeExecutable step = bound_recurrent(1, 0), all = bound_recurrent(1, 8), last = bound_recurrent(1, 8, true);
  const GenerateOptions options{.bytes = 40, .sampling = {}, .seed = 3};
  const std::vector<std::string> prompts = {"a prompt of twenty-nine bytes"};
  const auto by_steps = Generator(nullptr, step).generate(prompts, options);
  EXPECT_EQ(by_steps[0].size(), 40u);
  step.runs = 0;
  EXPECT_EQ(Generator(&all, step).generate(prompts, options), by_steps);
  EXPECT_EQ(all.runs, 3);
  EXPECT_EQ(step.runs, 5 + 39) << "the rest of the prompt and every byte but the last";
  EXPECT_EQ(Generator(&last, step).generate(prompts, options), by_steps);
}

TEST(Generate, BatchOfPromptsOfDifferentLengths) {
  const std::vector<std::string> prompts = {"short", "a much longer prompt, with more than one chunk", "", "x",
                                            "middle length"};
  const GenerateOptions options{.bytes = 25, .sampling = {.temperature = 0.7}, .seed = 9};
  FakeExecutable step = bound_recurrent(2, 0), prefill = bound_recurrent(2, 4);
  const auto together = Generator(&prefill, step).generate(prompts, options);
  FakeExecutable wide = bound_recurrent(5, 0);
  EXPECT_EQ(Generator(nullptr, wide).generate(prompts, options), together);
  for (const std::string& text : together) EXPECT_EQ(text.size(), 25u);
}

TEST(Generate, SeedAndStop) {
  FakeExecutable step = bound_recurrent(1, 0);
  Generator generator(nullptr, step);
  const auto with_seed = [&](uint64_t seed) {
    return generator.generate({"abc"}, {.bytes = 30, .sampling = {}, .seed = seed})[0];
  };
  EXPECT_EQ(with_seed(1), with_seed(1));
  EXPECT_NE(with_seed(1), with_seed(2));
  std::string stopped;
  generator.stream({"abc", "def"}, {.bytes = 30, .sampling = {}, .seed = 1}, [&](size_t prompt, uint8_t byte) {
    EXPECT_EQ(prompt, 0U);
    stopped.push_back(static_cast<char>(byte));
    return stopped.size() < 4;
  });
  EXPECT_EQ(stopped, with_seed(1).substr(0, 4));
  EXPECT_EQ(generator.generate({"abc"}, {.bytes = 0})[0], "");
  EXPECT_THROW(generator.generate({"abc"}, {.bytes = -1}), InputError);
}

/// Takes the likeliest.
FakeExecutable likeliest_sampler(int64_t batch) {
  FakeExecutable sampler;
  sampler.input("logits", DType::f32, {batch, 256}).input("uniform", DType::f32, {batch});
  for (const char* option : {"temperature", "top_k", "top_p"}) sampler.input(option, DType::f32, {});
  sampler.output("byte", DType::u8, {batch}).output("wrong", DType::f32, {batch});
  sampler.work = [batch](FakeExecutable& self) {
    EXPECT_EQ(*self.at("top_k"), 1);
    for (int64_t row = 0; row < batch; ++row) {
      const float* logits = self.at("logits") + row * 256;
      self.at<uint8_t>("byte")[row] = static_cast<uint8_t>(std::max_element(logits, logits + 256) - logits);
      self.at("wrong")[row] = static_cast<float>(std::count_if(logits, logits + 256, [](float x) { return x != x; }));
    }
  };
  return sampler;
}

TEST(Generate, WithASamplerOfTheDevice) {
  const std::vector<std::string> prompts = {"short", "a much longer prompt, with more than one chunk", "x"};
  const GenerateOptions options{.bytes = 70, .sampling = {.temperature = 0}, .seed = 9};
  FakeExecutable step = bound_recurrent(2, 0), sampler = likeliest_sampler(2);
  const auto expected = Generator(nullptr, step).generate(prompts, options);
  step.runs = 0;
  EXPECT_EQ(Generator(nullptr, step, &sampler).generate(prompts, options), expected);
  EXPECT_GT(sampler.runs, 70) << "all draws of the second batch, most of the first";
  EXPECT_EQ(step.runs, 46 + 69 + 1 + 69) << "prompts and every byte but the last";
}

TEST(Generate, LogitsOfTheDeviceThatAreNoNumbersEndTheText) {
  FakeExecutable step = bound_recurrent(1, 0), sampler = likeliest_sampler(1);
  step.work = [work = step.work](FakeExecutable& self) {
    work(self);
    if (self.runs == 3 + 40) self.at("logits")[7] = NAN;  // after 40 of the bytes, and then never again
  };
  Generator generator(nullptr, step, &sampler);
  std::string written;
  const std::string message = message_of<InputError>([&] {
    generator.stream({"abc"}, {.bytes = 70, .sampling = {.temperature = 0}}, [&](size_t, uint8_t byte) {
      written.push_back(static_cast<char>(byte));
      return true;
    });
  });
  EXPECT_NE(message.find("for byte 41 are not finite"), std::string::npos) << message;
  EXPECT_EQ(written.size(), 40u);
}

}  // namespace
}  // namespace mambac
