// SPDX-License-Identifier: Apache-2.0
// A value on its way into a directory store: written under a name of its own, then given its key at once.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/store/file_below.hpp"

namespace vmpack {

/// The file is locked (flock) until it is closed, which tells it from the leftover of a writer that was
/// killed. Removed on destruction unless published. `path` is the value's, for messages.
class TempFile {
 public:
  TempFile(const Folder& temp_folder, std::string path);
  ~TempFile();
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  /// Appends the concatenation of `parts`.
  void write(std::span<const ByteView> parts);
  /// Makes all that was written durable. Once, before the file gets its name.
  void finish();

  /// Gives the file its name unless that is taken; true when it did. The caller makes `folder` durable.
  [[nodiscard]] bool publish_new(int folder, const std::string& name);
  /// Gives the file its name, in the place of the one that had it.
  void publish(int folder, const std::string& name);

 private:
  int temp_folder_;
  std::string path_;
  std::string name_;  // empty once published
  FileDescriptor file_;
};

/// Removes the files of writers that were killed. Best effort: says nothing of what it cannot remove.
void remove_leftovers(const Folder& temp_folder) noexcept;

}  // namespace vmpack
