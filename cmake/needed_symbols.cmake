# cmake -DNM=nm -DARCHIVE=libx.a -DOUT=needed.options -P needed_symbols.cmake: what the archive wants of LLVM, as
# options that make a linker take it from LLVM's archives.
execute_process(COMMAND ${NM} --undefined-only --no-sort ${ARCHIVE} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "U [^\n]*(llvm|LLVM)[^\n]*" symbols "${text}")
list(FILTER symbols EXCLUDE REGEX "6mambac")
if(NOT symbols)
  message(FATAL_ERROR "${ARCHIVE} uses nothing of LLVM")
endif()
list(TRANSFORM symbols REPLACE "^U " "-u ")
list(REMOVE_DUPLICATES symbols)
list(SORT symbols)
list(JOIN symbols "\n" text)
file(WRITE ${OUT} "${text}\n")
