// SPDX-License-Identifier: Apache-2.0
// Opens files below a folder without ever following a symbolic link: a repository that somebody copied here
// must not make us read, or write, a file outside it.
#pragma once

#include <string>
#include <string_view>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// A folder that stays open, and its name for messages.
struct Folder {
  FileDescriptor descriptor;
  std::string path;
};

/// The regular file `key` (a valid one) for reading; an empty descriptor when it is not there or is a folder.
/// Throws kRefused for a symbolic link on the way and for a device, otherwise system_error.
[[nodiscard]] FileDescriptor open_file_below(const Folder& root, std::string_view key);

/// The folder `key`; an empty descriptor when it is not there or is no folder. Throws as above.
[[nodiscard]] FileDescriptor open_folder_below(const Folder& root, std::string_view key);

/// The same, but makes what is missing.
[[nodiscard]] FileDescriptor make_folder_below(const Folder& root, std::string_view key);

/// Makes the entries of a folder durable.
void sync_folder(int descriptor, std::string_view path);

}  // namespace vmpack
