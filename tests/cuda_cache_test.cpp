// The cache of machine code: what is kept, found, healed and thrown away.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "ir/error.h"
#include "runtime/atomic_file.h"
#include "runtime/cuda/kernel_cache.h"
#include "runtime/hash.h"
#include "tests/cuda_support.h"
#include "tests/temporary_folder.h"

namespace mambac::cuda {
namespace {

namespace fs = std::filesystem;
using test::fake_library;
using test::says;
using test::Variable;

CompileRequest request_of(int number) {
  return {"extern \"C\" __global__ void add_one(float* data, int n) { n = " + std::to_string(number) + "; }\n",
          "k.cu",
          "sm_90",
          {}};
}

void make_older(const fs::path& path, std::chrono::hours hours) {
  fs::last_write_time(path, fs::last_write_time(path) - hours);
}

class Cache : public testing::Test {
 protected:
  TemporaryFolder folder;
  Nvrtc nvrtc{fake_library()};
  std::vector<std::string> notices;

  fs::path place() const { return folder / "kernels"; }
  KernelCache cache(uint64_t limit = 1 << 30) {
    return KernelCache(
        place(), [this](const std::string& notice) { notices.push_back(notice); }, limit);
  }
  fs::path only_file() {
    const auto files = cache().files();
    EXPECT_EQ(files.size(), 1u);
    return files.empty() ? fs::path() : files[0].path;
  }
};

TEST(Hash, IsFnv1a) {
  // Test vectors of the FNV specification.
  EXPECT_EQ(hash_64(""), 0xcbf29ce484222325u);
  EXPECT_EQ(hash_64("foobar"), 0x85944171f73967e8u);
  EXPECT_EQ(hash_64("bar", hash_64("foo")), hash_64("foobar"));
  EXPECT_EQ(hash_128_text(""), "6c62272e07bb014262b821756295c58d");
  EXPECT_EQ(hash_128_text("foobar"), "343e1662793c64bf6f0d3597ba446f18");
}

TEST(Key, HasAllThatCodeDependsOn) {
  const CompileRequest request = request_of(1);
  const KernelKey key = KernelKey::of(request, "13.0");
  KernelKey again;
  ASSERT_TRUE(KernelKey::parse(key.text(), again));
  EXPECT_EQ(again.text(), key.text());
  EXPECT_EQ(again.source, request.source);
  EXPECT_TRUE(says(key.options, "-arch=sm_90", "-std=c++17"));
  CompileRequest other = request;
  other.architecture = "sm_80";
  EXPECT_NE(KernelKey::of(other, "13.0").digest(), key.digest());
  other = request;
  other.options = {"--maxrregcount=64"};
  EXPECT_NE(KernelKey::of(other, "13.0").digest(), key.digest());
  other = request;
  other.program = "k6.cu";
  EXPECT_NE(KernelKey::of(other, "13.0").digest(), key.digest());
  EXPECT_NE(KernelKey::of(request, "12.9").digest(), key.digest());
  EXPECT_NE(KernelKey::of(request_of(2), "13.0").digest(), key.digest());
}

TEST_F(Cache, CompilesOnce) {
  KernelCache first = cache();
  const Compilation made = first.compile(nvrtc, request_of(1));
  EXPECT_EQ(first.counts().compiled, 1);
  KernelCache second = cache();  // as another process has it
  const Compilation found = second.compile(nvrtc, request_of(1));
  EXPECT_EQ(second.counts().compiled, 0);
  EXPECT_EQ(second.counts().found, 1);
  EXPECT_EQ(found.cubin, made.cubin);
  EXPECT_EQ(found.kernels, made.kernels);
  second.compile(nvrtc, request_of(2));
  EXPECT_EQ(second.counts().compiled, 1);
  second.forget(nvrtc, request_of(2));
  second.compile(nvrtc, request_of(2));
  EXPECT_EQ(second.counts().compiled, 2);
  EXPECT_TRUE(notices.empty());
}

TEST_F(Cache, CommentsAreNoPartOfTheKey) {
  CompileRequest request = request_of(1);
  request.source += "// mamba.mb:21:9\nasm(\"// kept\");  // h\n";
  CompileRequest moved = request;
  moved.source.replace(moved.source.find("21:9"), 4, "34:13");
  EXPECT_EQ(KernelKey::of(moved, "13.0").text(), KernelKey::of(request, "13.0").text());
  EXPECT_TRUE(KernelKey::of(request, "13.0").source.ends_with("}\n\nasm(\"// kept\");\n"));
  KernelCache kept = cache();
  kept.compile(nvrtc, request);
  kept.compile(nvrtc, moved);
  EXPECT_EQ(kept.counts().found, 1);
}

TEST_F(Cache, AnotherCompilerIsAnotherKey) {
  cache().compile(nvrtc, request_of(1));
  const Variable older("FAKE_NVRTC_MAJOR", "12");
  KernelCache other = cache();
  other.compile(Nvrtc(fake_library()), request_of(1));
  EXPECT_EQ(other.counts().compiled, 1);
  EXPECT_EQ(other.files().size(), 2u);
}

TEST_F(Cache, DamageOfEveryKindIsHealed) {
  const Compilation made = cache().compile(nvrtc, request_of(1));
  const fs::path path = only_file();
  const std::string good = contents(path);
  std::vector<std::string> damaged{"", "mambac-k", "something else altogether, longer than any header would be",
                                   good + "x"};
  for (size_t bytes = 0; bytes < good.size(); bytes += 13) damaged.push_back(good.substr(0, bytes));
  for (size_t i = 0; i < good.size(); i += 7) {
    damaged.push_back(good);
    damaged.back()[i] = static_cast<char>(damaged.back()[i] ^ 0x40);
  }
  damaged.push_back(good.substr(0, 8) + std::string(32, '\377') + good.substr(40));  // sizes whose sum overflows
  for (const std::string& bytes : damaged) {
    std::ofstream(path, std::ios::binary) << bytes;
    KernelCache healing = cache();
    EXPECT_EQ(healing.compile(nvrtc, request_of(1)).cubin, made.cubin);
    EXPECT_EQ(healing.counts().damaged, 1);
    EXPECT_EQ(healing.counts().compiled, 1);
    ASSERT_EQ(contents(path), good);
  }
  EXPECT_TRUE(notices.empty());
}

TEST_F(Cache, TwoKeysOfOneHashDoNotMix) {
  cache().compile(nvrtc, request_of(1));
  const fs::path first = only_file();
  const std::string second = KernelKey::of(request_of(2), nvrtc.version()).digest();
  fs::copy_file(first, place() / (second + ".kernel"));  // as if the hash of both were the same
  KernelCache other = cache();
  EXPECT_TRUE(says(other.compile(nvrtc, request_of(2)).cubin, "n = 2;"));
  EXPECT_EQ(other.counts().compiled, 1);
  EXPECT_EQ(other.counts().damaged, 0);
}

TEST_F(Cache, FailuresAreNotKept) {
  CompileRequest wrong = request_of(1);
  wrong.source = "#error\n";
  EXPECT_THROW(cache().compile(nvrtc, wrong), InternalError);
  EXPECT_TRUE(cache().files().empty());
}

TEST_F(Cache, AnUnwritableFolderCostsOneNotice) {
  folder.write("kernels", "a file where the folder should be");
  KernelCache blocked = cache();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(says(blocked.compile(nvrtc, request_of(i)).cubin, "FAKECUBIN"));
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_TRUE(says(notices[0], "not kept", place().string())) << notices[0];
  EXPECT_EQ(contents(place()), "a file where the folder should be");
}

TEST_F(Cache, NoPlaceCostsOneNotice) {
  KernelCache nowhere({}, [this](const std::string& notice) { notices.push_back(notice); });
  nowhere.compile(nvrtc, request_of(1));
  nowhere.compile(nvrtc, request_of(1));
  EXPECT_EQ(nowhere.counts().compiled, 2);
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_TRUE(says(notices[0], "$HOME")) << notices[0];
}

TEST(Place, FollowsTheEnvironment) {
  const Variable home("HOME", "/home/someone");
  const Variable xdg("XDG_CACHE_HOME", nullptr);
  const Variable own("MAMBAC_CACHE", nullptr);
  EXPECT_EQ(KernelCache::default_folder(), "/home/someone/.cache/mambac/kernels-1");
  const Variable relative("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(KernelCache::default_folder(), "/home/someone/.cache/mambac/kernels-1");
  const Variable absolute("XDG_CACHE_HOME", "/var/cache");
  EXPECT_EQ(KernelCache::default_folder(), "/var/cache/mambac/kernels-1");
  const Variable named("MAMBAC_CACHE", "/somewhere");
  EXPECT_EQ(KernelCache::default_folder(), "/somewhere/kernels-1");
}

TEST_F(Cache, TheLimitTakesWhatWasUsedLongestAgo) {
  const Variable bytes("FAKE_NVRTC_BYTES", "10000");
  KernelCache filled = cache();
  for (int i = 0; i < 10; ++i) filled.compile(nvrtc, request_of(i));
  const auto path = [&](int i) {
    return place() / (KernelKey::of(request_of(i), nvrtc.version()).digest() + ".kernel");
  };
  for (int i = 0; i < 10; ++i) make_older(path(i), std::chrono::hours(100 - i));
  filled.compile(nvrtc, request_of(0));  // used now
  cache(55000).sweep();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(fs::exists(path(i)), i == 0 || i >= 6) << i;
  // Filling beyond the limit sweeps by itself.
  KernelCache small = cache(30000);
  for (int i = 20; i < 40; ++i) small.compile(nvrtc, request_of(i));
  uint64_t sum = 0;
  for (const auto& file : small.files()) sum += file.bytes;
  EXPECT_LE(sum, 30000u + 30000u / 16 + 11000u);
}

TEST_F(Cache, WhatAKilledWriterLeftIsSweptLater) {
  const pid_t child = fork();
  if (child == 0) {
    fs::create_directories(place());
    AtomicFile file(place() / "0123.kernel");
    file.write("half of an ent");
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(std::distance(fs::directory_iterator(place()), fs::directory_iterator()), 1);
  KernelCache after = cache();
  EXPECT_TRUE(after.files().empty());
  after.compile(nvrtc, request_of(1));
  EXPECT_EQ(std::distance(fs::directory_iterator(place()), fs::directory_iterator()), 2);  // its writer may live
  for (const auto& entry : fs::directory_iterator(place()))
    if (entry.path().filename().string().starts_with('.')) make_older(entry.path(), std::chrono::hours(2));
  after.sweep();
  EXPECT_EQ(only_file().extension(), ".kernel");
  EXPECT_EQ(std::distance(fs::directory_iterator(place()), fs::directory_iterator()), 1);
}

/// Fills the cache with `count` kernels in another process.
template <class Fill>
pid_t in_child(Fill fill) {
  const pid_t child = fork();
  if (child != 0) return child;
  try {
    fill();
    _exit(0);
  } catch (const std::exception&) {
    _exit(1);
  }
}

TEST_F(Cache, TwoProcessesFillIt) {
  const Variable bytes("FAKE_NVRTC_BYTES", "50000");
  const auto fill = [&] {
    KernelCache mine = cache();
    for (int i = 0; i < 30; ++i)
      if (!says(mine.compile(nvrtc, request_of(i)).cubin, "n = " + std::to_string(i) + ";")) throw InputError("wrong");
  };
  const pid_t one = in_child(fill), two = in_child(fill);
  for (const pid_t child : {one, two}) {
    int status = -1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  KernelCache after = cache();
  EXPECT_EQ(after.files().size(), 30u);
  for (int i = 0; i < 30; ++i) after.compile(nvrtc, request_of(i));
  EXPECT_EQ(after.counts().found, 30);
}

TEST_F(Cache, AWriterKilledAtAnyTimeLosesNothing) {
  const Variable bytes("FAKE_NVRTC_BYTES", "4000000");
  for (int round = 0; round < 8; ++round) {
    const pid_t child = in_child([&] {
      KernelCache mine = cache();
      for (int i = 0;; ++i) {
        mine.compile(nvrtc, request_of(i % 5));
        mine.forget(nvrtc, request_of(i % 5));
        mine.compile(nvrtc, request_of(i % 5));
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 17 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    KernelEntry entry;
    for (const KernelCache::File& file : cache().files()) EXPECT_EQ(KernelCache::read(file, entry), "") << file.path;
  }
  KernelCache after = cache();
  for (int i = 0; i < 5; ++i) after.compile(nvrtc, request_of(i));
  EXPECT_EQ(after.counts().damaged, 0);
}

TEST_F(Cache, ThreadsShareOne) {
  KernelCache shared = cache();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i)
          EXPECT_TRUE(says(shared.compile(nvrtc, request_of(i)).cubin, "n = " + std::to_string(i) + ";"));
      });
  }
  EXPECT_EQ(shared.files().size(), 20u);
  EXPECT_EQ(shared.counts().damaged, 0);
}

}  // namespace
}  // namespace mambac::cuda
