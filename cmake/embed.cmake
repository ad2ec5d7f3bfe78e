# cmake -DOUT=file.cpp -DHEADER=room/header.h -DFUNCTION=name -DNAMESPACE=mambac -DFILES=a,b -P embed.cmake
#   the texts of files as one C++ file: what the function returns (ir/embedded.h).
string(REPLACE "," ";" FILES "${FILES}")
set(text "#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\nstd::span<const EmbeddedFile> ${FUNCTION}() {\n")
string(APPEND text "  static const std::vector<EmbeddedFile> files = {\n")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME)
  file(READ "${file}" content)
  string(APPEND text "      {\"${name}\", R\"mambac(${content})mambac\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n}  // namespace ${NAMESPACE}\n")
file(WRITE "${OUT}" "${text}")
