// SPDX-License-Identifier: Apache-2.0
// Where the files of a tar archive lie in it; POSIX.1-2001 (ustar and pax) and GNU headers. Runs in the
// child.
#pragma once

#include <string>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

struct TarMember {
  std::string name;  ///< without a leading "./"
  ByteRange range;   ///< its bytes, in the archive
};

/// The regular files, in the archive's order. Throws Error: kDamaged when a header is wrong or a member
/// reaches behind the end of the file, kLimit when there are too many.
[[nodiscard]] std::vector<TarMember> read_tar(int descriptor, std::uint64_t file_bytes);

}  // namespace vmpack
