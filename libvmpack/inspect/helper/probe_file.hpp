// SPDX-License-Identifier: Apache-2.0
// A stand-in for a disk that libblkid can read: it wants a file descriptor, and there is no file.
#pragma once

#include <blkid/blkid.h>

#include <memory>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/helper/image_client.hpp"
#include "libvmpack/inspect/layout.hpp"

namespace vmpack {

struct FreeProbe {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<struct blkid_struct_probe, FreeProbe>;

/// A sparse file in memory, as large as the image's range, that holds the parts copied into it.
class ProbeFile {
 public:
  explicit ProbeFile(ImageClient& image);

  /// Copies more. What lies outside or cannot be read stays zero.
  void copy(std::uint64_t offset, std::uint64_t length);
  /// A probe over it; nullptr when libblkid does not want it. This file must outlive the probe.
  [[nodiscard]] Probe probe() const;

 private:
  ImageClient& image_;
  FileDescriptor file_;
};

/// What libblkid says about one volume: type, label, uuid. Empty where nothing or too much was recognised.
[[nodiscard]] Volume identify_volume(ImageClient& image);

}  // namespace vmpack
