#include "codegen/llvm_origins.h"

#include <llvm/ADT/DenseMap.h>
#include <llvm/BinaryFormat/Dwarf.h>
#include <llvm/IR/AssemblyAnnotationWriter.h>
#include <llvm/IR/DIBuilder.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/Support/FormattedStream.h>
#include <llvm/Support/raw_ostream.h>

#include <utility>

namespace mambac::llvm_emit {

namespace {

/// Finds origins of a function's instructions by their users.
class UserOrigins {
 public:
  explicit UserOrigins(llvm::Function& function) : function_(function) {}

  void run() {
    while (look()) {
    }
    for (llvm::Instruction& instruction : llvm::instructions(function_)) {
      const int origin = origin_of_instruction(instruction);
      instruction.setDebugLoc(location_of(function_, origin >= 0 ? origin : stage_origin(function_)));
    }
  }

 private:
  /// Users come behind; around loops, what they are found to have may come later. Whether anything was found.
  bool look() {
    bool found = false;
    for (const llvm::BasicBlock& block : llvm::reverse(function_))
      for (const llvm::Instruction& instruction : llvm::reverse(block)) {
        if (origin_of(instruction.getDebugLoc()) >= 0) continue;
        int origin = -1;
        for (const llvm::User* user : instruction.users())
          origin = join(origin, origin_of_instruction(*llvm::cast<llvm::Instruction>(user)));
        int& known = found_.try_emplace(&instruction, -1).first->second;
        found |= known != origin;
        known = origin;
      }
    return found;
  }

  int origin_of_instruction(const llvm::Instruction& instruction) const {
    const auto found = found_.find(&instruction);
    return found != found_.end() ? found->second : origin_of(instruction.getDebugLoc());
  }

  llvm::Function& function_;
  llvm::DenseMap<const llvm::Instruction*, int> found_;
};

/// While it lives, the module has nothing of origins.
class Hidden {
 public:
  explicit Hidden(llvm::Module& module) {
    for (llvm::Function& function : module) {
      if (!function.getSubprogram()) continue;
      scopes_.emplace_back(&function, function.getSubprogram());
      function.setSubprogram(nullptr);
      for (llvm::Instruction& instruction : llvm::instructions(function)) {
        locations_.emplace_back(&instruction, instruction.getDebugLoc());
        origins_[&instruction] = origin_of(instruction.getDebugLoc());
        instruction.setDebugLoc({});
      }
    }
  }
  ~Hidden() {
    for (const auto& [function, scope] : scopes_) function->setSubprogram(scope);
    for (const auto& [instruction, location] : locations_) instruction->setDebugLoc(location);
  }
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;

  int origin_of_value(const llvm::Value& value) const {
    const auto found = origins_.find(&value);
    return found == origins_.end() ? -1 : found->second;
  }

 private:
  std::vector<std::pair<llvm::Function*, llvm::DISubprogram*>> scopes_;
  std::vector<std::pair<llvm::Instruction*, llvm::DebugLoc>> locations_;
  llvm::DenseMap<const llvm::Value*, int> origins_;
};

/// Notes on which line each instruction stands.
class LineNoter : public llvm::AssemblyAnnotationWriter {
 public:
  LineNoter(const Hidden& origins, std::vector<int>& lines) : origins_(origins), lines_(lines) {}

  void printInfoComment(const llvm::Value& value, llvm::formatted_raw_ostream& out) override {
    lines_.resize(out.getLine() + 1, -1);
    lines_.back() = origins_.origin_of_value(value);
  }

 private:
  const Hidden& origins_;
  std::vector<int>& lines_;
};

}  // namespace

void give_origins(llvm::Function& function, int shared_origin) {
  llvm::DIBuilder builder(*function.getParent());
  llvm::DIFile* file = builder.createFile(function.getName(), "");
  builder.createCompileUnit(llvm::dwarf::DW_LANG_C, file, "", true, "", 0, "", llvm::DICompileUnit::LineTablesOnly);
  const auto line = static_cast<unsigned>(shared_origin + 1);
  function.setSubprogram(builder.createFunction(
      file, function.getName(), "", file, line, builder.createSubroutineType(builder.getOrCreateTypeArray({})), line,
      llvm::DINode::FlagZero, llvm::DISubprogram::SPFlagDefinition | llvm::DISubprogram::SPFlagOptimized));
  builder.finalize();
}

llvm::DebugLoc location_of(const llvm::Function& function, int origin) {
  llvm::DISubprogram* scope = function.getSubprogram();
  if (origin < 0 || !scope) return {};
  return llvm::DILocation::get(function.getContext(), static_cast<unsigned>(origin) + 1, 0, scope);
}

int origin_of(const llvm::DebugLoc& location) {
  return location ? static_cast<int>(location.getLine()) - 1 : -1;  // line 0 is LLVM's word for several
}

int stage_origin(const llvm::Function& function) {
  const llvm::DISubprogram* scope = function.getSubprogram();
  return scope ? static_cast<int>(scope->getLine()) - 1 : -1;
}

void inherit_origins(llvm::Module& module) {
  for (llvm::Function& function : module)
    if (function.getSubprogram()) UserOrigins(function).run();
  // Without it neither texts nor the code generator take locations for debug information.
  if (llvm::NamedMDNode* units = module.getNamedMetadata("llvm.dbg.cu")) module.eraseNamedMetadata(units);
}

std::string print(llvm::Module& module, std::vector<int>& line_origins) {
  const Hidden hidden(module);
  std::string text;
  llvm::raw_string_ostream stream(text);
  LineNoter noter(hidden, line_origins);
  module.print(stream, &noter);
  return text;
}

}  // namespace mambac::llvm_emit
