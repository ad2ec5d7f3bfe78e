// One line per mistake: the place and the heart of the message.
#include <gtest/gtest.h>

#include <functional>

#include "frontend/model.h"

namespace mambac {
namespace {

struct Mistake {
  const char* text;
  const char* place;    // "line:column"; empty: none
  const char* message;  // a part of it
};

// clang-format off
// A body inside of: free B, L / model m<E = 4, N = 3>(x: [B, L, E], y: [B, L, N]) { ... } beginning at line 3.
const Mistake kBodies[] = {
    {"z = expp(x)  return z", "3:5", "unknown op or block 'expp', did you mean 'exp'?"},
    {"z = sillu(x)  return z", "3:5", "unknown op or block 'sillu', did you mean 'silu'?"},
    {"return sum<M>(x)", "3:12", "unknown dimension 'M'; there are: B, E, L, N"},
    {"return sum<e>(x)", "3:12", "unknown dimension 'e', did you mean 'E'?; there are: B, E, L, N"},
    {"return sum<N>(x)", "3:8", "expected it to have dimension N"},
    {"return xx + 1", "3:8", "unknown value 'xx', did you mean 'x'?"},
    {"a = b + 1  b = x  return a", "3:5", "'b' is used before it is defined (line 3)"},
    {"h = scan<L>(0.5, delay<L>(h) + x)  return h", "3:27", "'h' refers to itself"},
    {"h = scan<L>(0.5, delay<L>(h) + x)  return h", "3:27", "only 'scan' feeds back, and only linearly"},
    {"h = 2 * h  return h", "3:9", "'h' refers to itself"},
    {"a = delay<L>(h) + x  b = 2 * a  h = scan<L>(0.5, b)  return h", "3:14", "'h' refers to itself"},
    {"a = h + x  h, g = scan<L>(0.5, silu(a))  return h", "3:5", "'h' refers to itself"},
    {"h = x  h = g + h  g = x  return h", "3:12", "'g' is used before it is defined (line 3)"},
    {"return max<L>(x)", "3:12", "expected max(x, y), did you mean amax<L>(x)?"},
    {"return min<L, E>(exp(x))", "3:12", "expected min(x, y), did you mean -amax<L, E>(-...)?"},
    {"return exp<L>(x)", "3:12", "an argument too many in <>, expected exp(x)"},
    {"return exp(x, y)", "3:15", "found an operand too many, expected exp(x)"},
    {"return add(x)", "3:8", "operand 'y' is missing, expected add(x, y)"},
    {"return scan<L>(x, x, x)", "3:22", "the optional ones by keyword"},
    {"return scan<L>(x, x, begin = x)", "3:22", "'scan' has no operand 'begin'"},
    {"return scan<L>(x, x, start = x)", "3:8", "operand 'start'"},
    {"return scan<L, backward>(x, x)", "3:16", "found 'backward', expected 'reverse' or nothing: scan<d, reverse?>(decay"},
    {"return scan<L, reverse, E>(x, x)", "3:25", "an argument too many in <>"},
    {"dim K = 4  return window<K, L>(x)", "3:19", "window takes <time, taps>, did you mean window<L, K>?"},
    {"return window<N, E>(x)", "3:8", "window takes <time, taps>, did you mean window<E, N>?"},
    {"return window<N, N>(x)", "3:8", "expected it to have dimension N"},
    {"return at<E>(x)", "3:8", "nothing for 'i' in <>"},
    {"return at<E, 4>(x)", "3:8", "found index 4 along E = 4"},
    {"return cast<f64>(x)", "3:13", "found 'f64' in <>, expected an element type (f32, bf16"},
    {"return silu(x, y)", "3:16", "found 2 operands, 'silu' takes 1"},
    {"return silu()", "3:8", "input 'x' of 'silu' is missing"},
    {"return silu(xx = x)", "3:13", "'silu' has no input 'xx'"},
    {"return mean(x)", "3:8", "'mean' needs a value for its static argument 'D'"},
    {"return mean<E, N>(x)", "3:16", "found more than 1 static arguments"},
    {"return mean<d = E>(x)", "3:13", "'mean' has no static argument 'd', did you mean 'D'?"},
    {"return mean<2.5>(x)", "", "dimension 'D' has size 2.5, expected an integer from 1 to 2^48"},
    {"return mean<L + 1>(x)", "3:13", "the size of dimension 'L' is not known before run time"},
    {"z: [B, L, N] = x  return z", "3:4", "'z' has type f32[B, L, E], expected f32[B, L, N]"},
    {"z: bf16[B, L, E] = x  return z", "3:4", "expected bf16[B, L, E]"},
    {"z: f64[B] = x  return z", "3:4", "expected an element type"},
    {"z: [B, B] = x  return z", "3:8", "dimension 'B' is there twice"},
    {"a, b = exp(x)  return a", "3:8", "'exp' gives one value, found 2 names"},
    {"a, b = x  return a", "3:4", "the expression gives one value"},
    {"a, b = silu(x)  return a", "3:8", "'silu' gives 1 value, found 2 names"},
    {"a, b, c = scan<L>(x, x)  return a", "3:11", "a value and its last state"},
    {"param w: [E] = nromal(0, 1)  return x * w", "3:16", "unknown initialiser 'nromal'"},
    {"param w: [E] = normal(0)  return x * w", "3:16", "takes 2 arguments, found 1"},
    {"param w: [E] = constant(1 / 0)  return x * w", "3:27", "found inf, expected a finite number of f32"},
    {"param w: [E] = constant(0 / 0)  return x * w", "3:27", "found NaN, expected a finite number of f32"},
    {"param w: [E] = constant(1e39)  return x * w", "3:25", "found 1e+39, expected a finite number of f32"},
    {"param w: [E] = normal(0, -1)  return x * w", "3:16", "found normal(0, -1), expected a deviation of 0 or more"},
    {"param w: [E] = normal(0, 1e38)  return x * w", "3:16", "found normal(0, 1e+38), expected values that f32 holds"},
    {"param w: [E] = uniform(3, 1)  return x * w", "3:16", "found uniform(3, 1), expected the smaller bound first"},
    {"param w: [E] = dt_bias(0, 0)  return x * w", "3:16", "found dt_bias(0, 0), expected bounds above 0"},
    {"param w: [E] = dt_bias(0.1, 0.001)  return x * w", "3:16", "the smaller one first"},
    {"param w: [E] = log_uniform_ring(0.9, 0.1)  return x * w", "3:16", "the smaller one first"},
    {"param w: [E] = log_uniform_ring(0.9, 1.1)  return x * w", "3:16", "expected bounds from 0 to 1"},
    {"u = x  param x: [E] = ones  return y = u * x", "3:14", "'x' is declared twice, as an input at x.mb:2:23"},
    {"repeat i in 3 { param w: [E] = ones  x = x * w }  return x", "3:23", "'as \"...{counter}\"' on 'repeat'"},
    {"param w = ones  return x * w", "3:9", "expected ':' and the type of 'w'"},
    {"param w: [L] = ones  return x * w", "3:7", "has the free dimension 'L'"},
    {"param w: [E] = ones  param v: [E] = ones as \"w\"  return x * w * v", "3:28", "two parameters have the checkpoint name 'w'"},
    {"dim C = 0  return x", "3:5", "dimension 'C' has size 0"},
    {"dim C = 1e18  return x", "3:5", "dimension 'C' has size 1e+18"},
    {"dim C = 100000000  param w: [C, E] = ones  param v: [C, N] = ones dim C2 = 100000000 param u: [C, C2] = ones return x", "3:92", "more than 2^48 elements"},
    {"repeat i in 20000 { x = x + 1 }  return x", "3:13", "found 20000 repetitions, expected 0 to 10000"},
    {"repeat i in 2.5 { x = x + 1 }  return x", "3:13", "found 2.5, expected an integer"},
    {"repeat i in L { x = x + 1 }  return x", "3:13", "not known before run time"},
    {"repeat i in 2 { z = x }  return z", "3:33", "'z' is local to the repeat at line 3; give it a value before"},
    {"repeat i in 2 {\n repeat j in 2 { z = x }\n y = z }  return y", "5:6", "'z' is local to the repeat at line 4"},
    {"repeat i in 2 { x = x + z\n z = x }  return x", "3:25", "'z' has no value in the first turn of the repeat at line 3"},
    {"repeat i in 2 { h = h + x }  return h", "3:21", "'h' has no value in the first turn of the repeat at line 3"},
    {"repeat i in 2 { return x }", "3:17", "found 'return' inside 'repeat'"},
    {"repeat i in 2 as \"l.{j}\" { x = x + 1 }  return x", "3:8", "unknown name '{j}'"},
    {"repeat i in 10000 { repeat j in 10000 { x = x + 1 } }  return x", "3:49", "more than 1000000 nodes"},
    {"repeat i in 10000 { repeat j in 10000 { z = x } }  return x", "3:45", "unrolls to more than"},
    {"return x  z = x", "3:11", "expected '}' after 'return'"},
    {"z = x", "2:7", "block 'm' has no 'return'"},
    {"return x +", "4:1", "found '}', expected an expression"},
    {"return (x", "4:1", "found '}', expected ')'"},
    {"return x @", "3:10", "expected '}' after 'return'"},
    {"z = x $ y", "3:7", "found '$', which has no meaning"},
    {"z = 3x", "3:6", "right after a number"},
    {"z = 1e999", "3:5", "not a number that fits a double"},
    {"z = \"open", "3:5", "found an open string"},
    {"z = `open", "3:5", "found an open `name`"},
    {"return exp(x) as \"s\"", "3:8", "'exp' is an op"},
    {"return x(y)", "3:8", "'x' is a value, expected an op or a block"},
    {"return param()", "3:8", "expected 'param NAME: type = initialiser'"},
    {"return a = x, a = y", "3:15", "two results have the name 'a'"},
    {"return dot<E>(x, y)", "3:8", "expected it to have dimension E"},
    {"return gather<E>(x, y)", "3:8", "expected integers"},
    {"return sum<E + 1>(x)", "3:14", "expected a dimension"},
    {"return sum<L/0>(x)", "3:13", "expected for example L/32"},
    {"return slice<E, N, 2>(x)", "3:8", "expected a range within E"},
    {"return loop(x)", "3:8", "unknown op or block 'loop'"},
};

const Mistake kTexts[] = {
    {"", "", "found 0 blocks and none is a 'model'"},
    {"modle m(x: [B]) { return x }", "1:1", "did you mean 'model'?"},
    {"block a(x: [L]) { return b(x) } block b(x) { return a(x) } model m(x: [1]) { return a(x) }", "1:13", "unknown dimension 'L'; there are none"},
    {"free B, T\ndim D = 4\nmodel m<layers = 2, eps = 1e-5>(x: [B, T, D]) {\n  return scan<L>(0.5, x)\n}", "4:15",
     "unknown dimension 'L'; there are: B, D, T, layers"},
    {"free B, Time\nmodel m(x: [B, Time]) { return scan<Tme>(0.5, x) }", "2:37",
     "unknown dimension 'Tme', did you mean 'Time'?; there are: B, Time"},
    {"block a(x) { return b(x) }\nblock b(x) { return a(x) }\nmodel m(x: [1]) { return a(x) }", "2:21", "block 'a' calls itself: a -> b -> a"},
    {"model m(x: [1]) { return m(x) }", "1:26", "block 'm' calls itself: m -> m"},
    {"model m(x: [1]) { return x } model n(x: [1]) { return x }", "1:36", "found a second model 'n'"},
    {"block exp(x: [1]) { return x }", "1:7", "the name of the op 'exp'"},
    {"block a(x) { return x } block a(x) { return x }", "1:31", "block 'a' is defined twice"},
    {"model m(x) { return x }", "1:9", "input 'x' of 'm' has no type"},
    {"model m(x: [1], x: [1]) { return x }", "1:17", "input 'x' is declared twice"},
    {"free B, L, B model m(x: [B]) { return x }", "1:12", "dimension 'B' is declared twice"},
    {"model m<E>(x: [E]) { return x }", "1:7", "needs a value for its static argument 'E'"},
    {"model m<E = 2, E = 3>(x: [E]) { return x }", "1:16", "static argument 'E' is declared twice"},
    {"model m<last = 2>(x: [2]) { return x }", "1:9", "'last' cannot name a static argument"},
    {"model m(x: [2]) -> [3] { return x }", "1:20", "has type f32[2], expected f32[3]"},
    {"model m(x: [2]) -> [2], [2] { return x }", "1:20", "states 2 result types and returns 1 values"},
    {"dim E = 4 dim E = 5 model m(x: [E]) { return x }", "1:15", "declared twice, with different sizes"},
    {"dim 2 = 3 model m(x: [2]) { return x }", "1:5", "has its name for size"},
    {"free 2 model m(x: [2]) { return x }", "1:6", "a free dimension has a name"},
    {"dim f32 = 3 model m(x: [2]) { return x }", "1:5", "cannot name a dimension"},
    {"import \"nothere.mb\" model m(x: [2]) { return x }", "1:1", "there is no file 'nothere.mb'"},
    {"import \"mambo.mb\" model m(x: [2]) { return x }", "1:1", "did you mean 'mamba.mb'?"},
    {"model m(x: [2]) { return x } preset a { E = 3", "1:46", "found the end of the text"},
    {"preset a { } preset a { } model m(x: [2]) { return x }", "1:21", "preset 'a' is defined twice"},
    {"# \xff\nmodel m(x: [2]) { return x }", "1:3", "byte 0xff, which is not UTF-8"},
    {"model m(x: [2]) { return x } \xc3\xa9", "1:30", "which has no meaning"},
    {"block f(x) { return x + y }\nfree L\nmodel m(x: [L]) { return f(x) }", "1:25", "in call of 'f' at x.mb:3:26"},
    {"free L\nblock f<D>(x) { return sum<D>(x) }\nblock g(x) { return f<3>(x) }\nmodel m(x: [L]) { return g(x) }", "2:24",
     "in call of 'f' at x.mb:3:21\n  in call of 'g' at x.mb:4:26"},
};

// clang-format on

void expect_mistake(const std::string& text, const Mistake& mistake) {
  try {
    instantiate(model_from_text(text, "x.mb"));
    ADD_FAILURE() << "no error for: " << mistake.text;
  } catch (const InputError& error) {
    const std::string what = error.what();
    EXPECT_EQ(error.exit_code(), kExitInput);
    EXPECT_NE(what.find(mistake.message), std::string::npos) << mistake.text << "\n  gives: " << what;
    if (*mistake.place == '\0') return;
    EXPECT_TRUE(what.starts_with(std::string("x.mb:") + mistake.place + ": ")) << mistake.text << "\n  gives: " << what;
  }
}

TEST(LanguageErrors, InABody) {
  for (const Mistake& mistake : kBodies) {
    expect_mistake(
        "free B, L\nmodel m<E = 4, N = 3>(x: [B, L, E], y: [B, L, N]) {\n" + std::string(mistake.text) + "\n}\n",
        mistake);
  }
}

TEST(LanguageErrors, InAFile) {
  for (const Mistake& mistake : kTexts) expect_mistake(mistake.text, mistake);
}

TEST(LanguageErrors, DeepNestingIsAnErrorNotACrash) {
  const auto text_of = [](const std::string& expression) { return "model m(x: [2]) { return " + expression + " }"; };
  const size_t deep = 100000;
  std::string chain = "x", calls = "x", minus(deep, '-');
  for (size_t i = 0; i < deep; ++i) chain += " + x";
  for (size_t i = 0; i < deep; ++i) calls = "exp(" + calls;
  for (const std::string& expression : {std::string(deep, '(') + "x", chain, calls, minus + "x"}) {
    EXPECT_THROW(model_from_text(text_of(expression), "x.mb"), InputError);
  }
  std::string repeats;
  for (size_t i = 0; i < deep; ++i) repeats += "repeat i in 1 {";
  EXPECT_THROW(model_from_text("model m(x: [2]) { " + repeats, "x.mb"), InputError);
  std::string blocks = "block f0(x) { return x }\n";
  for (int i = 1; i < 3000; ++i) {
    blocks += "block f" + std::to_string(i) + "(x) { return f" + std::to_string(i - 1) + "(x) }\n";
  }
  EXPECT_THROW(instantiate(model_from_text(blocks + "model m(x: [2]) { return f2999(x) }", "x.mb")), InputError);
}

TEST(LanguageErrors, ANulByteIsAnError) {
  EXPECT_THROW(model_from_text(std::string("model m(x: [2]) { return x }\0", 29), "x.mb"), InputError);
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(LanguageErrors, NamesOfModelsPresetsAndSettings) {
  EXPECT_NE(message_of([] { load_model("mambabite"); }).find("did you mean 'mambabyte'?"), std::string::npos);
  EXPECT_NE(message_of([] { load_model("mambabyte:tinny"); }).find("did you mean 'tiny'?"), std::string::npos);
  EXPECT_NE(message_of([] { load_model("mambabyte:"); }).find("expected the name of a preset"), std::string::npos);
  EXPECT_NE(message_of([] { load_model("nowhere/model.mb"); }).find("there is no file"), std::string::npos);
  const auto set_unknown = [] {
    Model model = load_model("mambabyte");
    set(model, {{"layer", 3}});
  };
  EXPECT_NE(message_of(set_unknown).find("did you mean 'layers'?"), std::string::npos);
  const auto huge = [] {
    Model model = load_model("mambabyte:tiny");
    set(model, {{"E", int64_t{1} << 50}});
    instantiate(model);
  };
  EXPECT_NE(message_of(huge).find("expected an integer from 1 to 2^48"), std::string::npos);
  EXPECT_NE(message_of([] { instantiate_block(load_model("mamba"), "mixxer", {}); }).find("did you mean 'mixer'?"),
            std::string::npos);
}

TEST(LanguageErrors, AParameterWithoutInitialiserCannotBeTrained) {
  const Graph graph = instantiate(model_from_text("model m(x: [2]) { param w: [2]  return x * w }", "x.mb"));
  EXPECT_EQ(message_of([&] { check_trainable(graph); }).find("x.mb:1:25: parameter without initialiser: 'w'"), 0u);
}

TEST(LanguageErrors, AParameterOfABlockThatIsCalledTwice) {
  const auto twice = [] {
    instantiate(model_from_text("free B\nblock f<E>(x) { param w: [E] = ones  return x * w }\n"
                                "model m<E = 2>(x: [B, E]) { return f<E>(f<E>(x)) }", "x.mb"));
  };
  const std::string message = message_of(twice);
  EXPECT_EQ(message.find("x.mb:2:23: two parameters of this declaration have the checkpoint name 'w'"), 0u) << message;
  EXPECT_EQ(message.find("repeat"), std::string::npos) << message;
}

TEST(LanguageErrors, ABlockMayDeclareADimensionThatAnImportHas) {
  EXPECT_NO_THROW(instantiate(model_from_text(
      "import \"mamba.mb\"\nfree B, L\nfree L\nmodel m<E = 8>(x: [B, L, E]) { return y = mixer<E>(x) }", "x.mb")));
}

TEST(LanguageErrors, DumpsAreExact) {
  const auto parse = [](const std::string& text) { return message_of([&] { parse_graph(text, "x.mb"); }); };
  EXPECT_NE(parse("free L block m(x: f32[L]) {\n  y: f32[] = exp(x)\n}").find("x.mb:2:6: 'y' has type f32[L]"),
            std::string::npos);
  EXPECT_NE(parse("free L block m(x: f32[L]) {\n  x: f32[L] = exp(x)\n}").find("defined twice"), std::string::npos);
  EXPECT_NE(parse("free L block m<E = 3>(x: f32[L]) { }").find("expected a dump"), std::string::npos);
  EXPECT_NE(parse("free L block m(x: f32[L]) { y: f32[L] = exp(x) in 3 }").find("expected a kernel such as k3"),
            std::string::npos);
  const std::string kernel = "free L dim D = 2 kernel k0_rows = rows lane<D> outer<L> ";
  EXPECT_EQ(parse(kernel + "block m(x: f32[L]) {\n  y: f32[L] = exp(x) in k1 }")
                .find("x.mb:2:25: found kernel k1, expected one of the 1 that are declared"),
            0u);
  EXPECT_NE(parse(kernel + kernel + "block m() { }").find("kernel 'k0_rows' is declared twice"), std::string::npos);
  EXPECT_NE(parse("kernel k0 = row block m() { }").find("expected the kind of the kernel: walk, rows, library"),
            std::string::npos);
  EXPECT_NE(parse("free L kernel k0 = walk<L, backwards> block m() { }").find("expected 'reverse'"), std::string::npos);
  EXPECT_NE(parse("free L kernel k0 = rows lane<L, L> block m() { }").find("'lane' has one dimension, found 2"),
            std::string::npos);
  EXPECT_NE(parse("free L kernel k0 = walk<M> block m() { }").find("unknown dimension 'M'"), std::string::npos);
}

}  // namespace
}  // namespace mambac
