// The command line as a whole: its subcommands, and what becomes of failures.
#pragma once

namespace mambac::tools {

/// Runs one command and returns the exit code (ir/error.h): results on standard output, everything else on standard
/// error. A process that was interrupted ends with 128 + signal.
int run(int argc, char** argv);

}  // namespace mambac::tools
