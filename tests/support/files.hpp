// SPDX-License-Identifier: Apache-2.0
// Whole files, in one call.
#pragma once

#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack::test {

[[nodiscard]] Bytes read_file(const std::string& path);
/// Makes the file or replaces its contents.
void write_file(const std::string& path, ByteView bytes);
inline void write_file(const std::string& path, std::string_view text) {
  write_file(path, as_byte_view(text));
}

/// Paths of all regular files below `folder`, relative to it, sorted.
[[nodiscard]] std::vector<std::string> files_below(const std::string& folder);

}  // namespace vmpack::test
