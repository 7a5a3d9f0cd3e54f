// SPDX-License-Identifier: Apache-2.0
// Reading an image as its guest would see it, whatever its container format.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/progress.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

/// What a source is, for the manifest and for people.
struct SourceFacts {
  std::string format;    ///< of the image itself: "raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "nbd", ...
  std::string location;  ///< as the user gave it
  std::vector<std::string> backing_chain;  ///< further files that the image is read through, nearest first
};

/// How another process (the libguestfs appliance) can read the same image, for as long as the source lives.
struct SourceAttachment {
  std::string raw_path;    ///< a raw file, or empty
  std::string nbd_socket;  ///< path of a unix socket that serves the image as the default export, or empty
  std::string nbd_uri;     ///< the user's own nbd:// URI, or empty
};

/// An open image. Every method may be called from any thread, by several at once.
class Source {
 public:
  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// Size of the virtual disk in bytes, a multiple of 512 (a raw file of another size reads as if zeros
  /// followed).
  [[nodiscard]] virtual std::uint64_t size() const = 0;

  /// Fills `into` from `offset`. The range must lie inside the image. Large reads are split and run in
  /// parallel where that is faster. Throws Error (kIo, kDamaged) that names the image and the offset.
  virtual void read(std::uint64_t offset, ByteSpan into) = 0;

  /// The parts of [offset, offset + length) that may hold something else than zeros: sorted, not overlapping,
  /// sector aligned, adjacent ones joined. What is left out reads as zeros for certain. Costs no data reads.
  [[nodiscard]] virtual std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) = 0;

  [[nodiscard]] virtual const SourceFacts& facts() const = 0;
  [[nodiscard]] virtual SourceAttachment attachment() const = 0;

  /// A descriptor that is open for reading alone and whose bytes are the image's, zeros up to the end of the
  /// last sector apart; -1 where there is none. Lives as long as the source.
  [[nodiscard]] virtual int raw_descriptor() const { return -1; }
};

struct SourceOptions {
  /// Container format to assume; unset: detect, but never take a file for something else than raw unless its
  /// header and its size make sense as that format. Of a compressed file or an OVA it is the format of the
  /// image inside, except "raw", which takes every file as it is.
  std::optional<std::string> format;
  /// Backing and data files that an image names are refused unless they lie below this folder.
  /// Empty: the folder of the image itself.
  std::string backing_root;
  /// Which disk of an OVA with several, by the name of its file in there.
  std::optional<std::string> disk;
};

/// Opens a raw file directly, and everything else through a sandboxed qemu-nbd: a disk in an OVA where it
/// lies, a compressed file after it was decompressed into a temporary one ($TMPDIR or /var/tmp). `image` is a
/// path or an nbd:// or nbd+unix:// URI. Throws Error: kNotFound, kInvalid (a directory, an unknown format,
/// an OVA with several disks), kRefused (backing or data file outside the root), kDamaged (truncated,
/// corrupt), kIo (unreadable, qemu-nbd missing), kNoSpace and kLimit (what a compressed file holds is too
/// large).
[[nodiscard]] std::unique_ptr<Source> open_source(const std::string& image, const SourceOptions& options,
                                                  Progress& progress);

}  // namespace vmpack
