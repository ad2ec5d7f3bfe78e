#include "tools/commands.h"
namespace mambac::tools { void add_cost(CLI::App&) {} }
