// Instructions counted in machine code: texts of it by hand, and generated kernels through NVRTC where there is one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "codegen/cuda/cuda_emit.h"
#include "codegen/machine/nest.h"
#include "ir/error.h"
#include "runtime/cuda/disassembler.h"
#include "runtime/cuda/issue_slots.h"
#include "runtime/cuda/machine_code.h"
#include "tests/cuda_support.h"
#include "tests/temporary_folder.h"

namespace mambac::cuda {
namespace {

using loop::constant;
using loop::variable;
using machine::Flow;
using machine::Instruction;
using machine::Nest;
using machine::NestNode;
using machine::NestRuns;

loop::Int size(int64_t number) {
  return std::make_shared<loop::IntNode>(loop::IntNode{loop::IntOp::Size, number, nullptr, nullptr});
}

/// A stage on lines 1 to 20: tiles of 8 steps (lines 3 to 18), whole ones (5 to 10) with a loop of 4 that is written
/// out (7 to 9), and a short one (12 to 17) with a loop over its steps (13 to 15).
Nest tiles_of(const loop::Int& length) {
  const loop::Int left = length - variable(1) * 8;
  const auto loop = [](int parent, int first, int last, loop::Var var, const loop::Int& end, bool written_out) {
    return NestNode{.kind = NestNode::loop,
                    .parent = parent,
                    .first = first,
                    .last = last,
                    .var = var,
                    .begin = constant(0),
                    .end = end,
                    .step = 1,
                    .written_out = written_out};
  };
  const auto branch = [&](NestNode::Kind kind, int first, int last) {
    return NestNode{.kind = kind,
                    .parent = 1,
                    .first = first,
                    .last = last,
                    .var = -1,
                    .begin = constant(7),
                    .end = left,
                    .step = 1,
                    .written_out = false};
  };
  NestNode stage;
  stage.first = 1;
  stage.last = 20;
  return {{stage, loop(0, 3, 18, 1, (length + 7) / 8, false), branch(NestNode::taken, 5, 10),
           loop(2, 7, 9, 2, constant(4), true), branch(NestNode::otherwise, 12, 17), loop(4, 13, 15, 3, left, false)}};
}

TEST(Nest, CountsIterationsAndBranches) {
  const Nest nest = tiles_of(size(0));
  EXPECT_EQ(nest.at(1), 0);
  EXPECT_EQ(nest.at(8), 3);
  EXPECT_EQ(nest.at(11), 1);
  EXPECT_EQ(nest.at(14), 5);
  EXPECT_EQ(nest.at(21), -1);
  const NestRuns whole = nest.count(0, 0, {80}), cut = nest.count(0, 0, {83}), short_one = nest.count(0, 0, {5});
  EXPECT_EQ(whole.runs, (std::vector<double>{1, 10, 10, 40, 0, 0}));
  EXPECT_EQ(cut.runs, (std::vector<double>{1, 11, 10, 40, 1, 3}));
  EXPECT_EQ(cut.trips, (std::vector<double>{1, 11, 1, 4, 1, 3}));
  EXPECT_EQ(short_one.runs, (std::vector<double>{1, 1, 0, 0, 1, 5}));
}

TEST(Nest, TheTaskDecides) {
  Nest nest = tiles_of(constant(16));
  nest.nodes[1].end = variable(0) + 1;  // of task 0 one tile, of task 1 two
  EXPECT_EQ(nest.count(0, 0, {}).runs[1], 1);
  EXPECT_EQ(nest.count(0, 1, {}).runs[1], 2);
}

/// nvdisasm's form. In front of the loop stands what was moved there from its lines.
constexpr const char* kSass = R"(	.target	sm_90

//--------------------- .text.walk           --------------------------
	.section	.text.walk,"ax",@progbits
	.align	128
        .global         walk
        .size           walk,(.L_x_9 - walk)
walk:
.text.walk:
	//## File "/tmp/k.cu", line 101
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/              @!P0 EXIT ;
	//## File "/tmp/k.cu", line 107
        /*0020*/                   LDG.E R2, desc[UR4][R2.64] ;
        /*0030*/                   FMUL R2, R2, 1.4426950216293334961 ;
.L_x_1:
	//## File "/tmp/k.cu", line 104
        /*0040*/                   ISETP.GT.AND P1, PT, R5, 0x7, PT ;
        /*0050*/              @!P1 BRA `(.L_x_2) ;
	//## File "/tmp/k.cu", line 49 inlined at "/tmp/k.cu", line 108
	//## File "/tmp/k.cu", line 108
        /*0060*/                   MUFU.EX2 R8, R8 ;
        /*0070*/                   MUFU.EX2 R9, R9 ;
        /*0080*/                   MUFU.EX2 R10, R10                  (*"SpillRefill"*);
        /*0090*/                   MUFU.EX2 R11, R11 ;
	//## File "/tmp/k.cu", line 110
        /*00a0*/              @!P2 BRA `(.L_x_3) ;
        /*00b0*/                   MOV R20, 0xd0 ;
        /*00c0*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm20_rem_s64) ;
        /*00c8*/                   MOV R22, R23 ;
.L_x_3:
	//## File "/tmp/k.cu", line 102
        /*00d0*/                   STG.E desc[UR4][R6.64], R8 ;
        /*00e0*/                   BRA `(.L_x_5) ;
.L_x_2:
	//## File "/tmp/k.cu", line 112
        /*00f0*/                   MOV R9, RZ ;
.L_x_4:
	//## File "/tmp/k.cu", line 114
        /*0100*/                   FADD R9, R9, 1 ;
        /*0110*/               @P0 BRA `(.L_x_4) ;
.L_x_5:
	//## File "/tmp/k.cu", line 103
        /*0120*/                   IADD3 R5, R5, -0x8, RZ ;
        /*0130*/               @P3 BRA `(.L_x_1) ;
	//## File "/tmp/k.cu", line 120
        /*0140*/                   EXIT ;
$__internal_0_$__cuda_sm20_rem_s64:
        /*0150*/                   MOV R21, R22 ;
        /*0160*/                   RET.REL.NODEC R20 `(walk) ;
.L_x_6:
        /*0170*/                   BRA `(.L_x_6);
        /*0180*/                   NOP;
.L_x_9:
)";

TEST(MachineCode, ReadsSass) {
  const std::vector<machine::Function> functions = parse_sass(kSass);
  ASSERT_EQ(functions.size(), 1u);
  EXPECT_EQ(functions[0].name, "walk");
  const std::vector<Instruction>& code = functions[0].instructions;
  ASSERT_EQ(code.size(), 26u);
  EXPECT_EQ(code[1].flow, Flow::end);
  EXPECT_TRUE(code[1].conditional);
  EXPECT_EQ(code[5].flow, Flow::branch);
  EXPECT_EQ(code[5].targets, std::vector<int>{16});
  EXPECT_EQ(code[6].opcode, "MUFU.EX2");
  EXPECT_TRUE(is_special(code[6]));
  EXPECT_EQ(code[6].line, 108);
  EXPECT_EQ(code[12].flow, Flow::call);
  EXPECT_EQ(code[12].targets, std::vector<int>{22});
  EXPECT_FALSE(code[15].conditional);
  EXPECT_EQ(code[22].line, 0);  // the assembler's own
}

TEST(MachineCode, ConditionsInFrontOfTargets) {
  const auto functions =
      parse_sass(".text.f:\n/*00*/ BRA P1, `(.L_1) ;\n/*10*/ BRA.DIV UR4, `(.L_1) ;\n.L_1:\n/*20*/ EXIT ;\n");
  ASSERT_EQ(functions.size(), 1u);
  EXPECT_TRUE(functions[0].instructions[0].conditional);
  EXPECT_EQ(functions[0].instructions[1].flow, Flow::next);
  EXPECT_THROW(parse_sass(".text.f:\n/*00*/ BRA `(.L_1) ;\n"), InternalError);
}

/// By hand, for 10 whole tiles and one of 3 steps: 4 before the loop, each of them once; at every tile 2 and 2; at
/// whole ones 4 exponentials, each a copy of its own, and 3 behind them, two of which come from in front of the loop;
/// the call that numbers above 2^32 take, and what follows it, not at all; at the short one 1 and 3 times 2; 1 at the
/// end.
TEST(Slots, CountWhatRuns) {
  const Nest nest = tiles_of(size(0));
  const machine::Function function = parse_sass(kSass)[0];
  const SlotCount count = count_slots(function, nest, nest.count(0, 0, {83}), 101);
  EXPECT_EQ(count.slots, 4 + 11 * 2 + 11 * 2 + 10 * (4 + 1 + 2) + 1 + 3 * 2 + 1);
  EXPECT_EQ(count.special, 10 * 4);
  const SlotCount whole = count_slots(function, nest, nest.count(0, 0, {8000}), 101);
  EXPECT_EQ(whole.slots, 4 + 1000 * (2 + 2 + 7) + 1);
}

/// Behind an early end come both sides of the text's branch, most of it from the one that is not taken: what is in
/// front of them runs all the same, and so does what was moved there from the other side.
TEST(Slots, AnEarlyEndIsNoSideOfABranch) {
  const Nest nest = tiles_of(constant(8));
  const auto functions = parse_sass(R"(.text.f:
	//## File "/tmp/k.cu", line 1
/*00*/ ISETP.GE.AND P0, PT, R1, 0x1, PT ;
/*10*/ @!P0 EXIT ;
	//## File "/tmp/k.cu", line 12
/*20*/ IMAD R1, R1, R2, R3 ;
/*30*/ IMAD R2, R1, R2, R3 ;
	//## File "/tmp/k.cu", line 4
/*40*/ @P1 BRA `(.L_1) ;
	//## File "/tmp/k.cu", line 12
/*50*/ FADD R1, R1, R2 ;
/*60*/ FADD R1, R1, R2 ;
/*70*/ FADD R1, R1, R2 ;
/*80*/ FADD R1, R1, R2 ;
/*84*/ FADD R1, R1, R2 ;
/*88*/ FADD R1, R1, R2 ;
/*90*/ EXIT ;
.L_1:
	//## File "/tmp/k.cu", line 6
/*a0*/ FMUL R1, R1, R2 ;
/*b0*/ EXIT ;
)");
  EXPECT_EQ(count_slots(functions[0], nest, nest.count(0, 0, {}), 1).slots, 2 + 3 + 2);
}

/// A call that nothing stands in front of is no rare one.
TEST(Slots, CallsCount) {
  const Nest nest = tiles_of(constant(16));
  const auto functions = parse_sass(R"(.text.f:
	//## File "/tmp/k.cu", line 1
/*00*/ MOV R20, 0x30 ;
/*10*/ CALL.REL.NOINC `($__internal_0) ;
/*20*/ MOV R20, 0x50 ;
/*30*/ CALL.REL.NOINC `($__internal_0) ;
/*40*/ EXIT ;
$__internal_0:
/*50*/ MUFU.RCP R1, R1 ;
/*60*/ RET.REL.NODEC R20 `(f) ;
)");
  const SlotCount count = count_slots(functions[0], nest, nest.count(0, 0, {}), 1);
  EXPECT_EQ(count.slots, 5 + 2 * 2);
  EXPECT_EQ(count.special, 2);
}

/// "text | line", without the spaces at the beginning, for those whose text has a part of this kind.
std::vector<std::string> rows_with(const std::vector<CodeLine>& lines, const std::string& part) {
  std::vector<std::string> rows;
  for (const CodeLine& line : lines)
    if (line.text.find(part) != std::string::npos)
      rows.push_back(fmt::format("{} | {}", line.text.substr(line.text.find_first_not_of(" \t")), line.line));
  return rows;
}

TEST(MachineCode, ListsSassWithLinesOfTheSource) {
  const std::vector<CodeLine> lines = sass_lines(kSass);
  ASSERT_EQ(lines.size(), 1u + 26 + 8) << "the function, its instructions and labels";
  EXPECT_EQ(lines[0].text, ".text.walk:");
  EXPECT_EQ(rows_with(lines, "MUFU.EX2 R8"),
            std::vector<std::string>{"/*0060*/                   MUFU.EX2 R8, R8 ; | 108"});
  EXPECT_EQ(rows_with(lines, "RET."),
            std::vector<std::string>{"/*0160*/                   RET.REL.NODEC R20 `(walk) ; | 0"});
  EXPECT_TRUE(rows_with(lines, "//##").empty());
  EXPECT_TRUE(sass_lines("\t.section .debug\n.L_x_1:\n/*0000*/ .byte 1 ;\n").empty());
}

constexpr const char* kPtx = R"(
.visible .entry walk(
	.param .u64 walk_param_0
)
.maxntid 128, 1, 1
{
	.reg .pred 	%p<4>;
	.loc	1 101 0
	mov.u32 	%r1, %tid.x;
$L__BB0_1:
	.loc	1 108 3
	.loc	1 31 7, function_name $L__info_string1, inlined_at 1 108 3
	// begin inline asm
	ex2.approx.ftz.f32 %f1, %f2;
	// end inline asm
	.loc	1 0 7
	{  cvt.rn.bf16.f32 %rs1, %f1;}

	.loc	1 49 2, function_name $L__info_string2, inlined_at 1 108 3
	.loc	1 33 2, function_name $L__info_string3, inlined_at 1 49 2
	add.f32 	%f3, %f1, %f2;
	{ // callseq 0, 0
	call.uni (retval0),
	vprintf,
	(
	param0
	);
	} // callseq 0
	.loc	1 103 3
	@%p1 bra 	$L__BB0_1;
	bra.uni 	$L__BB0_2;
$L__BB0_2:
	ret;

}
)";

TEST(MachineCode, ReadsPtx) {
  const std::vector<machine::Function> functions = parse_ptx(kPtx, 100);
  ASSERT_EQ(functions.size(), 1u);
  EXPECT_EQ(functions[0].name, "walk");
  std::vector<std::string> opcodes;
  std::vector<int> lines;
  for (const Instruction& instruction : functions[0].instructions) {
    opcodes.push_back(instruction.opcode);
    lines.push_back(instruction.line);
  }
  EXPECT_EQ(opcodes, (std::vector<std::string>{"mov.u32", "ex2.approx.ftz.f32", "cvt.rn.bf16.f32", "add.f32",
                                               "call.uni", "bra", "bra.uni", "ret"}));
  EXPECT_EQ(lines, (std::vector<int>{101, 108, 0, 108, 108, 103, 103, 103}));
  EXPECT_TRUE(is_special(functions[0].instructions[1]));
  EXPECT_EQ(functions[0].instructions[5].targets, std::vector<int>{1});
  const Nest nest = tiles_of(constant(80));
  EXPECT_EQ(count_slots(functions[0], nest, nest.count(0, 0, {}), 101).slots, 1 + 10 * 5 + 2);
}

TEST(MachineCode, ListsPtxWithLinesOfTheSource) {
  const std::vector<CodeLine> lines = ptx_lines(std::string(".version 9.0\n.target sm_90\n") + kPtx, 100);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines[0].text, ".visible .entry walk(");
  EXPECT_EQ(lines.back().text, "}");
  EXPECT_EQ(rows_with(lines, "ex2"), std::vector<std::string>{"ex2.approx.ftz.f32 %f1, %f2; | 108"});
  EXPECT_EQ(rows_with(lines, "inline asm"),
            (std::vector<std::string>{"// begin inline asm | 108", "// end inline asm | 108"}));
  EXPECT_TRUE(rows_with(lines, ".loc").empty());
}

void write_program(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << "#!/bin/sh\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

/// Beside NVRTC, then $PATH, then toolkits.
TEST(Disassembler, IsLookedForInOrder) {
  const TemporaryFolder folder;
  const test::Variable none("MAMBAC_NVDISASM", nullptr), path("PATH", (folder / "path").string()),
      home("CUDA_HOME", (folder / "toolkit").string());
  const std::filesystem::path nvrtc = folder / "cuda/lib64/libnvrtc.so.13";
  for (const char* place : {"toolkit/bin/nvdisasm", "path/nvdisasm", "cuda/bin/nvdisasm"}) {
    write_program(folder / place);
    EXPECT_TRUE(std::filesystem::equivalent(find_disassembler(nvrtc), folder / place)) << place;
  }
  std::filesystem::permissions(folder / "cuda/bin/nvdisasm", std::filesystem::perms::owner_read);
  EXPECT_EQ(find_disassembler(nvrtc), folder / "path/nvdisasm");
}

TEST(Disassembler, TheVariableIsTheOnlyPathTried) {
  const TemporaryFolder folder;
  write_program(folder / "cuda/bin/nvdisasm");
  write_program(folder / "mine");
  const std::filesystem::path nvrtc = folder / "cuda/lib64/libnvrtc.so.13";
  {
    const test::Variable mine("MAMBAC_NVDISASM", (folder / "mine").string());
    EXPECT_EQ(find_disassembler(nvrtc), folder / "mine");
  }
  {
    const test::Variable none("MAMBAC_NVDISASM", "none");
    EXPECT_TRUE(find_disassembler(nvrtc).empty());
  }
  const test::Variable wrong("MAMBAC_NVDISASM", "/no/such/program");
  EXPECT_TRUE(test::says(message_of<EnvironmentError>([&] { find_disassembler(nvrtc); }), "$MAMBAC_NVDISASM",
                         "'/no/such/program'"));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// A loop that stays, around a branch and a loop that is written out; then one shared out among the lanes.
loop::Kernel nested_kernel() {
  loop::Kernel kernel;
  kernel.name = "nested";
  kernel.schedule.width = 32;
  kernel.buffers = {{"x", DType::f32, false}, {"y", DType::f32, true}};
  kernel.sizes = {"L"};
  for (const char* name : {"first", "second"}) {
    loop::Stage& stage = kernel.stages.emplace_back();
    stage.name = name;
    stage.tasks = constant(4);
    loop::StageBuilder b(stage);
    const loop::Int i = b.open_for(constant(0), size(0));
    b.open_if(i, constant(3));
    const loop::Int k = b.open_for(constant(0), constant(4), 1, true);
    b.store(1, i * 128 + k * 32, b.load(0, i * 128 + k * 32, constant(1)), constant(1));
    b.close();
    b.open_else();
    b.store(1, i * 128, b.number(1), constant(1));
    b.close();
    b.close();
  }
  return kernel;
}

TEST(Nest, LinesAreThoseOfTheText) {
  std::vector<Nest> nests;
  const std::vector<std::string> lines = lines_of(cuda_emit::emit(nested_kernel(), &nests));
  const auto line = [&](int number) { return lines.at(static_cast<size_t>(number) - 1); };
  ASSERT_EQ(nests.size(), 2u);
  for (const Nest& nest : nests) {
    ASSERT_EQ(nest.nodes.size(), 5u);
    EXPECT_EQ(line(nest.nodes[0].first).find("MB_KERNEL("), 0u);
    EXPECT_EQ(line(nest.nodes[0].last), "}");
    for (const NestNode& node : nest.nodes) {
      if (node.kind == NestNode::loop) {
        EXPECT_NE(line(node.first).find(node.written_out ? "#pragma unroll" : "#pragma unroll 1"), std::string::npos);
        EXPECT_NE(line(node.first + 1).find("for ("), std::string::npos);
        EXPECT_NE(line(node.last).find("}"), std::string::npos);
      } else if (node.kind == NestNode::taken) {
        EXPECT_NE(line(node.first - 1).find("if ("), std::string::npos);
        EXPECT_NE(line(node.last + 1).find("} else {"), std::string::npos);
      } else if (node.kind == NestNode::otherwise) {
        EXPECT_NE(line(node.first - 1).find("} else {"), std::string::npos);
      }
    }
    const NestRuns runs = nest.count(0, 0, {10});
    EXPECT_EQ(runs.runs, (std::vector<double>{1, 10, 3, 12, 7}));
  }
}

}  // namespace
}  // namespace mambac::cuda
