// One file of the kernel cache: what was compiled, and what came of it.
//
// The file is "mambac-k", four numbers of 8 bytes (little-endian: bytes of key, of kernel list and of machine code, and
// the FNV-1a hash of all three), then those three. Anything else, a shorter or longer file included, is no entry.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/cuda/nvrtc.h"

namespace mambac::cuda {

/// All that machine code depends on.
struct KernelKey {
  std::string nvrtc;         // version
  std::string architecture;  // "sm_90"
  std::string options;       // all of them, with spaces between
  std::string program;       // it is in the line tables
  std::string source;        // without its comments

  static KernelKey of(const CompileRequest& request, const std::string& nvrtc_version);
  /// A line for each part but the source, an empty line, the source. Equal keys have equal texts.
  std::string text() const;
  static bool parse(std::string_view text, KernelKey& key);
  /// 32 hexadecimal digits: the name of the entry's file.
  std::string digest() const;
};

struct KernelEntry {
  KernelKey key;
  std::vector<KernelUse> kernels;
  std::string cubin;

  std::string encode() const;
  /// Empty when the bytes were an entry; otherwise what is wrong with them.
  static std::string decode(std::string_view bytes, KernelEntry& entry);
};

}  // namespace mambac::cuda
