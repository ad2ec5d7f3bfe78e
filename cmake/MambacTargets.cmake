# mambac_library(NAME [JSON] SOURCES file... [DEPENDS target...] [PRIVATE_DEPENDS target...])
#   a static library mambac_NAME with the alias mambac::NAME; included as "NAME/header.h".
# mambac_test(NAME [JSON] [SERIAL] [SOURCES file...] DEPENDS target...)
#   a GoogleTest program of NAME.cpp (and SOURCES), each of its tests known to ctest. SERIAL: no other test runs beside.
# JSON: most of its files use nlohmann/json, which is precompiled then.

# mambac_embed(FUNCTION HEADER namespace file...): FUNCTION.cpp in the build's folder, which defines what room/header.h
#   declares: the files' texts (ir/embedded.h).

set(MAMBAC_WARNINGS -Wall -Wextra)
if(MAMBAC_WERROR)
  list(APPEND MAMBAC_WARNINGS -Werror)
endif()

# Half of the time of most files is that of these headers. ccache keeps nothing that was compiled with precompiled ones.
set(MAMBAC_COMMON_HEADERS <algorithm> <cmath> <cstdint> <cstring> <filesystem> <functional> <map> <memory> <optional>
                          <set> <span> <string> <string_view> <utility> <vector> <fmt/format.h>)
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES ccache OR NOT CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()

# With CMAKE_UNITY_BUILD so many files are compiled as one, which takes a fourth off the time of a build. So no two files
# of a library may give one name to two things of their anonymous namespaces.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  list(APPEND MAMBAC_WARNINGS -Wno-subobject-linkage)  # sees an included file, which it takes for a header
endif()

# Tests are many and change often: they are linked by a linker that takes a fifth of the default one's time, where there
# is one. What is installed or packaged is not.
include(CheckLinkerFlag)
set(MAMBAC_TEST_LINKER "")
foreach(linker lld gold)
  check_linker_flag(CXX -fuse-ld=${linker} MAMBAC_LINKS_WITH_${linker})
  if(MAMBAC_LINKS_WITH_${linker})
    set(MAMBAC_TEST_LINKER -fuse-ld=${linker})
    break()
  endif()
endforeach()

function(mambac_configure target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  # Messages of tests name files without the folder that they were built in.
  target_compile_options(${target} PRIVATE ${MAMBAC_WARNINGS} -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
  if(MAMBAC_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${MAMBAC_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${MAMBAC_SANITIZE})
  endif()
endfunction()

# mambac_precompile(TARGET KIND header...): the first target of a kind precompiles these headers, all others use its
# file. Headers of the standard library and of others only. Options must be one set: some need OpenMP, so all get it.
# The compiler's garbage collection would go over them again and again: it begins at 500 MB.
function(mambac_precompile target kind)
  if(CMAKE_DISABLE_PRECOMPILE_HEADERS)
    return()
  endif()
  target_compile_options(${target} PRIVATE ${OpenMP_CXX_FLAGS} --param=ggc-min-heapsize=500000)
  get_property(first GLOBAL PROPERTY MAMBAC_PRECOMPILED_${kind})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(GLOBAL PROPERTY MAMBAC_PRECOMPILED_${kind} ${target})
  endif()
endfunction()

function(mambac_embed function header namespace)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${function}.cpp)
  list(JOIN ARGN "," files)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DOUT=${out} -DHEADER=${header} -DFUNCTION=${function} -DNAMESPACE=${namespace}
            -DFILES=${files} -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    COMMENT "Embedding files: ${function}" VERBATIM)
endfunction()

function(mambac_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "JSON" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS")
  set(target mambac_${name})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(mambac::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} LINKER_LANGUAGE CXX)
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                              $<INSTALL_INTERFACE:include/mambac>)
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE_DEPENDS})
  mambac_configure(${target})
  if(arg_JSON)
    target_link_libraries(${target} PRIVATE nlohmann_json::nlohmann_json)
    mambac_precompile(${target} json ${MAMBAC_COMMON_HEADERS} <nlohmann/json.hpp>)
  elseif(mambac_llvm IN_LIST arg_PRIVATE_DEPENDS)  # brings definitions
    mambac_precompile(${target} llvm ${MAMBAC_COMMON_HEADERS})
  else()
    mambac_precompile(${target} library ${MAMBAC_COMMON_HEADERS})
  endif()
  set_property(GLOBAL APPEND PROPERTY MAMBAC_LIBRARIES ${target})
endfunction()

function(mambac_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "JSON;SERIAL" "" "SOURCES;DEPENDS")
  add_executable(${name} ${name}.cpp ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPENDS} fmt::fmt GTest::gtest_main)
  target_link_options(${name} PRIVATE ${MAMBAC_TEST_LINKER})
  mambac_configure(${name})
  # What takes a test's time lies in libraries. Its own statements are many, and run once: optimising them would take a
  # third of their compilation.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O0>)
  if(arg_JSON)
    target_link_libraries(${name} PRIVATE nlohmann_json::nlohmann_json)
    mambac_precompile(${name} json_test ${MAMBAC_COMMON_HEADERS} <gtest/gtest.h> <nlohmann/json.hpp>)
  else()
    mambac_precompile(${name} test ${MAMBAC_COMMON_HEADERS} <gtest/gtest.h>)
  endif()
  # Tests run side by side: waiting threads must not spin. NVRTC ends threads of its own while the leak checker stops
  # all threads, which sometimes crashes the checker.
  set(without_leaks "")
  if(MAMBAC_SANITIZE AND name MATCHES nvrtc|cuda_device_header|tools_compile|cuda_slots|gpu_cost_model)
    set(without_leaks ENVIRONMENT_MODIFICATION ASAN_OPTIONS=set:detect_leaks=0)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120
                       PROPERTIES TIMEOUT 900 RUN_SERIAL ${arg_SERIAL} ENVIRONMENT "OMP_WAIT_POLICY=passive"
                                  ${without_leaks})
endfunction()
