// FNV-1a, the one hash for names and files. Not for keeping out an enemy: it finds accidents.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mambac {

/// 64 bits. `seed` is the hash of what came before, to hash several pieces as one.
uint64_t hash_64(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325);

/// 128 bits as 32 hexadecimal digits.
std::string hash_128_text(std::string_view bytes);

}  // namespace mambac
