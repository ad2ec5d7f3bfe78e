#include "tools/driver.h"

int main(int argc, char** argv) { return mambac::tools::run(argc, argv); }
