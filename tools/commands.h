// The subcommands. Each function declares one with its options; its work is done while the command line is parsed.
#pragma once

namespace CLI {
class App;
}

namespace mambac::tools {

void add_dump(CLI::App& app);
void add_cost(CLI::App& app);
void add_compile(CLI::App& app);
void add_run(CLI::App& app);
/// Sets the exit code when training is interrupted.
void add_train(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app);
void add_generate(CLI::App& app);
void add_bench(CLI::App& app);
void add_doctor(CLI::App& app);
void add_cache(CLI::App& app);

}  // namespace mambac::tools
