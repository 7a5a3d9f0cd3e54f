// SPDX-License-Identifier: Apache-2.0
// A file system mounted where nobody but this process sees it.
#pragma once

#include <string>
#include <string_view>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/walker/block_device.hpp"

namespace vmpack {

/// Mounted read-only on no folder at all: it is unmounted when this is destroyed and its files are closed.
/// Nothing is replayed and nothing written.
class MountedVolume {
 public:
  /// `type`: as identify() tells it. Throws Error with the kernel's reason.
  MountedVolume(const BlockDevice& device, std::string_view type);

  /// The root directory of everything, open for reading.
  [[nodiscard]] int root() const { return root_.get(); }
  /// A log was left to be replayed, or cannot be read.
  [[nodiscard]] bool log_is_dirty() const { return log_is_dirty_; }

 private:
  FileDescriptor mount_;
  FileDescriptor root_;
  bool log_is_dirty_ = false;
};

}  // namespace vmpack
