# The libraries that mambac stands on. Headers of LLVM are seen by one file of codegen only, those of oneDNN by
# runtime/gemm.cpp, those of CLI11 by tools/command_line.cpp only; all are linked privately.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt 9 REQUIRED CONFIG)
find_package(nlohmann_json 3.11 REQUIRED CONFIG)
find_package(CLI11 2.1 REQUIRED CONFIG)
find_package(dnnl REQUIRED CONFIG)

find_package(LLVM 19.1 CONFIG HINTS /usr/lib/llvm-19)
if(NOT LLVM_FOUND)
  message(FATAL_ERROR "LLVM 19 was not found. On Debian or Ubuntu: tools/install-packages (package llvm-19-dev); "
                      "elsewhere set LLVM_DIR to the folder that holds LLVMConfig.cmake.")
endif()
if(NOT TARGET LLVM)
  message(FATAL_ERROR "LLVM in ${LLVM_DIR} was built without the shared library libLLVM, which mambac links.")
endif()

# The one shared libLLVM as a target whose headers raise no warnings of ours. Programs of the package get another one
# (MambacPackage.cmake).
add_library(mambac_llvm INTERFACE)
target_include_directories(mambac_llvm SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS})
separate_arguments(llvm_definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
target_compile_definitions(mambac_llvm INTERFACE ${llvm_definitions})
target_link_libraries(mambac_llvm INTERFACE
  $<INSTALL_INTERFACE:LLVM>
  $<BUILD_INTERFACE:$<IF:$<BOOL:$<TARGET_PROPERTY:MAMBAC_PACKAGED>>,mambac_package_llvm,LLVM>>)
