// `mambac diff`, the recorded kernels, and what an edit of a model changes in its dumps.
#include <cctype>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "frontend/model.h"
#include "tests/tools_support.h"
#include "tools/compile.h"
#include "tools/cuda_kernels.h"
#include "tools/kernel_set.h"
#include "tools/text_diff.h"

namespace mambac::test {
namespace {

using namespace tools;
using Json = nlohmann::json;

// ---- texts ----------------------------------------------------------------------------------------------------------

TEST(TextDiff, FindsWhatWasChangedAndNoMore) {
  const auto found = [](std::string_view a, std::string_view b) { return hunks(lines_of(a), lines_of(b)); };
  EXPECT_TRUE(found("", "").empty());
  EXPECT_TRUE(found("a\nb\n", "a\nb\n").empty());
  EXPECT_EQ(found("a\nb\nc\n", "a\nx\nc\n"), (std::vector<Hunk>{{1, 2, 1, 2}}));
  EXPECT_EQ(found("", "x\n"), (std::vector<Hunk>{{0, 0, 0, 1}}));
  EXPECT_EQ(found("}\n}\n}\n", "}\n}\n"), (std::vector<Hunk>{{2, 3, 2, 2}}));
  // A line that moved, and lines that are there several times.
  EXPECT_EQ(found("a\n}\nb\n}\nc\n}\n", "a\n}\nc\n}\n"), (std::vector<Hunk>{{2, 4, 2, 2}}));
}

/// Both texts come back from their common lines and the hunks, whatever they are; nothing that is the same is in a hunk
/// from end to end.
TEST(TextDiff, OfRandomTexts) {
  unsigned state = 1;
  const auto random = [&](unsigned below) { return (state = state * 1664525 + 1013904223) / 65536 % below; };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> words;
    for (unsigned i = 0; i < 1 + random(12); ++i) words.push_back(std::string(1, static_cast<char>('a' + i)));
    std::vector<std::string_view> a, b;
    for (unsigned i = 0; i < random(40); ++i) a.push_back(words[random(static_cast<unsigned>(words.size()))]);
    for (const std::string_view line : a) {
      if (random(5) == 0) b.push_back(words[random(static_cast<unsigned>(words.size()))]);
      if (random(5) != 0) b.push_back(line);
    }
    size_t at_a = 0, at_b = 0;
    for (const Hunk& hunk : hunks(a, b)) {
      ASSERT_TRUE(std::equal(a.begin() + at_a, a.begin() + hunk.begin_a, b.begin() + at_b, b.begin() + hunk.begin_b));
      ASSERT_TRUE(hunk.begin_a < hunk.end_a || hunk.begin_b < hunk.end_b);
      at_a = hunk.end_a;
      at_b = hunk.end_b;
    }
    ASSERT_TRUE(std::equal(a.begin() + at_a, a.end(), b.begin() + at_b, b.end()));
  }
}

/// The same text as diff(1) writes, but for its time stamps.
TEST(TextDiff, IsUnified) {
  const TemporaryFolder folder;
  std::string a, b;
  for (int i = 0; i < 60; ++i) {
    a += "line " + std::to_string(i) + "\n";
    if (i != 7 && i != 50) b += "line " + std::to_string(i) + (i == 12 || i == 30 ? " other" : "") + "\n";
  }
  b += "last\n";
  folder.write("a", a);
  folder.write("b", b);
  EXPECT_EQ(unified_diff(a, b, "a", "b"), shell(folder, "diff -u --label a --label b a b").out);
  EXPECT_EQ(unified_diff(a, a, "a", "b"), "");
}

// ---- kernels --------------------------------------------------------------------------------------------------------

TEST(KernelSet, NamesAndCommentsDoNotCount) {
  const KernelText one = kernel_text("f", "kernel f  # width=16\n  # sum, m.mb:3:4\n  v0 = 1\n");
  EXPECT_EQ(one.content, kernel_text("g", "kernel g  # width=8\n  # sum, m.mb:9:4\n\n  v0 = 1\n").content);
  EXPECT_NE(one.content, kernel_text("f", "kernel f  # width=16\n  v0 = 2\n").content);
  const KernelText other = kernel_text("f", "kernel f\n  v0 = 3\n"), third = kernel_text("h", "kernel h\n  v1 = 1\n");
  const KernelChanges changes = compare_kernels({one, one, third}, {other, one, other});
  EXPECT_EQ(changes.same, 1);
  ASSERT_EQ(changes.changed.size(), 1u);
  EXPECT_EQ(changes.vanished.size(), 1u);
  EXPECT_EQ(changes.appeared.size(), 1u);
  EXPECT_EQ(changes.vanished[0].name, "h");
}

// ---- the command ----------------------------------------------------------------------------------------------------

const std::string kModel =
    "free B, L\nmodel m<E = 4>(x: [B, L, E]) {\n  h = scan<L>(0.5, exp(x))\n  return y = tanh(h)\n}\n";

TEST(Diff, OfModels) {
  const TemporaryFolder folder;
  folder.write("a.mb", kModel);
  folder.write("b.mb", "# The same, elsewhere.\n\n" + kModel);
  folder.write("c.mb", std::string(kModel).replace(kModel.find("tanh"), 4, "sqrt"));
  const std::string options = " --graph prefill";
  const Outcome same = shell(folder, "mambac diff a.mb b.mb" + options);
  EXPECT_EQ(same.code, 0) << same.out << same.error;
  EXPECT_EQ(same.out, "kernels: 1 the same, 0 changed, 0 vanished, 0 appeared\n");
  EXPECT_EQ(shell(folder, "mambac diff a.mb b.mb --places" + options).code, 1);

  const Outcome other = shell(folder, "mambac diff a.mb c.mb" + options);
  EXPECT_EQ(other.code, 1) << other.error;
  EXPECT_NE(other.out.find("-  y: f32[B, L, E] = tanh(h)\n+  y: f32[B, L, E] = sqrt(h)\n"), std::string::npos)
      << other.out;
  EXPECT_EQ(other.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(shell(folder, "mambac diff a.mb c.mb --device cuda" + options).code, 1);
}

TEST(Diff, OfFoldersAndFiles) {
  const TemporaryFolder folder;
  folder.write("m.mb", kModel);
  const std::string dump = "mambac dump m.mb --graph prefill --stage all --out ";
  succeed(folder, dump + "a; " + dump + "b; sed -i 's/0.5/0.25/' m.mb; " + dump + "c");
  EXPECT_EQ(shell(folder, "mambac diff a b").code, 0);
  const Outcome outcome = shell(folder, "mambac diff a c --json");
  EXPECT_EQ(outcome.code, 1) << outcome.error;
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(report.at("changed"), true);
  ASSERT_EQ(report.at("kernels").at("changed").size(), 1u);
  EXPECT_EQ(report.at("kernels").at("same"), 0);
  EXPECT_NE(report.at("kernels").at("changed")[0].at("diff").get<std::string>().find("0.25"), std::string::npos);
  EXPECT_EQ(report.at("texts")[0].at("name"), "00-source.mb");
  EXPECT_FALSE(Json::parse(shell(folder, "mambac diff a c --json --brief").out).at("texts")[0].contains("diff"));

  const Outcome stages = shell(folder, "mambac diff a/00-source.mb a/03-state.mb");
  EXPECT_EQ(stages.code, 1);
  EXPECT_NE(stages.out.find("\n+  state.0.h: f32[B, E] = input()\n"), std::string::npos) << stages.out;
  EXPECT_EQ(shell(folder, "mambac diff a/12-kernels.txt b/12-kernels.txt").out,
            "kernels: 1 the same, 0 changed, 0 vanished, 0 appeared\n");
}

/// Sources of a GPU's kernels, each in its file.
TEST(Diff, OfCompiledKernels) {
  const TemporaryFolder folder;
  folder.write("a/f_fwd.cu", "// f_fwd\nMB_KERNEL(32, 16) f_fwd(\n  int a;\n");
  folder.write("a/index.json", "{}");
  folder.write("b/g_fwd.cu", "// g_fwd\nMB_KERNEL(32, 16) g_fwd(\n  int a;\n");
  folder.write("b/index.json", "{}");
  folder.write("b/h_fwd.cu", "MB_KERNEL(32, 16) h_fwd(\n");
  const Outcome outcome = shell(folder, "mambac diff a b --brief");
  EXPECT_EQ(outcome.code, 1) << outcome.error;
  EXPECT_TRUE(outcome.out.starts_with("appeared  h_fwd  ")) << outcome.out;
  EXPECT_TRUE(outcome.out.ends_with("\nkernels: 1 the same, 0 changed, 0 vanished, 1 appeared\n")) << outcome.out;
}

TEST(Diff, TakesNoMistakeForAnAnswer) {
  const TemporaryFolder folder;
  succeed(folder, "mkdir empty");
  for (const char* sides : {"nothing mambabyte:tiny", "empty empty", "mambabyte:tiny mambabyte:tiny --stage fusion",
                            "mambabyte:tiny mambabyte:tiny --device tpu", "mambabyte:tiny"}) {
    const Outcome outcome = shell(folder, std::string("mambac diff ") + sides);
    EXPECT_EQ(outcome.code, 2) << sides << outcome.error;
    EXPECT_TRUE(outcome.error.starts_with("mambac: ")) << outcome.error;
  }
}

// ---- the recorded kernels -------------------------------------------------------------------------------------------

using Recorded = std::map<std::string, std::vector<KernelText>>;  // "mambabyte:tiny train cpu f32"

constexpr int kWidth = 16;  // of the CPU's vectors, on any machine

std::vector<KernelText> kernels_made(const Model& model, GraphKind kind, DeviceKind device, DType storage) {
  PipelineOptions options = options_for(kind, storage, {});
  if (device == DeviceKind::gpu) options = for_gpu(options);
  const Graph fused = run_pipeline(source_graph(model, kind), options).graph;
  const auto cpu_schedule = [](const Graph& graph, int number) { return default_schedule(graph, number, {kWidth}); };
  return kernels_of(fused, device == DeviceKind::gpu ? Program::Scheduler(default_gpu_schedule) : cpu_schedule, device);
}

Recorded all_made() {
  Recorded made;
  for (const std::string name : {"mambabyte:tiny", "mamba-lm:tiny", "s5-diagonal:tiny", "mingru:tiny", "rg-lru:tiny"}) {
    const Model model = load_model(name);
    for (const GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step})
      for (const DType storage : {DType::f32, DType::bf16})
        for (const auto& [device, word] : {std::pair{DeviceKind::cpu, "cpu"}, {DeviceKind::gpu, "gpu"}})
          made[name + " " + std::string(name_of(kind)) + " " + word + " " + name_of(storage)] =
              kernels_made(model, kind, device, storage);
  }
  return made;
}

Recorded read_recorded(const std::string& text) {
  Recorded recorded;
  std::vector<KernelText>* kernels = nullptr;
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] != ' ') {
      kernels = &recorded[line];
      continue;
    }
    std::stringstream words(line);
    KernelText kernel;
    words >> kernel.content >> kernel.name;
    kernels->push_back(kernel);
  }
  return recorded;
}

std::string recorded_text(const Recorded& recorded) {
  std::string text =
      "# The kernels of the tiny presets: a hash of what each does (tools/kernel_set.h) and its name. Written by\n"
      "#   MAMBAC_WRITE_EXPECTATIONS=1 build/tests/tools_diff_test --gtest_filter='Recorded*'\n";
  for (const auto& [graph, kernels] : recorded) {
    text += "\n" + graph + "\n";
    for (const KernelText& kernel : kernels) text += "  " + kernel.content + "  " + kernel.name + "\n";
  }
  return text;
}

/// A change of the compiler that is to leave code alone leaves this file alone. What became of a kernel that changed is
/// seen by `mambac diff` on the folders of two builds' `mambac dump --stage all --out`.
TEST(RecordedKernels, AreThoseOfTheTinyPresets) {
  const std::string file = MAMBAC_RECORDED_KERNELS;
  const Recorded made = all_made();
  if (std::getenv("MAMBAC_WRITE_EXPECTATIONS")) {
    std::ofstream(file) << recorded_text(made);
    return;
  }
  const Recorded recorded = read_recorded(contents(file));
  EXPECT_EQ(recorded.size(), made.size());
  for (const auto& [graph, kernels] : made) {
    const auto before = recorded.find(graph);
    ASSERT_NE(before, recorded.end()) << graph << " is not recorded";
    EXPECT_FALSE(kernels.empty()) << graph;
    const KernelChanges changes = compare_kernels(before->second, kernels);
    EXPECT_FALSE(changes.any()) << graph << ":\n" << text_of(changes);
  }
}

// ---- an edit of one line --------------------------------------------------------------------------------------------

/// The words of a dumped line that may be names.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words(1);
  for (const char c : line.substr(0, line.find("  @ "))) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.')
      words.back() += c;
    else if (!words.back().empty())
      words.emplace_back();
  }
  return words;
}

/// "u" of "u", "u.2" and "u.2.grad.1", as values of other layers and gradients are called.
bool is_of(const std::string& word, const std::string& name) {
  return word == name || word.starts_with(name + ".");
}

struct Edit {
  const char* what;
  std::string file, from, to;
  std::string value;                  // that the line defines
  std::vector<std::string> operands;  // whose gradients come from that line, too
  size_t most;                        // lines of a stage that may differ
};

void PrintTo(const Edit& edit, std::ostream* out) {
  *out << edit.what;
}

/// Whether a line is about the values of the edited line: it makes one, reads one, or is of a gradient that leaves it.
bool belongs_to(const Edit& edit, std::string_view line) {
  for (const std::string& word : words_of(line)) {
    if (is_of(word, edit.value)) return true;
    for (const std::string& operand : edit.operands)
      if (is_of(word, operand) && word.find(".grad") != std::string::npos) return true;
  }
  return false;
}

std::map<std::string, std::string> stages_of(const TemporaryFolder& folder) {
  std::map<std::string, std::string> stages;
  const Json dump = Json::parse(succeed(folder, "mambac dump m/mambabyte.mb:tiny --graph train --stage all --json"));
  for (const Json& stage : dump.at("stages"))
    if (stage.contains("point")) stages[stage.at("name")] = stage.at("text");
  return stages;
}

class EditOfALine : public testing::TestWithParam<Edit> {};

TEST_P(EditOfALine, ChangesItsHunksOnly) {
  const Edit& edit = GetParam();
  const TemporaryFolder folder;
  for (const std::string file : {"mambabyte.mb", "mamba.mb"})
    folder.write("m/" + file, contents(std::filesystem::path(MAMBAC_MODELS) / file));
  const auto before = stages_of(folder);
  std::string text = contents(folder / edit.file);
  ASSERT_NE(text.find(edit.from), std::string::npos);
  folder.write(edit.file, text.replace(text.find(edit.from), edit.from.size(), edit.to));
  const auto after = stages_of(folder);

  ASSERT_GE(before.size(), 6u);
  ASSERT_EQ(before.size(), after.size());
  for (const auto& [stage, old] : before) {
    const std::vector<std::string_view> a = lines_of(old), b = lines_of(after.at(stage));
    const std::vector<Hunk> found = hunks(a, b);
    EXPECT_FALSE(found.empty()) << stage;
    size_t lines = 0;
    const auto expect_to_belong = [&](std::string_view line, size_t kernel_lines) {
      ++lines;
      if (!line.starts_with("kernel "))
        EXPECT_TRUE(belongs_to(edit, line)) << stage << ": " << line;
      else
        EXPECT_LE(kernel_lines, 8u) << stage << ": " << line;
    };
    for (const Hunk& hunk : found) {
      for (size_t i = hunk.begin_a; i < hunk.end_a; ++i) expect_to_belong(a[i], hunk.end_a - hunk.begin_a);
      for (size_t i = hunk.begin_b; i < hunk.end_b; ++i) expect_to_belong(b[i], hunk.end_b - hunk.begin_b);
    }
    EXPECT_LE(lines, edit.most) << stage;
  }
}

INSTANTIATE_TEST_SUITE_P(
    OfMambabyte, EditOfALine,
    testing::Values(Edit{"another activation", "m/mamba.mb", "dt  = softplus(", "dt  = exp(", "dt", {"low"}, 50},
                    Edit{"the epsilon of a norm",
                         "m/mambabyte.mb",
                         "dot<E>(layer_norm<E>(r)",
                         "dot<E>(layer_norm<E, 1e-6>(r)",
                         "logits",
                         {},
                         5},
                    Edit{"one more skip", "m/mamba.mb", "+ skip * u", "+ skip * u + u", "y", {"u"}, 40}));

}  // namespace
}  // namespace mambac::test
