#include "frontend/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "frontend/lexer.h"
#include "frontend/suggest.h"
#include "ir/print.h"

namespace mambac {
namespace {

constexpr int kMaxNesting = 200;    // of parentheses, signs and repeats
constexpr int kMaxExprDepth = 200;  // of the tree, also of a chain a + b + c + ...

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) {
    file_.name = name;
    file_.text = text;
    tokens_ = tokenize(text, std::make_shared<const std::string>(name));
  }

  SourceFile run() {
    while (peek().kind != Token::end) top_level();
    return std::move(file_);
  }

 private:
  // ---- tokens ----
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& take() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  size_t last_end() const { return at_ == 0 ? 0 : tokens_[at_ - 1].end_offset; }
  [[noreturn]] void fail(const std::string& expected) const {
    throw InputError(peek().location, fmt::format("found {}, expected {}", describe(peek()), expected));
  }
  bool accept(std::string_view symbol) {
    if (!peek().is(symbol)) return false;
    take();
    return true;
  }
  void expect(std::string_view symbol, std::string_view where) {
    if (!accept(symbol)) fail(fmt::format("'{}' {}", symbol, where));
  }
  bool accept_word(std::string_view word) {
    if (!peek().is_word(word)) return false;
    take();
    return true;
  }
  bool is_name(size_t ahead = 0) const {
    const Token& token = peek(ahead);
    return token.kind == Token::name && (token.quoted || !is_reserved_word(token.text));
  }
  std::string expect_name(const std::string& what) {
    if (!is_name()) fail(what);
    return take().text;
  }
  std::string expect_string(const std::string& what) {
    if (peek().kind != Token::string) fail(what);
    return take().text;
  }
  int expect_int(const std::string& what) {
    if (peek().kind != Token::number || !peek().integer || peek().value > 1e9) fail(what);
    return static_cast<int>(take().value);
  }

  /// Guards the recursion of this parser.
  struct Nest {
    explicit Nest(Parser& parser) : depth(parser.nesting_) {
      if (++depth > kMaxNesting) {
        throw InputError(parser.peek().location, fmt::format("nested more than {} levels deep", kMaxNesting));
      }
    }
    ~Nest() { --depth; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;
    int& depth;
  };

  // ---- top level ----
  void top_level() {
    if (accept_word("import")) return import();
    if (accept_word("free")) return free_dims();
    if (accept_word("dim")) return static_dim();
    if (peek().is_word("block") || peek().is_word("model")) return block();
    if (accept_word("preset")) return preset();
    if (accept_word("kernel")) return kernel();
    std::string hint;
    if (peek().kind == Token::name) {
      hint = did_you_mean(peek().text, {"import", "free", "dim", "block", "model", "preset", "kernel"});
    }
    fail("'import', 'free', 'dim', 'block', 'model', 'preset' or 'kernel'" + hint);
  }

  void import() {
    Import import;
    import.location = tokens_[at_ - 1].location;
    import.offset = tokens_[at_ - 1].offset;
    import.path = expect_string("the file to import in double quotes");
    import.end_offset = last_end();
    file_.imports.push_back(std::move(import));
  }

  ExprPtr dim_name() {
    const Token& token = peek();
    auto expr = std::make_unique<Expr>();
    expr->location = token.location;
    if (token.kind == Token::number && token.integer) {
      expr->kind = Expr::number;
      expr->integer = true;
      expr->value = take().value;
      return expr;
    }
    expr->kind = Expr::name;
    expr->text = expect_name("the name of a dimension");
    return expr;
  }

  void free_dims() {
    std::set<std::string> names;
    do {
      DimDecl decl;
      decl.location = peek().location;
      decl.dim = dim_name();
      if (decl.dim->kind == Expr::name && !peek().is("/") && !names.insert(decl.dim->text).second) {
        throw InputError(decl.location, fmt::format("dimension '{}' is declared twice", decl.dim->text));
      }
      while (peek().is("/")) {
        const Location where = take().location;
        auto right = dim_name();
        decl.dim = make_binary('/', where, std::move(decl.dim), std::move(right));
      }
      file_.dims.push_back(std::move(decl));
    } while (accept(","));
  }

  void static_dim() {
    DimDecl decl;
    decl.location = peek().location;
    decl.dim = dim_name();
    expect("=", "and the size of the dimension");
    decl.size = expression();
    file_.dims.push_back(std::move(decl));
  }

  /// A word and dimensions: `outer<B, L>`.
  std::vector<ExprPtr> dim_list(std::string_view word) {
    expect("<", fmt::format("and the dimensions after '{}'", word));
    std::vector<ExprPtr> dims;
    do {
      dims.push_back(expression());
    } while (accept(","));
    expect(">", "after a dimension");
    return dims;
  }

  ExprPtr single_dim(std::string_view word) {
    const Location where = peek().location;
    std::vector<ExprPtr> dims = dim_list(word);
    if (dims.size() != 1) throw InputError(where, fmt::format("'{}' has one dimension, found {}", word, dims.size()));
    return std::move(dims[0]);
  }

  void kernel() {
    KernelDecl kernel;
    kernel.location = peek().location;
    kernel.name = expect_name("the name of a kernel");
    expect("=", fmt::format("after '{}'", kernel.name));
    const auto kind = std::find(kKernelKinds.begin(), kKernelKinds.end(), peek().text);
    if (peek().kind != Token::name || kind == kKernelKinds.end()) {
      fail(fmt::format("the kind of the kernel: {}", fmt::join(kKernelKinds, ", ")));
    }
    take();
    kernel.kind = static_cast<KernelGroup::Kind>(kind - kKernelKinds.begin());
    if (accept("<")) {
      kernel.along = expression();
      if (accept(",")) {
        if (!accept_word("reverse")) fail("'reverse'");
        kernel.reverse = true;
      }
      expect(">", "after the dimension that is walked");
    }
    if (accept_word("lane")) kernel.lane = single_dim("lane");
    if (accept_word("outer")) kernel.outer = dim_list("outer");
    if (accept_word("inner")) kernel.inner = dim_list("inner");
    file_.kernels.push_back(std::move(kernel));
  }

  void preset() {
    Preset preset;
    preset.offset = tokens_[at_ - 1].offset;
    preset.location = peek().location;
    if (peek().kind != Token::word && peek().kind != Token::string) fail("the name of the preset");
    preset.name = take().text;
    for (const Preset& other : file_.presets) {
      if (other.name == preset.name) {
        throw InputError(preset.location, fmt::format("preset '{}' is defined twice", preset.name));
      }
    }
    expect("{", "and the preset's values");
    while (!accept("}")) {
      PresetValue value;
      value.location = peek().location;
      value.name = expect_name("'name = value' or '}' of the preset");
      expect("=", fmt::format("after '{}'", value.name));
      const bool word = peek().kind == Token::string || (is_name() && !peek(1).is("("));
      if (word) {
        value.text = take().text;
      } else {
        value.number = expression();
      }
      preset.values.push_back(std::move(value));
    }
    preset.end_offset = last_end();
    file_.presets.push_back(std::move(preset));
  }

  void block() {
    auto block = std::make_unique<BlockDef>();
    block->offset = peek().offset;
    block->is_model = take().text == "model";
    block->location = peek().location;
    block->name = expect_name("the name of the block");
    if (accept("<")) static_parameters(*block);
    expect("(", fmt::format("and the inputs of '{}'", block->name));
    inputs(*block);
    if (accept("->")) {
      do {
        block->results.push_back(type());
      } while (accept(","));
    }
    expect("{", fmt::format("and the body of '{}'", block->name));
    body(block->body);
    file_.blocks.push_back(std::move(block));
  }

  void static_parameters(BlockDef& block) {
    while (!accept(">")) {
      if (!block.statics.empty()) expect(",", "or '>' after a static argument");
      StaticParameter parameter;
      parameter.location = peek().location;
      parameter.name = expect_name("the name of a static argument");
      if (accept("=")) parameter.fallback = expression();
      block.statics.push_back(std::move(parameter));
    }
  }

  void inputs(BlockDef& block) {
    while (!accept(")")) {
      if (!block.inputs.empty()) expect(",", "or ')' after an input");
      BlockInput input;
      input.location = peek().location;
      input.name = expect_name("the name of an input");
      input.optional = accept("?");
      if (accept(":")) input.type = type();
      input.place = place();
      block.inputs.push_back(std::move(input));
    }
  }

  TypeExpr type() {
    TypeExpr type;
    type.location = peek().location;
    if (peek().kind == Token::name) {
      type.dtype = dtype_from(peek().text);
      if (!type.dtype) fail("an element type (f32, bf16, f16, i32, u8) or '[' and dimensions");
      take();
    }
    expect("[", "and the dimensions of the type");
    while (!accept("]")) {
      if (!type.dims.empty()) expect(",", "or ']' after a dimension");
      type.dims.push_back(expression());
    }
    return type;
  }

  /// `in k3 @ "file":12:7`, both parts optional.
  Place place() {
    Place place;
    if (accept_word("in")) {
      const Token& token = peek();
      if (token.kind != Token::name || token.text.size() < 2 || token.text.size() > 9 || token.text[0] != 'k' ||
          token.text.find_first_not_of("0123456789", 1) != std::string::npos) {
        fail("a kernel such as k3");
      }
      place.kernel_location = token.location;
      place.kernel = std::stoi(take().text.substr(1));
    }
    if (accept("@")) {
      const std::string file = expect_string("the file of the place in double quotes");
      expect(":", "and a line");
      place.location.line = expect_int("a line number");
      expect(":", "and a column");
      place.location.column = expect_int("a column number");
      auto& shared = files_[file];
      if (!shared) shared = std::make_shared<const std::string>(file);
      place.location.file = shared;
    }
    return place;
  }

  // ---- statements ----
  void body(std::vector<Statement>& statements) {
    const Nest nest(*this);
    while (!accept("}")) {
      if (!statements.empty() && statements.back().kind == Statement::give) fail("'}' after 'return'");
      statements.push_back(statement());
    }
  }

  Statement statement() {
    const bool names_follow = is_name(1) || (peek(1).kind == Token::number && peek().is_word("dim"));
    if (peek().is_word("param") && names_follow) return param();
    if (peek().is_word("dim") && names_follow) return dim();
    if (peek().is_word("repeat")) return repeat();
    if (peek().is_word("return")) return give();
    return assign();
  }

  Target target(const std::string& what) {
    Target target;
    target.location = peek().location;
    target.name = expect_name(what);
    if (accept(":")) target.type = type();
    return target;
  }

  Statement assign() {
    Statement statement;
    statement.location = peek().location;
    statement.targets.push_back(target("a statement: 'name = ...', 'param', 'dim', 'repeat', 'return' or '}'"));
    while (accept(",")) statement.targets.push_back(target("the name of a value"));
    expect("=", fmt::format("after '{}'", statement.targets.back().name));
    statement.values.push_back(expression());
    statement.place = place();
    return statement;
  }

  Statement param() {
    take();
    Statement statement;
    statement.kind = Statement::param;
    statement.location = peek().location;
    statement.targets.push_back(target("the name of a parameter"));
    if (!statement.targets[0].type) fail(fmt::format("':' and the type of '{}'", statement.targets[0].name));
    if (accept("=")) {
      statement.initialiser_location = peek().location;
      statement.initialiser = expect_name("an initialiser such as zeros or normal(0, 0.02)");
      if (accept("(")) {
        while (!accept(")")) {
          if (!statement.values.empty()) expect(",", "or ')' after an argument");
          statement.values.push_back(expression());
        }
      }
    }
    if (accept_word("as")) statement.scope = expect_string("the checkpoint name in double quotes");
    statement.no_decay = accept_word("no_decay");
    statement.place = place();
    return statement;
  }

  Statement dim() {
    take();
    Statement statement;
    statement.kind = Statement::dim;
    statement.location = peek().location;
    statement.targets.emplace_back();
    statement.targets[0].location = peek().location;
    statement.targets[0].name = expect_name("the name of a dimension");
    expect("=", "and the size of the dimension");
    statement.values.push_back(expression());
    return statement;
  }

  Statement repeat() {
    take();
    Statement statement;
    statement.kind = Statement::repeat;
    statement.location = peek().location;
    statement.targets.emplace_back();
    statement.targets[0].location = peek().location;
    statement.targets[0].name = expect_name("the name of the counter");
    if (!accept_word("in")) fail("'in' and the number of repetitions");
    statement.values.push_back(expression());
    if (accept_word("as")) statement.scope = expect_string("the checkpoint scope in double quotes");
    expect("{", "and the body of 'repeat'");
    body(statement.body);
    for (const Statement& inner : statement.body) {
      if (inner.kind == Statement::give) throw InputError(inner.location, "found 'return' inside 'repeat'");
    }
    return statement;
  }

  Statement give() {
    Statement statement;
    statement.kind = Statement::give;
    statement.location = take().location;
    do {
      Target name;
      name.location = peek().location;
      if (is_name() && peek(1).is("=")) {
        name.name = take().text;
        take();
      }
      statement.targets.push_back(std::move(name));
      statement.values.push_back(expression());
    } while (accept(","));
    return statement;
  }

  // ---- expressions ----
  ExprPtr make_binary(char symbol, const Location& where, ExprPtr left, ExprPtr right) {
    auto expr = std::make_unique<Expr>();
    expr->kind = Expr::binary;
    expr->symbol = symbol;
    expr->location = where;
    expr->depth = 1 + std::max(left->depth, right->depth);
    expr->left = std::move(left);
    expr->right = std::move(right);
    check_depth(*expr);
    return expr;
  }

  static void check_depth(const Expr& expr) {
    if (expr.depth > kMaxExprDepth) {
      throw InputError(expr.location, fmt::format("the expression is more than {} operations deep", kMaxExprDepth));
    }
  }

  ExprPtr expression() {
    const Nest nest(*this);
    ExprPtr left = term();
    while (peek().is("+") || peek().is("-")) {
      const Token& symbol = take();
      ExprPtr right = term();
      left = make_binary(symbol.text[0], symbol.location, std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr term() {
    ExprPtr left = unary();
    while (peek().is("*") || peek().is("/")) {
      const Token& symbol = take();
      ExprPtr right = unary();
      left = make_binary(symbol.text[0], symbol.location, std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr unary() {
    if (!peek().is("-")) return primary();
    const Nest nest(*this);
    auto expr = std::make_unique<Expr>();
    expr->kind = Expr::negate;
    expr->location = take().location;
    expr->left = unary();
    expr->depth = 1 + expr->left->depth;
    check_depth(*expr);
    return expr;
  }

  ExprPtr primary() {
    const Token& token = peek();
    if (accept("(")) {
      ExprPtr inner = expression();
      expect(")", "after an expression in parentheses");
      return inner;
    }
    auto expr = std::make_unique<Expr>();
    expr->location = token.location;
    if (token.kind == Token::number) {
      expr->value = token.value;
      expr->integer = token.integer;
      take();
      return expr;
    }
    if (!is_name()) fail("an expression");
    expr->kind = Expr::name;
    expr->text = take().text;
    if (peek().is("<") || peek().is("(")) call(*expr);
    return expr;
  }

  void call(Expr& expr) {
    expr.kind = Expr::call;
    if (accept("<")) arguments(expr.statics, ">");
    if (accept("(")) arguments(expr.operands, ")");
    if (accept_word("as")) expr.scope = expect_string("the checkpoint scope in double quotes");
    for (const auto* list : {&expr.statics, &expr.operands}) {
      for (const Argument& argument : *list) expr.depth = std::max(expr.depth, 1 + argument.value->depth);
    }
    check_depth(expr);
  }

  void arguments(std::vector<Argument>& list, std::string_view close) {
    while (!accept(close)) {
      if (!list.empty()) expect(",", fmt::format("or '{}' after an argument", close));
      Argument argument;
      argument.location = peek().location;
      if (is_name() && peek(1).is("=")) {
        argument.name = take().text;
        take();
      }
      argument.value = expression();
      list.push_back(std::move(argument));
    }
  }

  SourceFile file_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  std::map<std::string, std::shared_ptr<const std::string>> files_;
};

}  // namespace

SourceFile parse_source(std::string_view text, const std::string& file_name) {
  return Parser(text, file_name).run();
}

}  // namespace mambac
