// SPDX-License-Identifier: Apache-2.0
// Compressed image files (disk.qcow2.xz): they are decompressed into a temporary file first, by the programs
// that everybody does it with, in the sandbox.
#pragma once

#include <string>
#include <string_view>

#include "libvmpack/base/progress.hpp"
#include "libvmpack/source/temp_image.hpp"

namespace vmpack {

/// True for "gzip", "xz", "zstd" and "bzip2".
[[nodiscard]] bool is_compression(std::string_view format);

/// What a file is called once it is decompressed: its name without folder and without the ending that says
/// how it was compressed, if it has one.
[[nodiscard]] std::string decompressed_name(const std::string& path);

/// Decompresses the file at `path` (canonical) as a whole, all of its streams. `shown` is what the user calls
/// it. Throws Error: kDamaged (cut short, corrupt, with something else behind its end), kNoSpace, kLimit,
/// kNotFound (the program is not installed), kIo.
[[nodiscard]] TempImage decompress(const std::string& path, std::string_view compression,
                                   const std::string& shown, Progress& progress);

}  // namespace vmpack
