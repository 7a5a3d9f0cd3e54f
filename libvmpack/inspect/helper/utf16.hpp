// SPDX-License-Identifier: Apache-2.0
// Names in UTF-16, as NTFS and FAT have them.
#pragma once

#include <string>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// Appends little-endian UTF-16 as UTF-8. Half a surrogate pair, which neither file system forbids, becomes
/// the three bytes of its own number, so that different names stay different.
void append_utf8(std::string& to, ByteView utf16);

}  // namespace vmpack
