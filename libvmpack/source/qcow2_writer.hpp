// SPDX-License-Identifier: Apache-2.0
// Writes a new qcow2 file through qemu-nbd: QEMU's own code makes the format, we only send bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// The unit in which QEMU places and compresses what is written.
inline constexpr std::uint64_t kQcow2ClusterBytes = 64 * kKiB;

/// What is not written reads as zeros and takes no space. Destruction ends the server; the file stays.
class Qcow2Writer {
 public:
  /// Makes `path`, which must not exist, as a qcow2 file of `image_bytes`; with `compress`, its clusters are
  /// compressed by zstd. Throws kNotFound without the QEMU tools, kIo.
  Qcow2Writer(const std::string& path, std::uint64_t image_bytes, bool compress);
  ~Qcow2Writer();
  Qcow2Writer(const Qcow2Writer&) = delete;
  Qcow2Writer& operator=(const Qcow2Writer&) = delete;

  /// Any thread, in any order. Compressed: whole clusters (the last one up to the end of the image), each
  /// once.
  void write(std::uint64_t offset, ByteView bytes);
  /// After the last write: flushes, and waits until the file is complete.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
