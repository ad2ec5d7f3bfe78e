#include "tools/commands.h"
namespace mambac::tools { void add_run(CLI::App&) {} }
