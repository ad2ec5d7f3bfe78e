#include "tools/commands.h"
namespace mambac::tools { void add_dump(CLI::App&) {} }
