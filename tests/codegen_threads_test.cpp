// Where the threads of a task wait for each other, and what they share.
#include <gtest/gtest.h>

#include <functional>

#include "codegen/loop_rewrite.h"
#include "codegen/loop_verify.h"
#include "codegen/threads.h"
#include "ir/error.h"

using namespace mambac;
using namespace mambac::loop;

namespace {

constexpr int kWidth = 64;

/// A kernel of one stage with an array `a` of `count` uniform values, which its threads share; x is read, y written, z
/// both.
struct Written {
  explicit Written(const std::function<void(StageBuilder&, int a)>& body, int64_t count = 16, int64_t bytes = 1024,
                   int teams = 1) {
    Kernel kernel;
    kernel.name = "k";
    kernel.sizes = {"L"};
    kernel.buffers = {{"x", DType::f32, false}, {"y", DType::f32, true}, {"z", DType::f32, true}};
    kernel.schedule.width = kWidth;
    Stage& stage = kernel.stages.emplace_back();
    stage.name = "s";
    stage.tasks = constant(4);
    stage.teams = teams;
    StageBuilder b(stage);
    body(b, b.array("a", count, false, false));
    verify(kernel);
    threads = for_threads(kernel, bytes);
    verify(threads);
  }

  int count(StmtKind kind) const { return count(threads.stages[0].body, kind); }
  int barriers() const { return count(StmtKind::Barrier); }

  static int count(const Block& statements, StmtKind kind) {
    int found = 0;
    for (const Stmt& s : statements) found += (s.kind == kind) + count(s.body, kind) + count(s.otherwise, kind);
    return found;
  }

  Kernel threads;
};

/// Spread: a[i] = x[i]. As many iterations as `a` has elements.
void fill(StageBuilder& b, int a, int64_t count = 16) {
  const Int i = b.open_for(constant(0), constant(count));
  b.store_array(a, i, b.load(0, i));
  b.close();
}

/// Spread: y[i] = a[i * stride].
void copy_out(StageBuilder& b, int a, const Int& end, int64_t stride = 1) {
  const Int i = b.open_for(constant(0), end);
  b.store(1, i, b.load_array(a, i * stride));
  b.close();
}

/// Each lane has all of a.
void read(StageBuilder& b, int a) {
  b.store(1, b.task() * kWidth, b.apply(Op::Add, {b.load_array(a, constant(3)), b.load(0, constant(0), constant(1))}),
          constant(1));
}

TEST(Barriers, StandBetweenWhatOneThreadStoresAndOthersLoad) {
  EXPECT_EQ(Written([](StageBuilder& b, int a) { fill(b, a), read(b, a); }).barriers(), 1);
  // A second round: not before the first one is read.
  EXPECT_EQ(Written([](StageBuilder& b, int a) { fill(b, a), read(b, a), fill(b, a), read(b, a); }).barriers(), 3);
}

TEST(Barriers, IterationsOfEqualNumberAreOfOneThread) {
  EXPECT_EQ(Written([](StageBuilder& b, int a) { fill(b, a), copy_out(b, a, constant(16)); }).barriers(), 0);
  EXPECT_EQ(Written([](StageBuilder& b, int a) { fill(b, a), copy_out(b, a, constant(8)); }).barriers(), 0);
  EXPECT_EQ(Written([](StageBuilder& b, int a) { fill(b, a), copy_out(b, a, constant(5), 3); }).barriers(), 1);
}

TEST(Barriers, IterationsAreLanesUpToTheWidth) {
  for (const int64_t count : {kWidth / 2, kWidth, 2 * kWidth}) {
    const Written k([&](StageBuilder& b, int) {
      const Int i = b.open_for(constant(0), constant(count));
      b.store(2, i, b.load(0, i));
      b.close();
      b.store(2, constant(0), b.load(2, constant(0), constant(1)), constant(1));
    });
    EXPECT_EQ(k.barriers(), count <= kWidth ? 0 : 1) << count;
  }
}

TEST(Barriers, OfLoopsDependOnTheirIterations) {
  const auto rounds = [](const Int& end) {
    return Written([&](StageBuilder& b, int a) {
             b.open_for(constant(0), end);
             fill(b, a), read(b, a);
             b.close();
           })
        .barriers();
  };
  EXPECT_EQ(rounds(constant(1)), 1);
  EXPECT_EQ(rounds(constant(2)), 2);
  EXPECT_EQ(rounds(min(constant(1), variable(0))), 1);
  EXPECT_EQ(rounds(variable(0)), 2);
}

/// What a loop clears when it runs is only clear when it must run.
TEST(Barriers, OfLoopsThatMayNotRun) {
  const auto after_loop = [](const Int& end) {
    return Written([&](StageBuilder& b, int a) {
             fill(b, a);
             b.open_for(constant(0), end);
             const int other = b.array("other", 16, false, false);
             fill(b, other), read(b, other);
             b.close();
             read(b, a);
           })
        .barriers();
  };
  EXPECT_EQ(after_loop(constant(2)), 2);
  EXPECT_EQ(after_loop(variable(0)), 3);
}

TEST(Barriers, ABranchTakenOnceDoesNotMeetItself) {
  const auto walk = [](bool once, int64_t walks) {
    return Written([&](StageBuilder& b, int a) {
             b.open_for(constant(0), constant(walks));
             const Int i = b.open_for(constant(0), constant(9));
             b.open_if(i, constant(8));
             b.open_else(once);
             fill(b, a), read(b, a);
             b.close();
             b.close();
             b.close();
           })
        .barriers();
  };
  EXPECT_EQ(walk(true, 1), 1);
  EXPECT_EQ(walk(true, 2), 2);
  EXPECT_EQ(walk(false, 1), 2);
}

/// Zeros at the places of groups are not stored by the threads that store the groups' sums.
TEST(Barriers, SumsOfGroupsAreNotLanes) {
  const auto sums = [](StageBuilder& b, int a) {
    const Int i = b.open_for(constant(0), constant(2));
    b.store_array(a, i * 8, b.number(0));
    b.close();
    const Value x = b.load(0, constant(0), constant(1));
    b.reduce_into(a, constant(0), 8, 1, {x, x, x, x, x, x, x, x});
    read(b, a);
  };
  EXPECT_EQ(Written(sums).barriers(), 2);
}

TEST(SharedArrays, SumsOfGroupsComeFirst) {
  const auto sums = [](StageBuilder& b, int a) {
    const int large = b.array("sums", 16, false, false);
    fill(b, a), read(b, a);
    const Value x = b.load(0, constant(0), constant(1));
    b.reduce_into(large, constant(0), 8, 1, {x, x, x, x, x, x, x, x});
    read(b, large);
  };
  const Written both(sums), one(sums, 16, 64), none(sums, 16, 63);
  EXPECT_EQ(both.count(StmtKind::ReduceInto), 1);
  EXPECT_EQ(both.threads.stages[0].arrays[0].space, Space::shared);
  EXPECT_EQ(one.count(StmtKind::ReduceInto), 1);
  EXPECT_EQ(one.threads.stages[0].arrays[0].space, Space::scratch);
  EXPECT_EQ(one.threads.stages[0].arrays[1].space, Space::shared);
  EXPECT_EQ(none.count(StmtKind::ReduceInto), 0);
  EXPECT_EQ(none.count(StmtKind::Reduce), 8);
  EXPECT_EQ(none.barriers(), 0);
}

/// a[team] = x[team], through an element that each team has for itself.
void fill_by_teams(StageBuilder& b, int a) {
  const int own = b.array("own", 8, false, false);
  const Int team = b.open_for_teams(constant(16));
  b.store_array(own, constant(3), b.load(0, team));
  b.store_array(a, team, b.load_array(own, constant(3)));
  b.close();
}

TEST(Teams, ShareWhatEachIterationStoresForItself) {
  const Written once([](StageBuilder& b, int a) { fill_by_teams(b, a), copy_out(b, a, constant(16)); }, 16, 1024, 3);
  EXPECT_EQ(threads_of(once.threads, once.threads.stages[0]), 3 * kWidth);
  EXPECT_EQ(once.threads.stages[0].arrays[0].space, Space::shared);
  EXPECT_EQ(once.threads.stages[0].arrays[1].space, Space::scratch) << "or a team would find another's";
  EXPECT_EQ(once.barriers(), 1);
  const auto rounds = [](StageBuilder& b, int a) {
    b.open_for(constant(0), constant(2));
    fill_by_teams(b, a);
    copy_out(b, a, constant(16));
    b.close();
  };
  EXPECT_EQ(Written(rounds, 16, 1024, 3).barriers(), 2);
}

TEST(Teams, DoNotExchangeWithinALoop) {
  const auto exchange = [](StageBuilder& b, int a) {
    const Int team = b.open_for_teams(constant(8));
    b.store_array(a, team, b.load(0, team));
    b.store(1, team, b.load_array(a, team + 8));
    b.close();
  };
  EXPECT_THROW(Written(exchange, 16, 1024, 2), InternalError);
}

/// Neighbouring loops for other threads: their iterations are no longer those of the same thread.
TEST(Spread, LoopsFromDifferentThreads) {
  const auto loops = [](int64_t first) {
    return [first](StageBuilder& b, int a) {
      fill(b, a);
      const Int i = b.open_for(constant(0), constant(16), 1, false, first);
      b.store(1, i, b.load_array(a, i));
      b.close();
    };
  };
  EXPECT_EQ(Written(loops(0)).barriers(), 0);
  EXPECT_EQ(Written(loops(16)).barriers(), 1);
}

/// Tiles of 8 steps, of which the last may be short: y[step] = x[step], lanes being neighbours.
Kernel tiles(int tiles_ahead) {
  Kernel kernel;
  kernel.name = "k";
  kernel.sizes = {"L"};
  kernel.buffers = {{"x", DType::bf16, false}, {"y", DType::f32, true}};
  kernel.schedule.width = kWidth;
  kernel.schedule.tiles_ahead = tiles_ahead;
  Stage& stage = kernel.stages.emplace_back();
  stage.name = "s";
  stage.tasks = constant(1);
  StageBuilder b(stage);
  const Int length = std::make_shared<IntNode>(IntNode{IntOp::Size, 0, nullptr, nullptr});
  const auto steps = [&](const Int& first, const Int& end, bool unroll) {
    const Int step = b.open_for(constant(0), end, 1, unroll);
    const Int at = (first + step) * kWidth;
    b.store(1, at, b.load(0, at, constant(1)), constant(1));
    b.close();
  };
  const Int tile = b.open_for(constant(0), (length + 7) / 8);
  b.open_if(constant(7), length - tile * 8);
  steps(tile * 8, constant(8), true);
  b.open_else(true);
  steps(tile * 8, length - tile * 8, false);
  b.close();
  b.close();
  verify(kernel);
  return for_threads(kernel, 1024);
}

TEST(TilesAhead, WholeTilesAreFetchedOneBefore) {
  const auto count = [](const Kernel& kernel, StmtKind kind) {
    return Written::count(kernel.stages[0].body, kind);
  };
  EXPECT_EQ(count(tiles(0), StmtKind::Fetch), 0);
  // Before the first tile, behind a whole one, and before a short one.
  const Kernel one = tiles(1);
  verify(one);
  EXPECT_EQ(count(one, StmtKind::Fetch), 3);
  EXPECT_EQ(count(one, StmtKind::Prefetch), 0);
  EXPECT_EQ(count(one, StmtKind::Load), 1) << "that of the short tile";
  EXPECT_EQ(one.stages[0].arrays.back().dtype, DType::bf16) << "as it lies in memory";
  const Kernel three = tiles(3);
  verify(three);
  EXPECT_EQ(count(three, StmtKind::Prefetch), 1);
}

/// Tiles of 8 steps that stage 8 numbers of each, out of rows of so many: a[number * 8 + step], which each lane reads.
Kernel staged_tiles(int copies_ahead, int64_t row, int64_t first, int64_t shared_bytes) {
  Kernel kernel;
  kernel.name = "k";
  kernel.sizes = {"L"};
  kernel.buffers = {{"x", DType::bf16, false}, {"y", DType::f32, true}};
  kernel.schedule.width = kWidth;
  kernel.schedule.copies_ahead = copies_ahead;
  Stage& stage = kernel.stages.emplace_back();
  stage.name = "s";
  stage.tasks = constant(1);
  StageBuilder b(stage);
  const Int length = std::make_shared<IntNode>(IntNode{IntOp::Size, 0, nullptr, nullptr});
  const auto steps = [&](const Int& t0, const Int& end) {
    const int a = b.array("a", 64, false, false);
    const Int number = b.open_for(constant(0), constant(8)), step = b.open_for(constant(0), end);
    b.store_array(a, number * 8 + step, b.load(0, (t0 + step) * row + (number + first)));
    b.close();
    b.close();
    const Int s = b.open_for(constant(0), end);
    b.store(1, (t0 + s) * kWidth, b.load_array(a, s), constant(1));
    b.close();
  };
  const Int tile = b.open_for(constant(0), (length + 7) / 8);
  b.open_if(constant(7), length - tile * 8);
  steps(tile * 8, constant(8));
  b.open_else(true);
  steps(tile * 8, length - tile * 8);
  b.close();
  b.close();
  verify(kernel);
  Kernel threads = for_threads(kernel, shared_bytes);
  verify(threads);
  return threads;
}

/// y = sums of neighbours in a matrix w of parameters, times x. A task reads 4 rows of w, 4096 elements apart.
Kernel early_kernel() {
  Kernel kernel;
  kernel.name = "k";
  kernel.buffers = {{"w", DType::bf16, false, true}, {"x", DType::f32, false}, {"y", DType::f32, true}};
  kernel.schedule.width = kWidth;
  kernel.schedule.begins_early = true;
  Stage& stage = kernel.stages.emplace_back();
  stage.name = "s";
  stage.tasks = constant(8);
  StageBuilder b(stage);
  const Int row = b.open_for(b.task(), min(b.task() + 1, constant(8)));  // of the task itself
  const Int block = b.open_for(constant(0), constant(4), 1, true), part = b.open_for(constant(0), constant(2), 1, true);
  const std::vector<Value> w = b.load_block(0, row % 8 * 256 + (block * 4096 + part * (kWidth * 2)), 2);
  const Value x = b.load(1, part * kWidth, constant(1));
  b.store(2, row * 512 + block * kWidth, b.apply(Op::Mul, {b.apply(Op::Add, {w[0], w[1]}), x}), constant(1));
  for (int i = 0; i < 3; ++i) b.close();
  return kernel;
}

TEST(BeginsEarly, BringsParametersNearAndWaits) {
  const Kernel threads = for_threads(early_kernel(), 1024);
  verify(threads);
  const Block& body = threads.stages[0].body;
  ASSERT_EQ(body.size(), 3U);
  ASSERT_EQ(body[0].kind, StmtKind::For) << "over lines";
  EXPECT_TRUE(body[0].spread);
  int64_t lines = 0;
  ASSERT_TRUE(is_constant(body[0].end, &lines));
  EXPECT_EQ(lines, 4 * 256 * 2 / 128) << "two parts of a row are neighbours, rows are not";
  std::set<int64_t> first_elements;
  for (int64_t line = 0; line < lines; ++line) {
    std::vector<int64_t> vars(static_cast<size_t>(threads.stages[0].vars));
    vars[0] = 3;  // the task
    vars[static_cast<size_t>(body[0].var)] = line;
    first_elements.insert(evaluate(body[0].body[0].offset, vars, {}));
  }
  std::set<int64_t> wanted;
  for (int64_t block = 0; block < 4; ++block)
    for (int64_t line = 0; line < 4; ++line) wanted.insert(3 * 256 + block * 4096 + line * 64);
  EXPECT_EQ(first_elements, wanted);
  EXPECT_EQ(body[1].kind, StmtKind::AwaitKernels);
}

TEST(BeginsEarly, NothingElseComesBeforeItWaits) {
  Kernel threads = for_threads(early_kernel(), 1024);
  Block& body = threads.stages[0].body;
  std::swap(body[1], body[2]);
  EXPECT_THROW(verify(threads), InternalError) << "memory is touched first";
  std::swap(body[1], body[2]);
  body.push_back(body[1]);
  EXPECT_THROW(verify(threads), InternalError) << "twice";
}

TEST(BeginsEarly, OnlyParametersAreBroughtNear) {
  Kernel kernel = early_kernel();
  kernel.buffers[0].parameter = false;
  const Kernel threads = for_threads(kernel, 1024);
  EXPECT_EQ(threads.stages[0].body[0].kind, StmtKind::AwaitKernels);
}

TEST(CopiesAhead, OfWhatWholeTilesStage) {
  const auto count = [](const Kernel& kernel, StmtKind kind) {
    return Written::count(kernel.stages[0].body, kind);
  };
  const Kernel none = staged_tiles(0, 16, 8, 4096);
  EXPECT_EQ(count(none, StmtKind::CopyAsync), 0);
  for (const int ring : {1, 3}) {
    const Kernel copies = staged_tiles(ring, 16, 8, 4096);
    // Before the first tile, behind a whole one, and before a short one.
    EXPECT_EQ(count(copies, StmtKind::CopyAsync), ring + 2);
    EXPECT_EQ(count(copies, StmtKind::CommitCopies), ring + 2);
    EXPECT_EQ(count(copies, StmtKind::WaitCopies), 1);
    EXPECT_EQ(count(copies, StmtKind::Load), 1) << "that of the short tile";
    EXPECT_EQ(count(copies, StmtKind::Barrier), count(none, StmtKind::Barrier)) << "no barrier more";
    EXPECT_EQ(copies.stages[0].arrays.back().dtype, DType::bf16) << "as it lies in memory";
    EXPECT_EQ(copies.stages[0].arrays.back().count, ring * 64);
  }
  const std::string text = print(staged_tiles(3, 16, 8, 4096));
  for (const char* part : {"copy x.ring[", "commit copies", "wait for copies but 2 groups"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  for (const auto& [row, first] : {std::pair{17, 8}, {16, 4}})
    EXPECT_EQ(count(staged_tiles(1, row, first, 4096), StmtKind::CopyAsync), 0) << "not at multiples of 16 bytes";
  EXPECT_EQ(count(staged_tiles(1, 16, 8, 512 + 127), StmtKind::CopyAsync), 0) << "128 bytes have no room";
  EXPECT_EQ(count(staged_tiles(1, 16, 8, 512 + 128), StmtKind::CopyAsync), 3);
}

TEST(Bounds, OfProductsThatAreTooLargeIsNotKnown) {
  const std::map<Var, int64_t> largest{{0, INT64_C(1) << 30}};
  const Int i = variable(0), square = i * i;
  EXPECT_EQ(upper_bound(less(constant(0), i) * i, largest), INT64_C(1) << 30);
  EXPECT_EQ(upper_bound(square, largest), std::nullopt);
  EXPECT_EQ(upper_bound(i * 2048 * 2048 * 4096, largest), std::nullopt);
  EXPECT_EQ(upper_bound(min(square, constant(7)), largest), 7);
}

TEST(CopiesAhead, OfAllLanesAlikeAreRejected) {
  Kernel kernel = staged_tiles(1, 16, 8, 4096);
  Block& before = kernel.stages[0].body[0].body[0].body;  // if there is a tile, and it is whole
  ASSERT_EQ(before[0].body[0].kind, StmtKind::CopyAsync);
  before[0].spread = false;
  EXPECT_THROW(verify(kernel), InternalError);
  before[0].spread = true;
  EXPECT_NO_THROW(verify(kernel));
  before[0].body[0].array = 0;  // of f32
  EXPECT_THROW(verify(kernel), InternalError);
}

TEST(Banks, LanesOfAChannelReadDifferentOnes) {
  Kernel kernel;
  kernel.name = "k";
  kernel.buffers = {{"x", DType::f32, false}, {"y", DType::f32, true}};
  kernel.schedule.width = kWidth;
  kernel.schedule.pieces = 2;
  Stage& stage = kernel.stages.emplace_back();
  stage.name = "s";
  stage.tasks = constant(1);
  stage.pieces = 2;
  StageBuilder b(stage);
  const int a = b.array("a", 128, false, false);
  fill(b, a, 128);
  const Int i = b.open_for(constant(0), constant(64), 1, true);
  b.store(1, piece(2) * 64 + i, b.load_array(a, piece(2) * 64 + i), constant(128));
  b.close();
  verify(kernel);
  const Kernel threads = for_threads(kernel, 1024);
  verify(threads);
  const Array& moved = threads.stages[0].arrays[static_cast<size_t>(a)];
  EXPECT_GT(moved.count, 128);
  EXPECT_NE(moved.count / 2 % 32, 0) << "the pieces begin in different banks";
}

TEST(Bounds, OfTheLeastValue) {
  const Int size = std::make_shared<IntNode>(IntNode{IntOp::Size, 0, nullptr, nullptr});
  EXPECT_EQ(lower_bound((size + 7) / 8), 1);
  EXPECT_EQ(lower_bound(size * 3 - 4), -1);
  EXPECT_EQ(lower_bound(min(size, constant(0))), 0);
  EXPECT_EQ(lower_bound(max(variable(1), constant(2))), 2);
  EXPECT_EQ(lower_bound(variable(1) + 1), std::nullopt);
  EXPECT_EQ(lower_bound(constant(3) - size), std::nullopt);
}

}  // namespace
