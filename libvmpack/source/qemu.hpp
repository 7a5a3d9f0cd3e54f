// SPDX-License-Identifier: Apache-2.0
// qemu-img and qemu-nbd, always in the sandbox, always told exactly which files an image consists of.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/source/sandbox.hpp"

namespace vmpack {

/// One file of a backing chain, and the files that belong to it. Paths are canonical and have been checked.
struct ImageLayer {
  std::string path;
  std::string format;
  std::string data_file;             ///< qcow2's external data file, or empty
  std::vector<std::string> extents;  ///< further files that a vmdk descriptor names
  ByteRange part{};                  ///< where in the file at `path` the layer lies; empty: all of it

  /// Every file of this layer.
  [[nodiscard]] std::vector<std::string> files() const;
};

/// The top one first.
using ImageChain = std::vector<ImageLayer>;

/// What a layer says about itself, unchecked.
struct LayerFacts {
  std::uint64_t virtual_bytes = 0;
  std::string backing_name;    ///< as written in the image, or empty
  std::string backing_format;  ///< or empty
  std::string data_file_name;  ///< or empty
  bool encrypted = false;
};

/// Reads the header of one layer; opens neither its backing file nor its data file. Throws Error: kDamaged,
/// kUnsupported or kIo with qemu-img's words.
[[nodiscard]] LayerFacts read_layer_facts(const ImageLayer& layer);

/// Throws Error (kDamaged) when the layer's tables are corrupt or point behind the end of its file, where
/// QEMU itself would read zeros without a word. Reads tables, no data.
void check_layer(const ImageLayer& layer);

/// True when qemu's words are about what is in the image, rather than about getting at it.
[[nodiscard]] bool looks_damaged(const std::string& words);

/// A qemu-nbd that serves a chain, read-only, as the default export of a unix socket in a folder of its own,
/// and tells in which of its layers each block lies. It ends with this object. Methods may be called from any
/// thread.
class QemuNbd {
 public:
  explicit QemuNbd(const ImageChain& chain);
  ~QemuNbd();
  QemuNbd(const QemuNbd&) = delete;
  QemuNbd& operator=(const QemuNbd&) = delete;

  [[nodiscard]] const std::string& socket_path() const;
  [[nodiscard]] SandboxLevel sandbox_level() const;
  /// "qemu-nbd ended with exit code 1" if it has ended or does so within `timeout`; else empty.
  [[nodiscard]] std::string why_gone(std::chrono::milliseconds timeout);
  /// The last line it wrote to standard error, or empty.
  [[nodiscard]] std::string last_words() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
