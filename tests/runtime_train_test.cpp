// Training: learning, schedules, checkpoints, and everything that may go wrong on the way.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <thread>

#include "ir/error.h"
#include "runtime/rng.h"
#include "runtime/train.h"
#include "tests/fake_executables.h"
#include "tests/temporary_folder.h"

namespace mambac {
namespace {

namespace fs = std::filesystem;

/// Text in which the next letter mostly follows from the one before.
std::string chain_text(size_t bytes) {
  Rng rng(4);
  std::string text = "a";
  while (text.size() < bytes) {
    const char last = text.back();
    text += rng.below(10) < 8 ? static_cast<char>('a' + (last - 'a') * 7 % 26 + 1 - (last == 'z'))
                              : static_cast<char>('a' + rng.below(26));
    if (text.back() > 'z') text.back() = 'a';
  }
  return text;
}

/// A bigram model over chain_text in a folder of its own.
struct Bench {
  TemporaryFolder folder;
  ParameterLayout layout{bigram_parameters()};
  FakeExecutable gradients, norm, update_decayed, update_others, add, valid;
  ByteSource data, held_out;
  TrainSettings settings;
  fs::path out;

  explicit Bench(int64_t batch = 4)
      : gradients(bigram(batch, 32, BigramOutput::gradients)),
        norm(sum_of_squares(layout.size())),
        update_decayed(adamw(layout.decayed())),
        update_others(adamw(layout.size() - layout.decayed())),
        add(vector_add(layout.size())),
        valid(bigram(3, 32, BigramOutput::loss)),
        data(folder.write("train.txt", chain_text(20000))),
        held_out(folder.write("valid.txt", chain_text(3000))),
        out(folder / "run") {
    settings.steps = 60;
    settings.learning_rate = 0.05;
    settings.evaluations = 6;
    settings.seed = 3;
  }

  TrainingJob job(bool resume = false) {
    TrainingJob job{settings, layout, {gradients, norm, &update_decayed, &update_others, &add, &valid}, data};
    job.valid = &held_out;
    job.folder = out;
    job.resume = resume;
    job.texts = {{"model.mb", "block main() {}\n"}, {"config.json", "{}\n"}};
    return job;
  }

  /// Calls the hook with the number of the run (from 1) before each run of the gradients.
  void before_gradients(std::function<void(int)> hook) {
    gradients.work = [hook, work = gradients.work](FakeExecutable& self) {
      hook(self.runs);
      work(self);
    };
  }
  /// The same after each run.
  void after_gradients(std::function<void(FakeExecutable&)> hook) {
    gradients.work = [hook, work = gradients.work](FakeExecutable& self) {
      work(self);
      hook(self);
    };
  }
};

std::string arrays_of(const fs::path& out) {
  return contents(out / "latest" / "model.safetensors") + contents(out / "latest" / "optimiser.safetensors");
}

std::vector<std::string> checkpoints_in(const fs::path& out) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(out))
    if (entry.path().filename().string().starts_with("checkpoint-")) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST(Layout, DecayedFirstAlignedAndPadded) {
  const ParameterLayout layout({{"a", {3}, {}, false}, {"b", {5, 2}, {}, true}, {"c", {17}, {}, true}});
  EXPECT_EQ(layout.offset(1), 0);
  EXPECT_EQ(layout.offset(2), 16);
  EXPECT_EQ(layout.decayed(), 1024);
  EXPECT_EQ(layout.offset(0), 1024);
  EXPECT_EQ(layout.size(), 1040);
  EXPECT_EQ(layout.count(), 30);
  EXPECT_EQ(layout.find("c"), 2);
  EXPECT_EQ(layout.find("d"), -1);
}

TEST(Schedule, WarmUpThenCosine) {
  TrainSettings settings;
  settings.learning_rate = 2;
  settings.warmup = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 0.05), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 0.1), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 0.55), 1.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 1), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(settings, 7), 0.2);
}

TEST(Train, Learns) {
  Bench bench;
  const TrainingResult result = train(bench.job());
  EXPECT_EQ(result.step, 60);
  EXPECT_EQ(result.bytes, 60 * 4 * 32);
  EXPECT_EQ(result.signal, 0);
  ASSERT_TRUE(result.valid_bits_per_byte);
  EXPECT_LT(*result.valid_bits_per_byte, 3.0);
  EXPECT_LT(result.train_bits_per_byte, 3.2);
  const auto curve = read_training_record(result.checkpoint).curve;
  EXPECT_GT(curve.front().train_bits_per_byte, 7.0);
  EXPECT_EQ(curve.size(), 60u);
  EXPECT_EQ(std::ranges::count_if(curve, [](const CurvePoint& p) { return p.valid_bits_per_byte.has_value(); }), 6);
  EXPECT_EQ(contents(bench.out / "latest/model.mb"), "block main() {}\n");
  EXPECT_NE(contents(bench.out / "curve.svg").find("<svg"), std::string::npos);
  EXPECT_EQ(std::ranges::count(contents(bench.out / "curve.csv"), '\n'), 61);
  EXPECT_GE(result.planned_bytes, 4 * 4 * static_cast<size_t>(bench.layout.size()));
}

TEST(Train, KeepsTheLatestAndTheBest) {
  Bench bench;
  bench.settings.learning_rate = 0;  // never better than at first
  train(bench.job());
  EXPECT_EQ(checkpoints_in(bench.out), (std::vector<std::string>{"checkpoint-10", "checkpoint-60"}));
  EXPECT_EQ(fs::read_symlink(bench.out / "best"), "checkpoint-10");
  EXPECT_EQ(fs::read_symlink(bench.out / "latest"), "checkpoint-60");
  EXPECT_EQ(find_checkpoint(bench.out), bench.out / "checkpoint-10");
  EXPECT_EQ(find_checkpoint(bench.out / "checkpoint-60"), bench.out / "checkpoint-60");
  EXPECT_NE(message_of<InputError>([&] { find_checkpoint(bench.folder.path()); }).find("holds no checkpoint"),
            std::string::npos);
}

TEST(Train, WithoutHeldOutData) {
  Bench bench;
  TrainingJob job = bench.job();
  job.valid = nullptr;
  const TrainingResult result = train(job);
  EXPECT_FALSE(result.valid_bits_per_byte);
  EXPECT_EQ(find_checkpoint(bench.out), bench.out / "checkpoint-60");
}

TEST(Train, AccumulatedBatchesEqualOneLargeBatch) {
  Bench whole(4), halves(2);
  halves.settings.accumulate = 2;
  const double a = *train(whole.job()).valid_bits_per_byte;
  const double b = *train(halves.job()).valid_bits_per_byte;
  EXPECT_NEAR(a, b, 1e-3);
  EXPECT_EQ(halves.gradients.runs, 120);
  EXPECT_EQ(halves.add.runs, 60);
}

TEST(Train, ClipsByTheGlobalNormAndCountsSteps) {
  Bench bench;
  bench.settings.steps = 3;
  bench.settings.clip = 0.01;
  std::vector<float> steps, norms;
  bench.update_decayed.work = [&, work = bench.update_decayed.work](FakeExecutable& self) {
    double sum = 0;  // "grad" is bound to where all gradients begin
    for (int64_t i = 0; i < bench.layout.size(); ++i)
      sum += std::pow(static_cast<double>(self.at("grad")[i] * *self.at("scale")), 2);
    norms.push_back(static_cast<float>(std::sqrt(sum)));
    steps.push_back(*self.at("step"));
    work(self);
  };
  train(bench.job());
  EXPECT_EQ(steps, (std::vector<float>{1, 2, 3}));
  for (const float norm : norms) EXPECT_NEAR(norm, 0.01, 1e-5);
}

TEST(Train, DecaysOnlyWhatIsMarked) {
  Bench bench;
  bench.after_gradients([](FakeExecutable& self) {
    std::fill_n(self.at("grad.table"), 65536, 0.0f);
    std::fill_n(self.at("grad.bias"), 256, 0.0f);
  });
  std::vector<float> start(static_cast<size_t>(bench.layout.size()), 1.0f);
  write_safetensors(bench.folder / "start", bench.layout.tensors({cpu_device(), start.data(), bench.layout.size()}),
                    {});
  const SafetensorsFile file(bench.folder / "start");
  TrainingJob job = bench.job();
  job.start = &file;
  train(job);
  const SafetensorsFile trained(bench.out / "latest/model.safetensors");
  std::vector<float> table(65536), bias(256);
  trained.read("table", std::vector<int64_t>{256, 256}, ElementType::f32, table.data());
  trained.read("bias", std::vector<int64_t>{256}, ElementType::f32, bias.data());
  EXPECT_LT(*std::ranges::max_element(table), 0.9f);
  EXPECT_EQ(bias, std::vector<float>(256, 1.0f));
}

TEST(Train, SameSeedSameBytes) {
  Bench a, b, c;
  c.settings.seed = 4;
  train(a.job());
  train(b.job());
  train(c.job());
  EXPECT_EQ(arrays_of(a.out), arrays_of(b.out));
  EXPECT_NE(arrays_of(a.out), arrays_of(c.out));
}

TEST(Train, KilledAnywhereAndResumedIsTheSameRun) {
  Bench whole;
  const TrainingResult expected = train(whole.job());

  Bench bench;
  Rng rng(99);
  int kills = 0;
  for (bool done = false; !done && kills < 200;) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      // Steps take long enough on any machine that the run lives through several kills.
      bench.before_gradients([](int) { std::this_thread::sleep_for(std::chrono::milliseconds(10)); });
      try {
        train(bench.job(true));
        _exit(0);
      } catch (...) {
        _exit(1);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(3000 + rng.below(120000)));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
      ++kills;
    else
      ASSERT_EQ(WEXITSTATUS(status), 0);
    done = WIFEXITED(status);
  }
  EXPECT_GT(kills, 2);
  const TrainingResult result = train(bench.job(true));
  EXPECT_EQ(result.step, 60);
  EXPECT_EQ(arrays_of(bench.out), arrays_of(whole.out));
  EXPECT_EQ(result.valid_bits_per_byte, expected.valid_bits_per_byte);
  EXPECT_EQ(result.best_valid, expected.best_valid);
  EXPECT_LE(checkpoints_in(bench.out).size(), 2u);
}

TEST(Train, InterruptedWritesACheckpointAndGoesOn) {
  Bench whole;
  train(whole.job());
  Bench bench;
  bench.before_gradients([](int run) {
    if (run == 7) raise(SIGINT);
  });
  const TrainingResult stopped = train(bench.job());
  EXPECT_EQ(stopped.signal, SIGINT);
  EXPECT_EQ(stopped.step, 7);
  EXPECT_TRUE(fs::exists(bench.out / "checkpoint-7/model.safetensors"));
  const TrainingResult result = train(bench.job(true));
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(arrays_of(bench.out), arrays_of(whole.out));
}

TEST(Train, ResumedAtTheEndChangesNothing) {
  Bench bench;
  const TrainingResult first = train(bench.job());
  const std::string before = arrays_of(bench.out);
  const TrainingResult again = train(bench.job(true));
  EXPECT_EQ(again.step, 60);
  EXPECT_EQ(again.valid_bits_per_byte, first.valid_bits_per_byte);
  EXPECT_EQ(arrays_of(bench.out), before);
  bench.settings.steps = 80;
  EXPECT_EQ(train(bench.job(true)).step, 80);
}

TEST(Train, FitsItselfToMinutes) {
  Bench bench;
  bench.settings.steps = 0;
  bench.settings.minutes = 0.5 / 60;
  const TrainingResult result = train(bench.job());
  EXPECT_GT(result.step, 5);
  EXPECT_NEAR(result.seconds, 0.5, 0.45);
  EXPECT_TRUE(result.valid_bits_per_byte);
  const auto curve = read_training_record(result.checkpoint).curve;
  EXPECT_LT(curve.back().learning_rate, 0.4 * bench.settings.learning_rate);
  EXPECT_LT(train(bench.job(true)).seconds, 1.0) << "time used before the checkpoint counts";
}

TEST(Train, NotFiniteStopsAndKeepsTheCheckpoint) {
  for (const bool in_loss : {true, false}) {
    Bench bench;
    bench.after_gradients([&](FakeExecutable& self) {
      if (self.runs == 25) *self.at(in_loss ? "loss" : "grad.bias") = in_loss ? NAN : INFINITY;
    });
    const std::string message = message_of<InputError>([&] { train(bench.job()); });
    EXPECT_NE(message.find("step 25"), std::string::npos) << message;
    EXPECT_NE(message.find(in_loss ? "nan" : "inf"), std::string::npos) << message;
    EXPECT_EQ(read_training_record(bench.out / "latest").step, 20);
  }
}

TEST(Train, FullDiskKeepsTheCheckpointBefore) {
  Bench bench;
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  bench.before_gradients([&](int run) {
    const rlimit small{300000, before.rlim_max};  // the model fits, its moments do not
    if (run == 15) setrlimit(RLIMIT_FSIZE, &small);
  });
  const std::string message = message_of<EnvironmentError>([&] { train(bench.job()); });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_NE(message.find("the checkpoint of step 20 could not be written"), std::string::npos) << message;
  EXPECT_NE(message.find("checkpoint-10' is whole"), std::string::npos) << message;
  EXPECT_EQ(checkpoints_in(bench.out), (std::vector<std::string>{"checkpoint-10"}));
  Bench whole;
  train(whole.job());
  EXPECT_EQ(train(bench.job(true)).step, 60);
  EXPECT_EQ(arrays_of(bench.out), arrays_of(whole.out));
}

TEST(Train, FullFileSystemKeepsTheCheckpointBefore) {
  Bench bench;
  fs::create_directories(bench.out);
  if (mount("none", bench.out.c_str(), "tmpfs", 0, "size=1500k") != 0) {
    const int found = errno;
    ASSERT_TRUE(found == EPERM || found == EACCES) << std::strerror(found);
    GTEST_SKIP() << "may not mount a small file system: " << std::strerror(found);
  }
  const std::string message = message_of<EnvironmentError>([&] { train(bench.job()); });
  const auto left = checkpoints_in(bench.out);
  const int64_t step = read_training_record(bench.out / "latest").step;
  umount(bench.out.c_str());
  EXPECT_NE(message.find("No space left on device"), std::string::npos) << message;
  EXPECT_EQ(left, (std::vector<std::string>{"checkpoint-10"}));
  EXPECT_EQ(step, 10);
}

TEST(Train, Mistakes) {
  Bench bench;
  bench.settings.minutes = 1;
  EXPECT_NE(message_of<InputError>([&] { train(bench.job()); }).find("60 steps and 1 minutes"), std::string::npos);
  bench.settings.minutes = 0;
  bench.settings.beta1 = 1;
  EXPECT_NE(message_of<InputError>([&] { train(bench.job()); }).find("beta1: found 1"), std::string::npos);
  bench.settings.beta1 = 0.9;

  TrainingJob job = bench.job();
  ByteSource small(bench.folder.write("small", "too short"));
  job.valid = &small;
  EXPECT_NE(message_of<InputError>([&] { train(job); }).find("it has 9 bytes, a context of 32 needs at least 33"),
            std::string::npos);

  train(bench.job());
  EXPECT_NE(message_of<InputError>([&] { train(bench.job()); }).find("holds a training run already"),
            std::string::npos);
}

TEST(Train, DamagedCheckpoints) {
  Bench bench;
  bench.settings.steps = 10;
  train(bench.job());
  const fs::path latest = bench.out / "latest";
  const auto damaged = [&](const char* name, const std::string& content) {
    const std::string before = contents(latest / name);
    std::ofstream(latest / name, std::ios::binary) << content;
    const std::string message = message_of<InputError>([&] { train(bench.job(true)); });
    std::ofstream(latest / name, std::ios::binary) << before;
    return message;
  };
  EXPECT_NE(damaged("training.json", "{\"step\": ").find("training.json' is damaged"), std::string::npos);
  EXPECT_NE(damaged("training.json", "{}").find("training.json' is damaged"), std::string::npos);
  EXPECT_NE(
      damaged("model.safetensors", contents(latest / "model.safetensors").substr(0, 5000)).find("model.safetensors"),
      std::string::npos);
  EXPECT_NE(damaged("optimiser.safetensors", contents(latest / "model.safetensors")).find("has no tensor 'm."),
            std::string::npos);
  EXPECT_EQ(train(bench.job(true)).step, 10);
}

TEST(Record, RoundTripsBitByBit) {
  TrainingRecord record;
  record.settings.learning_rate = 0.1 + 0.2;
  record.settings.seed = UINT64_MAX;
  record.rng_counter = UINT64_MAX - 3;
  record.loss_sum = 1.0 / 3;
  record.best_valid = 2.0 / 3;
  record.curve = {{1, 2, 0.1, 0.2, 0.3, std::nullopt}, {2, 4, 0.7, 0.1, 1e-300, 5.0 / 7}};
  TemporaryFolder folder;
  folder.write("training.json", training_record_text(record));
  const TrainingRecord read = read_training_record(folder.path());
  EXPECT_EQ(read.settings, record.settings);
  EXPECT_EQ(training_record_text(read), training_record_text(record));
  EXPECT_EQ(read.curve[1].valid_bits_per_byte, record.curve[1].valid_bits_per_byte);
}

}  // namespace
}  // namespace mambac
