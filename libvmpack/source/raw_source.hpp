// SPDX-License-Identifier: Apache-2.0
// A raw disk image: a file or a block device whose bytes are the disk's.
#pragma once

#include <memory>
#include <string>

#include "libvmpack/source/source.hpp"

namespace vmpack {

/// `path` is canonical, `location` is what the user wrote. Throws Error as open_source() does.
[[nodiscard]] std::unique_ptr<Source> open_raw(const std::string& path, const std::string& location);

/// Size of a regular file or block device in bytes. Throws Error (kInvalid) that names anything else by what
/// it is.
[[nodiscard]] std::uint64_t image_file_bytes(int descriptor, const std::string& path);

}  // namespace vmpack
