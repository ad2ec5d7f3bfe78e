# The programs of the archive that tools/package makes: linked again from the same objects, to lie beside their
# libraries. Target package-programs; they come to package/ in the build tree.
if(NOT CMAKE_SYSTEM_NAME STREQUAL Linux OR NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64 OR MAMBAC_SANITIZE)
  return()
endif()
if(NOT TARGET LLVMX86CodeGen OR NOT TARGET zstd::libzstd_shared)
  message(STATUS "No package can be made: it needs LLVM's static archives and zstd (tools/install-packages)")
  return()
endif()

set(package_dir ${PROJECT_BINARY_DIR}/package)
add_custom_target(package-programs)

# A libLLVM of what codegen uses, for x86 only: two fifths of the shared libLLVM, and without the libraries that one
# needs (ICU, libxml2, z3, libedit, ...). Shared, so that each program more costs little.
set(needed ${CMAKE_CURRENT_BINARY_DIR}/llvm_needed.options)
add_custom_command(OUTPUT ${needed}
  COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DARCHIVE=$<TARGET_FILE:mambac_codegen> -DOUT=${needed}
          -P ${PROJECT_SOURCE_DIR}/cmake/needed_symbols.cmake
  DEPENDS mambac_codegen ${PROJECT_SOURCE_DIR}/cmake/needed_symbols.cmake
  COMMENT "Listing what codegen uses of LLVM" VERBATIM)
add_library(mambac_package_llvm SHARED EXCLUDE_FROM_ALL ${needed})
target_link_libraries(mambac_package_llvm PRIVATE LLVMOrcJIT LLVMPasses LLVMX86CodeGen LLVMMCA)
target_link_options(mambac_package_llvm PRIVATE LINKER:@${needed} LINKER:--as-needed LINKER:-z,defs)
set_target_properties(mambac_package_llvm PROPERTIES LINKER_LANGUAGE CXX LINK_DEPENDS ${needed}
                      OUTPUT_NAME mambac_llvm LIBRARY_OUTPUT_DIRECTORY ${package_dir}/lib)

# mambac_package(TARGET FOLDER): the program goes into FOLDER of the archive. RPATH, not RUNPATH: it holds for the
# libraries' own libraries too.
function(mambac_package target folder)
  get_target_property(libraries ${target} LINK_LIBRARIES)
  add_executable(package_${target} EXCLUDE_FROM_ALL $<TARGET_OBJECTS:${target}>)
  target_link_libraries(package_${target} PRIVATE ${libraries})
  target_link_options(package_${target} PRIVATE LINKER:--disable-new-dtags)
  set_target_properties(package_${target} PROPERTIES
                        MAMBAC_PACKAGED ON LINKER_LANGUAGE CXX OUTPUT_NAME ${target}
                        RUNTIME_OUTPUT_DIRECTORY ${package_dir}/${folder}
                        BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../lib")
  add_dependencies(package-programs package_${target})
endfunction()

mambac_package(mambac bin)

# The archive, unpacked and run where there is nothing but the C library.
if(MAMBAC_BUILD_TESTS)
  set(archive ${package_dir}/mambac-${PROJECT_VERSION}-linux-x86_64.tar.xz)
  add_test(NAME package_make COMMAND ${PROJECT_SOURCE_DIR}/tools/package --fast --build ${PROJECT_BINARY_DIR})
  add_test(NAME package_check COMMAND ${PROJECT_SOURCE_DIR}/tools/check-package ${archive} ${PROJECT_BINARY_DIR})
  set_tests_properties(package_make PROPERTIES LABELS package TIMEOUT 900 FIXTURES_SETUP package)
  set_tests_properties(package_check PROPERTIES LABELS package TIMEOUT 900 FIXTURES_REQUIRED package
                       ENVIRONMENT "OMP_WAIT_POLICY=passive")
endif()
