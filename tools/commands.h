// The subcommands. Each function declares one with its options; its work is done while the command line is parsed.
#pragma once

#include "tools/command_line.h"

namespace mambac::tools {

void add_dump(Command app);
void add_opt(Command app);
void add_cost(Command app);
void add_explain(Command app);
void add_report(Command app);
void add_compile(Command app);
void add_run(Command app);
/// Sets the exit code when something is wrong.
void add_compare(Command app, int& exit_code);
/// Sets the exit code when training is interrupted.
void add_train(Command app, int& exit_code);
void add_tune(Command app, int& exit_code);
/// The commands of `mambac tune` for records that there are.
void add_tune_records(Command tune);
void add_eval(Command app);
void add_generate(Command app);
void add_bench(Command app);
void add_doctor(Command app);
void add_cache(Command app);
/// Sets the exit code to 1 when something changed.
void add_diff(Command app, int& exit_code);
/// Sets the exit code when it is interrupted.
void add_reduce(Command app, int& exit_code);

}  // namespace mambac::tools
