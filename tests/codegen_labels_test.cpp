// From generated code back to the model: statements, lines of text and instructions know what they are there for, and
// nothing else knows that they do.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/labelled.h"
#include "codegen/llvm_jit.h"
#include "codegen/lower.h"
#include "codegen/threads.h"
#include "frontend/model.h"
#include "frontend/shipped.h"
#include "passes/pipeline.h"

namespace mambac {
namespace {

using loop::Block;
using loop::Kernel;
using loop::Origin;
using loop::Stmt;
using loop::StmtKind;

Graph source_graph(const Model& model, GraphKind kind) {
  return kind == GraphKind::train ? training_graph(model) : inference_graph(model);
}

Graph fused_graph(const Model& model, GraphKind kind) {
  PipelineOptions options;
  options.kind = kind;
  return run_pipeline(source_graph(model, kind), options).graph;
}

Graph fused_graph(const std::string& model, GraphKind kind) {
  return fused_graph(load_model(model), kind);
}

bool is_walk(const Graph& fused, int number) {
  return fused.kernels[static_cast<size_t>(number)].kind == KernelGroup::walk;
}

using Change = std::function<void(const Graph&, int, Schedule&)>;

std::map<int, Kernel> lowered_kernels(const Graph& fused, DeviceKind device, const Change& change = {}) {
  const Layouts layouts(fused);
  std::map<int, Kernel> kernels;
  for (int k = 0; k < static_cast<int>(fused.kernels.size()); ++k) {
    if (fused.kernels[static_cast<size_t>(k)].kind == KernelGroup::library) continue;
    Schedule schedule = device == DeviceKind::gpu ? default_gpu_schedule(fused, k)
                                                  : default_schedule(fused, k, {Jit::host().native_width()});
    if (change) change(fused, k, schedule);
    kernels[k] = lower(fused, layouts, k, schedule, device).kernel;
  }
  return kernels;
}

template <typename Visit>
void each_statement(const Block& statements, const Visit& visit) {
  for (const Stmt& s : statements) {
    visit(s);
    each_statement(s.body, visit);
    each_statement(s.otherwise, visit);
  }
}

template <typename Visit>
void each_statement(const Kernel& kernel, const Visit& visit) {
  for (const loop::Stage& stage : kernel.stages) each_statement(stage.body, visit);
}

/// As it would be if nobody knew of origins.
Kernel without_origins(Kernel kernel) {
  const std::function<void(Block&)> clear = [&](Block& statements) {
    for (Stmt& s : statements) {
      s.origin = -1;
      clear(s.body);
      clear(s.otherwise);
    }
  };
  for (loop::Stage& stage : kernel.stages) {
    stage.origin = -1;
    clear(stage.body);
  }
  kernel.origins.clear();
  return kernel;
}

/// Whether the name is of the mean that training adds to a definition without a loss, or of its gradient.
bool is_added_mean(const Graph& fused, const std::string& name) {
  const auto loss = fused.find("loss");
  if (!loss || fused.node(*loss).location.known()) return false;
  return name == "loss" || name.starts_with("loss.grad.") || name == fused.node(fused.node(*loss).operands[0]).name;
}

/// Whether the origin is a node of the graph, on a line that a shipped definition has.
bool is_in_model(const Graph& fused, const Origin& origin) {
  const auto node = fused.find(origin.name);
  if (!node || name_of(fused.node(*node).op) != origin.op) return false;
  if (fused.node(*node).location.str() != origin.location.str()) return false;
  if (!origin.location.known()) return is_added_mean(fused, origin.name);
  const EmbeddedFile* file = find_embedded(shipped_models(), *origin.location.file);
  return file != nullptr &&
         origin.location.line <= std::count(file->text.begin(), file->text.end(), '\n');
}

constexpr const char* kModels[] = {"mambabyte:tiny", "mamba-lm:tiny", "s5-diagonal:tiny", "mingru:tiny", "rg-lru:tiny"};
constexpr GraphKind kKinds[] = {GraphKind::train, GraphKind::prefill, GraphKind::step};

bool has_step_form(const std::string& model) {
  return model != "s5-diagonal:tiny";
}

/// Arithmetic is of a node; in a walk everything is of something, also what rewriting for threads made.
void expect_origins(const Graph& fused, int number, const Kernel& kernel, const std::string& where,
                    std::set<StmtKind>& seen) {
  const bool walk = is_walk(fused, number);
  each_statement(kernel, [&](const Stmt& s) {
    seen.insert(s.kind);
    if (s.kind == StmtKind::AwaitKernels) return;
    ASSERT_FALSE(s.origin < 0 && (walk || s.kind == StmtKind::Apply)) << where << "\n" << loop::print(kernel);
    if (s.origin < 0) return;
    const Origin& origin = kernel.origins.at(static_cast<size_t>(s.origin));
    EXPECT_TRUE(is_in_model(fused, origin)) << where << ": " << label_text(origin);
    EXPECT_FALSE(origin.shared && s.kind == StmtKind::Apply) << where << ": " << label_text(origin);
  });
}

TEST(Origins, OfShippedModels) {
  std::set<StmtKind> seen;
  for (const std::string model : kModels)
    for (const GraphKind kind : kKinds) {
      if (kind == GraphKind::step && !has_step_form(model)) continue;
      const Graph fused = fused_graph(model, kind);
      const std::string where = model + " " + std::string(name_of(kind));
      for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::cpu))
        expect_origins(fused, number, kernel, where, seen);
      for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::gpu))
        expect_origins(fused, number, for_threads(kernel, cuda_emit::kSharedBytes), where + " on a GPU", seen);
    }
  for (const StmtKind kind : {StmtKind::Apply, StmtKind::Reduce, StmtKind::Barrier, StmtKind::If})
    EXPECT_TRUE(seen.count(kind)) << static_cast<int>(kind);
}

/// What brings the memory of later tiles near is there for what reads it.
TEST(Origins, StayWithWhatIsFetchedAhead) {
  Model model = load_model("mambabyte:tiny");
  set(model, {{"E", 64}});  // rows of B and C are multiples of 16 bytes
  const Graph fused = fused_graph(model, GraphKind::train);
  std::set<StmtKind> seen;
  const auto ahead = [&](const Graph& graph, int number, Schedule& schedule) {
    Schedule wanted = schedule;
    wanted.staged = wanted.begins_early = true;
    wanted.copies_ahead = wanted.tiles_ahead = 2;
    if (why_illegal(graph, number, wanted, DeviceKind::gpu).empty()) schedule = wanted;
  };
  for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::gpu, ahead)) {
    const Kernel threads = for_threads(kernel, cuda_emit::kSharedBytes);
    expect_origins(fused, number, threads, kernel.name, seen);
    std::map<int, std::set<int>> readers, fetchers;  // by buffer
    each_statement(kernel, [&](const Stmt& s) {
      if (s.kind == StmtKind::Load) readers[s.buffer].insert(s.origin);
    });
    each_statement(threads, [&](const Stmt& s) {
      if (s.kind == StmtKind::Fetch || s.kind == StmtKind::CopyAsync) fetchers[s.buffer].insert(s.origin);
    });
    for (const auto& [buffer, origins] : fetchers)
      EXPECT_TRUE(std::ranges::includes(readers[buffer], origins)) << kernel.buffers[static_cast<size_t>(buffer)].name;
  }
  for (const StmtKind kind : {StmtKind::Fetch, StmtKind::CopyAsync, StmtKind::Prefetch})
    EXPECT_TRUE(seen.count(kind)) << static_cast<int>(kind);
}

/// Kernels, their names and what names them in caches (the text of loops, the text of CUDA C++) know no origins.
TEST(Origins, MakeNoKernelDiffer) {
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::gpu})
    for (const auto& [number, kernel] : lowered_kernels(fused_graph("mambabyte:tiny", GraphKind::train), device)) {
      const Kernel plain = without_origins(kernel);
      EXPECT_FALSE(kernel.origins.empty());
      EXPECT_TRUE(loop::print(kernel) == loop::print(plain)) << kernel.name;
      if (device == DeviceKind::cpu) continue;
      EXPECT_TRUE(cuda_emit::emit(kernel) == cuda_emit::emit(plain)) << kernel.name;
    }
}

/// Two layers, one code.
TEST(Origins, OfLayersThatShareCode) {
  const Graph fused = fused_graph("mambabyte:tiny", GraphKind::prefill);
  std::map<std::string, std::vector<Kernel>> equal;
  for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::cpu))
    if (is_walk(fused, number)) equal[loop::print(kernel)].push_back(kernel);
  ASSERT_EQ(equal.size(), 2u) << "the convolution and the scan";
  Jit& jit = Jit::host();
  for (const auto& [text, kernels] : equal) {
    ASSERT_EQ(kernels.size(), 2u) << text;
    EXPECT_NE(kernels[0].origins[0].name, kernels[1].origins[0].name);
    EXPECT_EQ(jit.compile(kernels[0]).stages[0].run, jit.compile(kernels[1]).stages[0].run);
  }
}

std::string text_of(const std::vector<LabelledLine>& lines) {
  std::string text;
  for (const LabelledLine& line : lines) text += line.text + "\n";
  return text;
}

/// Instructions of assembly, and how many of them have an origin of their own or share one.
struct Coverage {
  int all = 0, own = 0, shared = 0;

  void count(const Kernel& kernel, const std::vector<LabelledLine>& assembly) {
    for (const LabelledLine& line : assembly) {
      const bool instruction =
          line.text.size() > 1 && line.text[0] == '\t' && line.text[1] >= 'a' && line.text[1] <= 'z';
      EXPECT_TRUE(instruction || line.origin < 0) << line.text;
      if (!instruction) continue;
      ++all;
      if (line.origin >= 0) ++(kernel.origins.at(static_cast<size_t>(line.origin)).shared ? shared : own);
    }
  }
};

/// All text with labels is the text without them.
TEST(Labels, AreNoPartOfTheCode) {
  for (const auto& [number, kernel] :
       lowered_kernels(fused_graph("mambabyte:tiny", GraphKind::train), DeviceKind::gpu)) {
    EXPECT_TRUE(text_of(labelled_loops(kernel)) == loop::print(kernel)) << kernel.name;
    EXPECT_TRUE(text_of(labelled_cuda(kernel)) == cuda_emit::emit(kernel)) << kernel.name;
  }
}

/// The instructions are the same, and nearly all are of a line of the model.
TEST(Labels, OfTheMachineCodeOfWalks) {
  Coverage coverage;
  std::set<std::string> seen;
  for (const char* model : {"mambabyte:tiny", "mingru:tiny"}) {
    const Graph fused = fused_graph(model, GraphKind::train);
    for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::cpu)) {
      if (!is_walk(fused, number) || !seen.insert(loop::print(kernel)).second) continue;
      const Listing plain = Jit::host().list(without_origins(kernel));
      EXPECT_TRUE(plain.llvm_ir_origins.empty() && plain.assembly_origins.empty());
      const std::vector<LabelledLine> assembly = labelled_assembly(kernel);
      EXPECT_TRUE(text_of(labelled_llvm(kernel)) == plain.llvm_ir) << kernel.name;
      EXPECT_TRUE(text_of(assembly) == plain.assembly) << kernel.name;
      coverage.count(kernel, assembly);
    }
  }
  EXPECT_GE(seen.size(), 4u);
  EXPECT_GE(coverage.own + coverage.shared, coverage.all * 0.9);
  EXPECT_GE(coverage.own, coverage.all * 0.6) << coverage.shared << " of " << coverage.all << " are shared";
}

/// Rows have no walk that what several statements share could be there for.
TEST(Labels, OfTheMachineCodeOfRows) {
  const Graph fused = fused_graph("mambabyte:tiny", GraphKind::prefill);
  for (const auto& [number, kernel] : lowered_kernels(fused, DeviceKind::cpu)) {
    if (is_walk(fused, number)) continue;
    Coverage coverage;
    coverage.count(kernel, labelled_assembly(kernel));
    EXPECT_GE(coverage.own, coverage.all / 2) << kernel.name;
    EXPECT_EQ(coverage.shared, 0);
    return;
  }
}

/// y = sqrt(x), z = x - y: of which statement each instruction is.
TEST(Labels, AreThoseOfTheStatement) {
  Kernel kernel;
  kernel.name = "labels";
  kernel.schedule.width = Jit::host().native_width();
  kernel.buffers = {{"x", DType::f32}, {"y", DType::f32, true}, {"z", DType::f32, true}};
  const auto file = std::make_shared<const std::string>("m.mb");
  kernel.origins = {{"x", "param", {file, 1, 1}}, {"y", "sqrt", {file, 2, 3}}, {"z", "sub", {file, 3, 3}}};
  loop::Stage& stage = kernel.stages.emplace_back();
  stage.name = "rows";
  stage.tasks = loop::constant(4);
  loop::StageBuilder b(stage);
  const loop::Int at = b.task() * kernel.schedule.width, one = loop::constant(1);
  const auto from = [&](int origin, const auto& make) {
    const loop::OriginScope scope(b, origin);
    return make();
  };
  const loop::Value x = from(0, [&] { return b.load(0, at, one); });
  const loop::Value y = from(1, [&] { return b.apply(Op::Sqrt, {x}); });
  from(1, [&] { b.store(1, at, y, one); });
  from(2, [&] { b.store(2, at, b.apply(Op::Sub, {x, y}), one); });
  std::map<std::string, std::set<int>> origins;  // by a word of the line
  for (const auto& lines :
       {labelled_loops(kernel), labelled_cuda(kernel), labelled_llvm(kernel), labelled_assembly(kernel)})
    for (const LabelledLine& line : lines)
      for (const char* word : {"sqrt(", "sqrtps", "sub(", " - v", "fsub", "subps", "mb_load(", "load <", "store_block",
                               "retq", "ret void"})
        if (line.text.find(word) != std::string::npos) origins[word].insert(line.origin);
  for (const char* word : {"sqrt(", "sqrtps"}) EXPECT_EQ(origins[word], std::set<int>{1}) << word;
  for (const char* word : {"sub(", " - v", "fsub", "subps"}) EXPECT_EQ(origins[word], std::set<int>{2}) << word;
  for (const char* word : {"mb_load(", "load <"}) EXPECT_EQ(origins[word], std::set<int>{0}) << word;
  for (const char* word : {"retq", "ret void"}) EXPECT_EQ(origins[word], std::set<int>{-1}) << word;
}

TEST(Labels, StandAtTheRightMargin) {
  const auto file = std::make_shared<const std::string>("m.mb");
  const std::vector<Origin> origins = {
      {"h", "scan", {file, 23, 7}}, {"h", "scan", {file, 23, 7}, true}, {"new", "mul", {}}};
  EXPECT_EQ(label_text(origins[0]), "m.mb:23 h");
  EXPECT_EQ(label_text(origins[1]), "m.mb:23 walk of h");
  EXPECT_EQ(label_text(origins[2]), "new");
  EXPECT_EQ(with_labels({{"\ta", 0}, {"0123456789", 0}}, origins, "#"), "\ta   # m.mb:23 h\n0123456789  # m.mb:23 h\n");
  const std::string wide(120, 'x');
  EXPECT_EQ(with_labels({{"a", 0}, {"", -1}, {"abc", 2}}, origins, "#"), "a    # m.mb:23 h\n\nabc  # new\n");
  EXPECT_EQ(with_labels({{"a", 1}, {wide, 0}}, origins, "//"),
            "a" + std::string(101, ' ') + "// m.mb:23 walk of h\n" + wide + "  // m.mb:23 h\n");
}

}  // namespace
}  // namespace mambac
