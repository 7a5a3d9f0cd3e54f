// SPDX-License-Identifier: Apache-2.0
// Block devices over disk images, and file systems mounted from them, for tests that run as root.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/base/units.hpp"

namespace vmpack::test {

class LoopDevice {
 public:
  /// `range` of the file `disk`, as a disk whose sectors have so many bytes.
  LoopDevice(const std::string& disk, ByteRange range, std::uint64_t sector_bytes = kSectorBytes);
  ~LoopDevice();
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Makes a partition without a table, and returns its path.
  [[nodiscard]] std::string add_partition(ByteRange range);

 private:
  std::string path_;
};

/// Mounted on a folder until destroyed. The test must be in a mount namespace of its own
/// (SmallFileSystem::possible()).
class Mounted {
 public:
  Mounted(const std::string& device, std::string folder, const std::string& options = "defaults");
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

 private:
  std::string folder_;
};

}  // namespace vmpack::test
