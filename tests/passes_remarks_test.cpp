// Every reason that fusion can give has a small graph in which it gives it, as a remark or for two kernels that stay
// apart; and what it says of the shipped models names a line of them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "frontend/model.h"
#include "frontend/shipped.h"
#include "passes/pipeline.h"

namespace mambac {
namespace {

struct Told {
  Remarks remarks;
  std::vector<Apart> apart;

  std::string str() const {
    std::string text;
    for (const Remark& remark : remarks)
      text += fmt::format("remark {}: {} {} [{}]\n", remark.node, info(remark.outcome).name, remark.text,
                          info(remark.code).name);
    for (const Apart& pair : apart)
      text += fmt::format("k{} and k{}: {} [{}]\n", pair.producer, pair.consumer, pair.reason.text,
                          info(pair.reason.code).name);
    return text;
  }
};

Told told_of(const Graph& source, const PipelineOptions& options) {
  const std::vector<const Stage*> stages = stages_after("source", options.kind);
  const auto fuse_stage = std::ranges::find(stages, "fuse", &Stage::name);
  const PipelineResult before = run_stages(source, options, {stages.begin(), fuse_stage});
  Told told;
  fuse(before.graph, options.fuse, told.remarks, &told.apart);
  return told;
}

struct Case {
  ReasonCode code;
  const char* graph;
  const char* mended;        // where the remedy is one of the model: with it the reason is gone
  bool few_kernels = false;  // and no library calls of products
  bool backward = false;     // by all outputs
};

PipelineOptions options_of(const Case& one) {
  PipelineOptions options;
  options.kind = one.backward ? GraphKind::train : GraphKind::eval;
  options.seeds = one.backward;
  if (one.few_kernels) options.fuse = gpu_fuse_options();
  options.fuse.library_contractions = !one.few_kernels;
  return options;
}

const Case kCases[] = {
    {ReasonCode::LibraryCall, R"(free L
model m<E = 64, D = 64>(x: [L, E], w: [D, E]) { return y = tanh(dot<E>(x, w)) })",
     R"(free L
model m<E = 8, D = 64>(x: [L, E], w: [D, E]) { return y = tanh(dot<E>(x, w)) })"},
    {ReasonCode::Join, R"(free L
model m<E = 4, D = 8>(x: [L, E]) {
  both = concat<D, E, E>(tanh(x), exp(x))
  return both, y = sum<D>(both * both)
})",
     R"(free L
model m<E = 4>(x: [L, E]) {
  a = tanh(x)
  b = exp(x)
  return a, b, y = sum<E>(a * a) + sum<E>(b * b)
})"},
    {ReasonCode::CutInMemory, R"(free L
model m<D = 8, K = 4>(x: [L, D]) {
  y = tanh(x)
  return y, z = exp(slice<D, K, 2>(y))
})",
     R"(free L
model m<D = 8, K = 4>(x: [L, D]) { return y = tanh(x), z = exp(tanh(slice<D, K, 2>(x))) })"},
    {ReasonCode::Waits, R"(free L
model m<D = 8>(x: [L, D]) {
  y = tanh(x)
  return y, z = exp(after(y, sum<L>(y)))
})",
     nullptr},
    {ReasonCode::Compared, R"(free B, L
model m<D = 8, K = 4>(x: [B, L, D]) { return y = amax<B>(window<L, K>(x)) })",
     R"(free B, L
model m<D = 8, K = 4>(x: [B, L, D]) { return y = x * stop(amax<B, K>(window<L, K>(x))) })",
     false, true},
    {ReasonCode::OtherDimension, R"(free L, W
model m<D = 8>(x: [L, W, D]) { return y = scan<W>(0.5, scan<L>(0.5, x)) })",
     R"(free L, W
model m<D = 8>(x: [L, W, D]) { return y = scan<L>(0.5, scan<L>(0.5, x)) })"},
    {ReasonCode::OtherDirection, R"(free L
model m<D = 8>(x: [L, D]) { return y = scan<L, reverse>(0.5, scan<L>(0.5, x)) })",
     R"(free L
model m<D = 8>(x: [L, D]) { return y = scan<L>(0.5, scan<L>(0.5, x)) })"},
    {ReasonCode::OtherWalk, R"(free L, W
model m<D = 24, N = 4>(x: [L, W, D], a: [D, N]) {
  u = x * a
  rows = scan<W>(u, u)
  columns = scan<L>(exp(u), u)
  return y = dot<N>(rows, a) + dot<N>(columns, a)
})",
     R"(free L, W
model m<D = 24, N = 4>(x: [L, W, D], a: [D, N], b: [D, N]) {
  rows = scan<W>(x * a, x * a)
  columns = scan<L>(exp(x * b), x * b)
  return y = dot<N>(rows, a) + dot<N>(columns, a)
})"},
    {ReasonCode::OtherChannels, R"(free L
model m<D = 8, E = 16>(x: [L, D], y: [L, E]) { return z = scan<L>(0.5, y * sum<D>(scan<L>(0.5, x))) })",
     R"(free L
model m<D = 8>(x: [L, D], y: [L, D]) { return z = scan<L>(0.5, y * scan<L>(0.5, x)) })"},
    {ReasonCode::TapsAreChannels, R"(free B, L
model m<D = 3, V = 5, K = 3>(x: [B, L, D], v: [V], k: [K]) { return y = delay<L>(v - window<L, K>(x), start = k) })",
     R"(free B, L
model m<D = 3, V = 5, K = 3>(x: [B, L, D], v: [V]) { return y = delay<L>(v - sum<K>(window<L, K>(x))) })",
     false, true},
    {ReasonCode::TooLong, R"(free L
model m<D = 8, E = 300>(x: [L, D], w: [E]) { return y = sum<E>(tanh(scan<L>(0.5, x) * w)) })",
     R"(free L
model m<D = 8, E = 200>(x: [L, D], w: [E]) { return y = sum<E>(tanh(scan<L>(0.5, x) * w)) })"},
    {ReasonCode::MovesAlong, R"(free L
model m<D = 8, K = 4>(x: [L, D], w: [K]) {
  h = scan<L>(0.5, x)
  return y = sum<K>(exp(at<D, 2>(h * w)))
})",
     R"(free L
model m<D = 8, K = 4>(x: [L, D], w: [K]) { return y = sum<K>(exp(scan<L>(0.5, at<D, 2>(x)) * w)) })"},
    {ReasonCode::LateValue, R"(free L
model m<D = 8, N = 4>(x: [L, D], b: [L, N]) {
  h = scan<L>(0.5, x * b)
  return y = amax<L>(h) * h
})",
     R"(free L
model m<D = 8, N = 4>(x: [L, D], b: [L, N]) {
  h = scan<L>(0.5, x * b)
  return y = amax<N>(h) * h
})"},
    {ReasonCode::Neighbours, R"(free B, L
model m<D = 24>(x: [B, L, D], s: [B, L]) { return y = scan<L>(0.9, x, starts = lt(s, 0)) })",
     R"(free B, L
model m<D = 24>(x: [B, L, D], s: [B, L]) { return y = scan<L>(0.9, x, starts = s) })"},
    {ReasonCode::NoSteps, R"(free B, L
model m<D = 8>(x: [B, L, D], b: [B, D]) {
  y = tanh(b)
  return z = sum<B>(y), h = scan<L>(0.5, x * y)
})",
     nullptr},
    {ReasonCode::TwoLongSums, R"(free L
model m<D = 100, E = 200>(x: [L, D], y: [L, E]) {
  return z = x * rsqrt(sum<D>(x * x)) * rsqrt(sum<E>(y * y))
})",
     R"(free L
model m<D = 60, E = 200>(x: [L, D], y: [L, E]) {
  return z = x * rsqrt(sum<D>(x * x)) * rsqrt(sum<E>(y * y))
})"},
    {ReasonCode::MatrixVector, R"(
model m<D = 32, E = 16>(x: [E], gate: [D, E], out: [E, D]) { return y = dot<D>(dot<E>(x, gate), out) })",
     R"(
model m<D = 4, E = 128>(x: [E], gate: [D, E], out: [E, D]) { return y = dot<D>(dot<E>(x, gate), out) })",
     true},
    {ReasonCode::InnerElements, R"(
model m<D = 100, K = 16, N = 16>(x: [D, K, N]) { return y = x * sum<K, N>(x) })",
     R"(
model m<D = 100, K = 4, N = 4>(x: [D, K, N]) { return y = x * sum<K, N>(x) })",
     true},
    {ReasonCode::Repeated, R"(free L
model m<D = 32>(x: [D], y: [L, D]) {
  s = sum<D>(x)
  return s, z = s * y
})",
     R"(free L
model m<D = 32>(x: [L, D], y: [L, D]) {
  s = sum<D>(x)
  return s, z = s * y
})"},
    {ReasonCode::OtherRows, R"(free B
model m<E = 64, D = 32, R = 4, S = 5, M = 8>(x: [B, E], w: [D, E], r: [R, D], s: [S, D], t: [D, R], v: [D, S], q: [D, M]) {
  u = dot<E>(x, w)
  y = tanh(dot<R>(dot<D>(u, r), t)) * u * dot<S>(dot<D>(u, s), v)
  return y, z = u * q
})",
     R"(free B
model m<E = 64, D = 32, R = 4, S = 5>(x: [B, E], w: [D, E], r: [R, D], s: [S, D], t: [D, R], v: [D, S], q: [D]) {
  u = dot<E>(x, w)
  y = tanh(dot<R>(dot<D>(u, r), t)) * u * dot<S>(dot<D>(u, s), v)
  return y, z = u * q
})",
     true},
    {ReasonCode::NoStates, R"(free L
model m<D = 8, K = 4>(x: [L, D], y: [L, D]) {
  h = scan<L>(0.5, x)
  return h, z = sum<K>(scan<L, reverse>(0.5, y * window<L, K>(h)))
})",
     R"(free L
model m<D = 8, K = 4>(x: [L, D], y: [L, D]) {
  h = scan<L>(0.5, x)
  return h, z = sum<K>(scan<L>(0.5, y * window<L, K>(h)))
})"},
    {ReasonCode::WasSplit, R"(free B, L
model heads<D = 16, N = 5, E = 24, H = 3>(x: [B, L, E], v: [B, L, H, D], b: [B, L, N], c: [B, L, H], w: [N, E], a: [H]) {
  h = scan<L>(c * -a, v * b)
  return y = (dot<N>(h, dot<E>(x, w)) + a * v) * sigmoid(v)
})",
     nullptr, true, true},
    {ReasonCode::ReadOutside, R"(free B, L
model m<D = 32, E = 12>(x: [B, L, E], w: [D, E], a: [D]) { return y = dot<D>(scan<L>(a, dot<E>(w, x)), w) })",
     nullptr, false, true},
    {ReasonCode::OtherReader, R"(free B, L
model m<D = 32>(x: [B, L, D], p: [D]) { return y = x * (x * tanh(p)) })",
     nullptr, false, true},
    {ReasonCode::Circle, R"(free L
model m<D = 64, E = 64>(x: [L, D], w: [E, D]) {
  h = scan<L>(0.5, x)
  return y = scan<L>(0.5, h * dot<E>(dot<D>(h, w), w))
})",
     R"(free L
model m<D = 64>(x: [L, D]) {
  h = scan<L>(0.5, x)
  return y = scan<L>(0.5, h * tanh(h))
})"},
};

bool gives(const Told& told, ReasonCode code) {
  return std::ranges::any_of(told.remarks, [&](const Remark& remark) { return remark.code == code; }) ||
         std::ranges::any_of(told.apart, [&](const Apart& pair) { return pair.reason.code == code; });
}

TEST(Remarks, EveryReasonHasAGraphThatGivesItAndOneThatDoesNot) {
  std::set<ReasonCode> codes;
  std::set<Outcome> outcomes;
  for (const Case& one : kCases) {
    SCOPED_TRACE(info(one.code).name);
    const Told told = told_of(instantiate(model_from_text(one.graph, "case.mb")), options_of(one));
    EXPECT_TRUE(gives(told, one.code)) << told.str();
    for (const Remark& remark : told.remarks) outcomes.insert(remark.outcome);
    codes.insert(one.code);
    if (!one.mended) continue;
    const Told mended = told_of(instantiate(model_from_text(one.mended, "mended.mb")), options_of(one));
    EXPECT_FALSE(gives(mended, one.code)) << mended.str();
  }
  EXPECT_EQ(codes.size(), reason_table().size());
  EXPECT_EQ(outcomes.size(), outcome_table().size());
}

/// The lines of the shipped texts, by file.
std::map<std::string, int> shipped_lines() {
  std::map<std::string, int> lines;
  for (const EmbeddedFile& model : shipped_models())
    lines[std::string(model.file)] = static_cast<int>(std::ranges::count(model.text, '\n'));
  return lines;
}

TEST(Remarks, OfShippedModelsNameALineAndAnOp) {
  const std::map<std::string, int> lines = shipped_lines();
  int remarks = 0, pairs = 0;
  for (const char* name :
       {"mambabyte:tiny", "mambabyte:353m", "mamba-lm:tiny", "mingru:tiny", "rg-lru:tiny", "s5-diagonal:tiny"}) {
    Model model = load_model(name);
    if (model.values.contains("layers")) set(model, {{"layers", 2}});  // the others are like these
    for (const GraphKind kind : {GraphKind::train, GraphKind::prefill, GraphKind::step, GraphKind::eval}) {
      for (const bool gpu : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} {}", name, name_of(kind), gpu ? "gpu" : "cpu"));
        const bool loss = kind == GraphKind::train || kind == GraphKind::eval;
        PipelineOptions options;
        options.kind = kind;
        if (gpu) options.fuse = gpu_fuse_options();
        options.fuse.library_contractions = kind != GraphKind::step;
        const Told told = told_of(loss ? training_graph(model) : inference_graph(model), options);
        for (const Remark& remark : told.remarks) {
          ASSERT_TRUE(remark.location.known()) << remark.node << ": " << remark.text;
          EXPECT_LE(remark.location.line, lines.at(*remark.location.file)) << remark.location.str();
          EXPECT_FALSE(remark.node.empty() || remark.text.empty()) << remark.location.str();
          EXPECT_FALSE(info(remark.code).remedy.empty());
        }
        for (const Apart& pair : told.apart) EXPECT_FALSE(pair.reason.text.empty());
        remarks += static_cast<int>(told.remarks.size());
        pairs += static_cast<int>(told.apart.size());
      }
    }
  }
  EXPECT_GT(remarks, 0);
  EXPECT_GT(pairs, remarks);
}

}  // namespace
}  // namespace mambac
