# cmake -DOUT=texts.cpp -DFOLDER=codegen/cuda -P embed.cmake: the texts that stand before generated CUDA C++.
set(text "#include \"codegen/cuda/device_texts.h\"\n\nnamespace mambac {\n\n")
foreach(entry IN ITEMS kCommonText:common.cuh kDeviceText:device.cuh kEmulationAbiText:emulation_abi.h
                       kEmulatedText:emulated.h kLibraryText:library.cuh)
  string(REPLACE ":" ";" entry "${entry}")
  list(GET entry 0 name)
  list(GET entry 1 file)
  file(READ "${FOLDER}/${file}" content)
  string(APPEND text "const std::string_view ${name} = R\"mambac(${content})mambac\";\n")
endforeach()
file(WRITE "${OUT}" "${text}\n}  // namespace mambac\n")
