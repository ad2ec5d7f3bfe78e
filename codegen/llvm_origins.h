// Origins of loop IR in LLVM modules: as debug locations whose line is the number of the origin, from 1 on. Nothing of
// them is left in texts and machine code; they are there while a listing is made that says where its lines come from.
//
// Optimisation moves code to where it serves other statements, and takes its location away. Such code gets the origin
// of what uses its result, where that is one; what several statements share is the stage's (loop::Stage::origin).
#pragma once

#include <llvm/IR/DebugLoc.h>
#include <llvm/IR/Module.h>
#include <llvm/MC/MCStreamer.h>
#include <llvm/Target/TargetMachine.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mambac::llvm_emit {

/// From here on instructions of the function, which is that of a stage, can have an origin. `shared_origin`:
/// loop::Stage::origin.
void give_origins(llvm::Function& function, int shared_origin);

/// The location of instructions there; none where origin is -1, or the function was not given origins.
llvm::DebugLoc location_of(const llvm::Function& function, int origin);
/// The origin of a location; -1: none, or several in one.
int origin_of(const llvm::DebugLoc& location);
/// What its function was given for what statements share; -1: nothing.
int stage_origin(const llvm::Function& function);

/// What is found by looking at one thing that code serves after the other: none yet (-1), one origin, or several.
constexpr int kSeveralOrigins = -2;
inline int join(int a, int b) {
  return a == -1 || a == b ? b : b == -1 ? a : kSeveralOrigins;
}

/// Gives origins to instructions that optimisation left without one. After it, nothing makes debug information of them.
void inherit_origins(llvm::Module& module);

/// The text of a module, as it is without origins, and by line the origin of its instruction; -1: none.
std::string print(llvm::Module& module, std::vector<int>& line_origins);

/// Called in front of each instruction with its origin, and behind it with -1.
using OriginTold = std::function<void(llvm::MCStreamer&, int origin)>;
using StreamerMaker = std::function<std::unique_ptr<llvm::MCStreamer>(llvm::MCContext&)>;

/// Writes the module's machine code to a streamer that `make` makes.
void write_code(llvm::Module& module, llvm::TargetMachine& machine, const StreamerMaker& make, const OriginTold& told);

/// The text of its assembly, and by line the origin of its instruction; -1: none.
std::string assembly(llvm::Module& module, llvm::TargetMachine& machine, std::vector<int>& line_origins);

}  // namespace mambac::llvm_emit
